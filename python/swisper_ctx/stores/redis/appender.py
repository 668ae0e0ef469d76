"""Saves on their way to Redis: durable already, so that nobody needs to wait for them, and none of them must arrive.

What comes while a call is on its way forms the next one. One that is lost is told by its etag: the next save of the
session finds another parent there than its own, and drops what Redis has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from swisper_ctx.errors import StoreUnavailableError
from swisper_ctx.stores.redis.hashes import Hashes
from swisper_ctx.stores.redis.link import BusyError, Values
from swisper_ctx.stores.redis.scripts import APPEND, MOVE
from swisper_ctx.stores.redis.writes import Append, Creation, Drop, Move, Write

MOST_IN_CALL, MOST_BYTES_IN_CALL = 512, 1024 * 1024
MOST_WAITING, MOST_BYTES_WAITING = 1024, 4 * 1024 * 1024
"""Beyond this, acknowledgements wait for the call that is on its way: it ends within its time, or Redis has failed."""


class Appender:
    """The writes to one Redis, in their order. Used from one event loop at a time."""

    def __init__(self, hashes: Hashes, max_bytes: int) -> None:
        self._hashes, self._common = hashes, (hashes.ttl, max_bytes)
        self._waiting: deque[Write] = deque()
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._told: list[Callable[[], None]] = []
        self._awaited: dict[int, asyncio.Future[None]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether anything is on its way."""
        return self._task is not None and not self._task.done()

    def add(self, *writes: Write) -> None:
        """Send them soon; nothing is awaited."""
        loop = asyncio.get_running_loop()
        if self._task is not None and self._task.get_loop() is not loop:
            self._forget()
            self._task = None
        self._waiting.extend(writes)
        self._size += sum(write.size for write in writes)
        if self._waiting and (self._task is None or self._task.done()):
            self._task = loop.create_task(self._send())

    async def put(self, write: Write) -> None:
        """Send it, and wait until that was done or given up."""
        done = self._awaited[id(write)] = asyncio.get_running_loop().create_future()
        self.add(write)
        await done

    def when_close(self, tell: Callable[[], None]) -> None:
        """Call this now, or when Redis has answered once more if it is far behind."""
        if len(self._waiting) <= MOST_WAITING and self._size <= MOST_BYTES_WAITING:
            tell()
        else:
            self._told.append(tell)

    async def drain(self) -> None:
        """Wait until nothing is on its way."""
        while self._task is not None and not self._task.done() and not self._task.get_loop().is_closed():
            await asyncio.wait([self._task])

    async def _send(self) -> None:
        try:
            while self._waiting:
                if not self._hashes.may_ask():
                    self._forget()
                    break
                await self._call()
        finally:
            self._tell()

    async def _call(self) -> None:
        try:
            if isinstance(self._waiting[0], Append):
                await self._append()
            else:
                await self._other(self._next())
        except StoreUnavailableError:
            self._forget()
        self._tell()

    async def _append(self) -> None:
        entries: list[tuple[bytes, tuple[bytes, ...]]] = []
        waiting, key, size = self._waiting, self._hashes.key, 0
        while waiting and len(entries) < MOST_IN_CALL and size < MOST_BYTES_IN_CALL:
            if not isinstance(write := waiting[0], Append):
                break
            waiting.popleft()
            entries.append((key(write.session_id), write.values))
            size += write.size
        self._size -= size
        self._hashes.counts.appends += await self._hashes.run(APPEND, self._common, entries) or 0

    async def _other(self, write: Write) -> None:
        try:
            await self._perform(write)
        finally:
            self._done(write)

    async def _perform(self, write: Write) -> None:
        if isinstance(write, Creation):
            await self._hashes.fill(write.session_id, write.lease, write.fields)
        elif isinstance(write, Move):
            pairs = [part for field in write.fields.items() for part in field]
            values: Values = [write.stamp, write.base, len(write.gone), *write.gone, *pairs]
            if await self._hashes.run(MOVE, self._common, [(self._hashes.key(write.session_id), values)]) is None:
                await self._drop(write.session_id)
        else:
            await self._drop(write.session_id)

    async def _drop(self, session_id: str) -> None:
        """However busy: each connection is in use for a bounded time."""
        while True:
            try:
                await self._hashes.drop([session_id])
            except BusyError:
                continue
            return

    def _next(self) -> Write:
        write = self._waiting.popleft()
        self._size -= write.size
        return write

    def _forget(self) -> None:
        self._hashes.owed.moved(write.session_id for write in self._waiting if isinstance(write, Move))
        self._hashes.owed.deleted([write.session_id for write in self._waiting if isinstance(write, Drop)])
        for write in self._waiting:
            self._done(write)
        self._waiting.clear()
        self._size = 0

    def _done(self, write: Write) -> None:
        done = self._awaited.pop(id(write), None)
        if done is not None and not done.done() and not done.get_loop().is_closed():
            done.set_result(None)

    def _tell(self) -> None:
        told, self._told = self._told, []
        for tell in told:
            tell()
