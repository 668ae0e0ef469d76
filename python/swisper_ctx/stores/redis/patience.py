"""How long Redis is waited for."""

from __future__ import annotations

import asyncio
from types import TracebackType

MOST_EXTENSIONS = 4
STEPS = 4
"""From the moment that a socket can be read to the task that waits for it, and one more."""


class Patience:
    """As `asyncio.timeout`, and raises TimeoutError as it does; but a loop that is held up says nothing of Redis.

    When the time is over much too late, other work has kept the event loop: then it begins anew. And at the end the
    loop looks once more for an answer that is there already.
    """

    __slots__ = ("_extended", "_handle", "_loop", "_seconds", "_timeout")

    def __init__(self, seconds: float) -> None:
        self._seconds, self._extended = seconds, 0

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
        self._handle: asyncio.Handle = self._loop.call_at(due, self._over, due)

    def _over(self, due: float) -> None:
        if self._extended < MOST_EXTENSIONS and self._loop.time() - due > self._seconds / 10:
            self._extended += 1
            self._wait()
        else:
            self._look(STEPS)

    def _look(self, steps: int) -> None:
        if steps:
            self._handle = self._loop.call_soon(self._look, steps - 1)
        else:
            self._timeout.reschedule(self._loop.time())
