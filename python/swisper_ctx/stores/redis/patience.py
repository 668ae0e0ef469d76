"""How long Redis is waited for."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Patience:
    """As `asyncio.timeout`, and raises TimeoutError as it does; but a loop that was held up says nothing of Redis.

    When the time is over too late by half of it, other work has kept the event loop, and the answer may be there,
    unread: then it is waited for once more.
    """

    __slots__ = ("_handle", "_is_extended", "_loop", "_seconds", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._seconds, self._is_extended = seconds, False

    async def __aenter__(self) -> None:
        self._loop, self._timeout = asyncio.get_running_loop(), asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handle.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _wait(self) -> None:
        due = self._loop.time() + self._seconds
        self._handle = self._loop.call_at(due, self._over, due)

    def _over(self, due: float) -> None:
        now = self._loop.time()
        if now - due > self._seconds / 2 and not self._is_extended:
            self._is_extended = True
            self._wait()
        else:
            self._timeout.reschedule(now)
