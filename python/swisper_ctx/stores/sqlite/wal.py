"""What was deleted goes from the WAL too, as soon as nobody reads there."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from functools import partial

from swisper_ctx.errors import StoreError
from swisper_ctx.stores.thread import OwnerThread

SHORTEST, LONGEST = 0.01, 1.0
"""In seconds, between two attempts."""
AT_THE_END = 20
"""So many attempts are made when the store is closed, when no turn waits any more."""


def cut(connection: sqlite3.Connection) -> bool:
    """Cut the WAL, where pages from before still stand; False if somebody reads them."""
    with suppress(sqlite3.Error):
        busy, *_pages = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy
    return False


class Cutter:
    """Cuts the WAL of one store, between its turns, until it has succeeded."""

    def __init__(self, writer: OwnerThread[sqlite3.Connection]) -> None:
        self._writer = writer
        self._timer: asyncio.TimerHandle | None = None
        self.is_due = False
        """Whether there may be content that was deleted or replaced."""

    def attempted(self, is_cut: bool, pause: float = SHORTEST) -> None:
        """Somebody has tried, in this event loop: where it was in vain, try again after a pause, in seconds."""
        self._cancel()
        self.is_due = not is_cut
        if self.is_due:
            self._timer = asyncio.get_running_loop().call_later(pause, self._attempt, pause)

    async def finish(self) -> None:
        """Try a last time, for a fifth of a second."""
        self._cancel()
        with suppress(sqlite3.Error, StoreError):
            for _ in range(AT_THE_END if self.is_due else 0):
                if await self._writer.run(lambda connection, _: cut(connection)):
                    break
                await asyncio.sleep(SHORTEST)
        self.is_due = False

    def _attempt(self, pause: float) -> None:
        with suppress(StoreError):  # the store has been closed
            self._writer.begin(lambda connection, _: cut(connection), partial(self._answered, pause))

    def _answered(self, pause: float, is_cut: bool | None, _error: BaseException | None) -> None:
        self.attempted(is_cut is True, min(2 * pause, LONGEST))

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
