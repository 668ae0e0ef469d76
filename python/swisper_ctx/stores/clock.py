"""What stores take from their surroundings, so that tests can put something else in its place."""

from __future__ import annotations

from collections.abc import Callable

from swisper_ctx._core import system_clock

__all__ = ["Clock", "Failpoint", "no_failpoint", "system_clock"]

Clock = Callable[[], int]
"""Gives the time in microseconds since 1970-01-01 UTC."""

Failpoint = Callable[[str], None]
"""Called with the name of each place where a process may die; tests kill or raise there."""


def no_failpoint(name: str) -> None:
    """Goes on."""
