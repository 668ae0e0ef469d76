"""Durable turns as they are written with aiosqlite: a transaction for each, on one connection."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import aiosqlite
from benches.peers.bare_sqlite import ADD, MOVE, BareSession

from swisper_ctx.stores.sqlite.connection import connect


class OneByOne:
    """Sessions that share one connection wait for one another: a transaction belongs to the connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> OneByOne:
        deadline = time.monotonic() + 5
        connection = await aiosqlite.Connection(partial(connect, str(path), deadline), iter_chunk_size=64)
        # The first statement of a transaction begins it.
        connection.isolation_level = "IMMEDIATE"
        return cls(connection)

    async def write(self, session: BareSession) -> None:
        async with self._turn:
            move, frame = session.next(time.time_ns() // 1000)
            moved = await self._connection.execute(MOVE, move)
            assert moved.rowcount == 1
            await self._connection.execute(ADD, frame)
            await self._connection.commit()

    async def close(self) -> None:
        await self._connection.close()
