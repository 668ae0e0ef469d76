"""What is to be forgotten in Redis when it is back."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from itertools import chain, islice

log = logging.getLogger("swisper_ctx.redis")

MOST_DELETED = 100_000
"""Ids, those of quarantine included: about 20 MB."""
MOST_MOVED = 10_000


class Debts:
    """The ids of sessions that were deleted, and of those whose head was moved, which only lie there as stale entries.

    Of each kind so many, as an outage may be long: those that were moved take no place of those that were deleted.
    """

    def __init__(self) -> None:
        self._deleted: dict[str, None] = {}
        self._moved: dict[str, None] = {}
        self._has_told = False

    def deleted(self, session_ids: Collection[str]) -> None:
        """These were deleted. What is one too many is told in the log."""
        add(self._deleted, session_ids, MOST_DELETED)
        if not self._has_told and not all(session_id in self._deleted for session_id in session_ids):
            self._has_told = True
            log.error(
                "more than %d sessions were deleted while Redis is away: others stay there until they expire",
                MOST_DELETED,
            )

    def moved(self, session_ids: Iterable[str]) -> None:
        """The heads of these were."""
        add(self._moved, session_ids, MOST_MOVED)

    def next(self, most: int) -> list[str]:
        """So many of those that are owed, the deleted ones first."""
        return list(islice(chain(self._deleted, self._moved), most))

    def paid(self, session_ids: Iterable[str]) -> None:
        """These are forgotten."""
        for session_id in session_ids:
            self._deleted.pop(session_id, None)
            self._moved.pop(session_id, None)
        self._has_told = self._has_told and bool(self._deleted)


def add(owed: dict[str, None], session_ids: Iterable[str], most: int) -> None:
    """As many of these as find a place."""
    new = (session_id for session_id in session_ids if session_id not in owed)
    owed.update(dict.fromkeys(islice(new, most - len(owed))))
