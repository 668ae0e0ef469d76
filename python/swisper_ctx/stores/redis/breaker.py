"""Whether Redis is asked at all."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Closed while Redis answers. The first failure opens it; after `seconds` one probe may close it again."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._monotonic = seconds, monotonic
        self._opened_at: float | None = None
        self._probe_at = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether Redis may be asked."""
        return self._opened_at is None

    def is_due(self) -> bool:
        """Whether a probe may be sent now; the next one after another `seconds`."""
        now = self._monotonic()
        if self._opened_at is None or now < self._probe_at:
            return False
        self._probe_at = now + self._seconds
        return True

    def open(self) -> bool:
        """Redis has failed; whether that is news."""
        is_news = self._opened_at is None
        now = self._monotonic()
        if is_news:
            self._opened_at = now
        self._probe_at = now + self._seconds
        return is_news

    def close(self) -> float:
        """Redis has answered the probe; for how many seconds it was away."""
        away = 0.0 if self._opened_at is None else self._monotonic() - self._opened_at
        self._opened_at = None
        return away
