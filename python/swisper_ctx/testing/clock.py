"""A clock for tests of stores."""

from __future__ import annotations

START = 1_700_000_000_000_000
MINUTE = 60_000_000
DAY = 1440 * MINUTE


class ManualClock:
    """A store's clock that stands still until it is advanced, in microseconds."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, microseconds: int) -> None:
        """Let so much time pass."""
        self.now += microseconds
