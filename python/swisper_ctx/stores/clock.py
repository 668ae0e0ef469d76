"""What stores take from their surroundings, so that tests can put something else in its place."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives the time in microseconds since 1970-01-01 UTC."""

Failpoint = Callable[[str], None]
"""Called with the name of each place where a process may die; tests kill or raise there."""


def system_clock() -> int:
    """The time of this machine."""
    return time.time_ns() // 1000


def no_failpoint(name: str) -> None:
    """Goes on."""
