"""Asking the truth for etags: what is asked while a query is on its way forms the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from swisper_ctx.log import Etag

MOST_IN_QUERY = 1024


class Validator:
    """Etags of many sessions for the price of a few queries. Used from one event loop at a time."""

    def __init__(self, etags: Callable[[Collection[str]], Awaitable[dict[str, Etag]]]) -> None:
        self._etags = etags
        self._waiting: dict[str, asyncio.Future[Etag | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def etag(self, session_id: str) -> Etag | None:
        """The etag of a session as of a query that begins after this call; None if there is no such session."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._waiting = {}
            self._task = loop.create_task(self._ask())
        future = self._waiting.get(session_id)
        if future is None:
            future = self._waiting[session_id] = loop.create_future()
        # Others may wait for the same answer.
        return await asyncio.shield(future)

    async def _ask(self) -> None:
        while self._waiting:
            batch = dict(list(self._waiting.items())[:MOST_IN_QUERY])
            for session_id in batch:
                del self._waiting[session_id]
            try:
                found = await self._etags(list(batch))
            except BaseException as error:
                _fail(batch.values(), error)
                if not isinstance(error, Exception):
                    _fail(self._waiting.values(), error)
                    raise
            else:
                for session_id, future in batch.items():
                    if not future.done():
                        future.set_result(found.get(session_id))


def _fail(futures: Collection[asyncio.Future[Etag | None]], error: BaseException) -> None:
    for future in futures:
        if isinstance(error, asyncio.CancelledError):
            future.cancel()
        elif not future.done():
            future.set_exception(error)
            future.exception()  # whoever asked may be gone
