"""Whether Redis is asked at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

LONGEST_PAUSE = 60.0


class Breaker:
    """Closed while Redis answers. The first failure opens it; after a pause a probe may close it again.

    The pause is `seconds`, and twice as long each time that Redis fails again soon after a probe, up to a minute: one
    that answers probes and nothing else, as at the limit of its memory, is not asked every second, nor logged.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._monotonic = seconds, monotonic
        self._opened_at: float | None = None
        self._closed_at = -inf
        self._probe_at, self._pause = 0.0, seconds

    @property
    def is_closed(self) -> bool:
        """Whether Redis may be asked."""
        return self._opened_at is None

    def is_due(self) -> bool:
        """Whether a probe may be sent now; the next one after another pause."""
        now = self._monotonic()
        if self._opened_at is None or now < self._probe_at:
            return False
        self._probe_at = now + self._pause
        return True

    def open(self) -> bool:
        """Redis has failed; whether that is news."""
        if self._opened_at is not None:
            return False
        now = self._opened_at = self._monotonic()
        is_soon = now - self._closed_at < 10 * self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if is_soon else self._seconds
        self._probe_at = now + self._pause
        return True

    def close(self) -> float:
        """Redis has answered the probe; for how many seconds it was away."""
        now = self._closed_at = self._monotonic()
        away = 0.0 if self._opened_at is None else now - self._opened_at
        self._opened_at = None
        return away
