"""The store itself: operations on the connections of the event loop that it is used in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from swisper_ctx.errors import StoreError
from swisper_ctx.log import (
    Block,
    Change,
    Checkpoint,
    CommitResult,
    Etag,
    Frame,
    Remains,
    Restoration,
    SessionPage,
    StoredBody,
    StoredSession,
    check_limit,
)
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.clock import Clock, Failpoint, no_failpoint, system_clock
from swisper_ctx.stores.postgres import read
from swisper_ctx.stores.postgres.bodies import are_others_at_work, read_bodies, replace_bodies
from swisper_ctx.stores.postgres.checkpoint import write_checkpoint
from swisper_ctx.stores.postgres.commit import commit_group
from swisper_ctx.stores.postgres.connection import WRITERS, Connection, Connections, Settings, single_connection
from swisper_ctx.stores.postgres.migrate import Migration, migrate
from swisper_ctx.stores.postgres.removal import delete_sessions
from swisper_ctx.stores.postgres.restore import read_remains, restore_session


class PostgresSessionStore(SessionStore):
    """Sessions in PostgreSQL 15 or newer: what `commit` has answered is as durable as `synchronous_commit` says.

    The tables stand in the first schema of the connection's search_path; `migrate` creates them. Nothing is connected
    before the first operation.

    `dsn` is a libpq URL, TLS as it says (asyncpg tries it by default, `?sslmode=disable` is faster on one machine). A
    `pool` of asyncpg in its place is used, and never closed; two of its connections are kept. Of its own pool the
    store holds `min_size` to `max_size` connections, beside two for turns. `acquire_timeout` and `command_timeout`, in
    seconds, bound the wait for a connection and for an answer; then StoreUnavailableError is raised, or
    OutcomeUnknownError for a write that was sent. Behind a pooler that gives each transaction another connection
    (PgBouncer), give `statement_cache_size=0`. With `keep_versions` the checkpoints of this store purge no version.

    Time is the database's, unless there is a `clock`. Until it has answered once, when a session expires is reckoned by
    the clock of this machine.
    """

    groups_in_flight, shows_copies = WRITERS, True

    def __init__(
        self,
        dsn: str | None = None,
        *,
        pool: Any = None,
        min_size: int = 1,
        max_size: int = 10,
        acquire_timeout: float = 5.0,
        command_timeout: float = 10.0,
        statement_cache_size: int = 100,
        keep_versions: bool = False,
        clock: Clock | None = None,
        failpoint: Failpoint = no_failpoint,
    ) -> None:
        super().__init__(clock=self._database_clock if clock is None else clock, failpoint=failpoint)
        if (dsn is None) == (pool is None):
            raise StoreError("a PostgreSQL store needs a DSN or a pool, and not both")
        self._settings = Settings(dsn, pool, min_size, max_size, acquire_timeout, command_timeout, statement_cache_size)
        self._own_clock, self._keep_versions = clock, keep_versions
        self._process = os.getpid()
        self._is_closed = False
        self._opening: asyncio.Task[Connections] | None = None
        self._connections: Connections | None = None
        self._clock_offset = 0

    @classmethod
    def from_url(cls, url: str, **options: Any) -> PostgresSessionStore:
        """The store of `postgresql://user:password@host:port/database?option=value`, as libpq has it."""
        return cls(url, **options)

    async def migrate(self) -> Migration:
        """Create the tables, or bring those of an older version to this one.

        Sessions that stand in a table `sessions` from before, with their whole content in `context_data`, get a log;
        their rows stay as they are until they are saved. Nobody else may write them any more.

        Each step is a transaction under an advisory lock: several processes may do this at once, and one that dies
        leaves whole steps. Raises StoreError for tables of a newer version of this library.
        """
        self._check_usable()
        async with single_connection(self._settings) as connection:
            return await migrate(connection)

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        async with self._reader() as connection:
            return await read.read_etags(connection, session_ids, self._now())

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        async with self._reader() as connection:
            return await read.read_session(connection, session_id, self._now(), after, tail)

    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        async with self._reader() as connection:
            return await read.read_version(connection, session_id, self._now(), version)

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        async with self._reader() as connection:
            return await read.read_blocks(connection, session_id, self._now(), block_ids)

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        async with self._reader() as connection:
            return await read.read_frames(connection, session_id, self._now(), after, limit)

    async def holds(self, session_id: str, change_id: str) -> bool:
        async with self._reader() as connection:
            return await read.holds(connection, session_id, self._now(), change_id)

    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        check_limit(limit)
        async with self._reader() as connection:
            if expired:
                return await read.list_expired(connection, user_id, self._now(), cursor, limit)
            return await read.list_sessions(connection, user_id, cursor, limit)

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        if not changes:
            return []
        connections = await self._connected()
        self._failpoint("commit.begin")
        results = await commit_group(connections, changes, self._now())
        self._read_clock(results)
        self._failpoint("commit.done")
        return results

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        async with self._changing("checkpoint") as connection:
            is_read_committed = self._settings.are_sessions_set
            return await write_checkpoint(
                connection, checkpoint, self._keep_versions, self._now(), is_read_committed=is_read_committed
            )

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        async with self._changing("delete") as connection:
            return await delete_sessions(connection, session_ids, expired=expired, now=self._now())

    async def remains(self, session_id: str) -> Remains | None:
        async with self._reader() as connection:
            return await read_remains(connection, session_id, self._now())

    async def restore(self, restoration: Restoration) -> bool:
        async with self._changing("restore") as connection:
            return await restore_session(connection, restoration, self._now())

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        async with self._reader() as connection:
            return await read_bodies(connection, session_id)

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        async with self._changing("replace") as connection:
            return await replace_bodies(connection, session_id, bodies)

    async def has_other_writers(self) -> bool:
        async with self._reader() as connection:
            return await are_others_at_work(connection)

    async def _close(self) -> None:
        self._is_closed = True
        opening, self._opening, self._connections = self._opening, None, None
        loop = asyncio.get_running_loop()
        if opening is None or self._process != os.getpid() or opening.get_loop() is not loop:
            return
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            await opening.result().aclose()

    # -- connections

    def _now(self) -> int | None:
        return None if self._own_clock is None else self._own_clock()

    def _read_clock(self, results: Sequence[CommitResult]) -> None:
        """Clocks are set, and drift: each commit tells what time it is there."""
        time = next((result.time for result in results if result.time is not None), None)
        if time is not None:
            self._clock_offset = time - system_clock()

    def _database_clock(self) -> int:
        return system_clock() + self._clock_offset

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Connection]:
        connections = await self._connected()
        async with connections.reader() as connection:
            yield connection

    @asynccontextmanager
    async def _changing(self, name: str) -> AsyncIterator[Connection]:
        """For what writes and is not a turn, with the failpoints NAME.begin and NAME.done around it."""
        connections = await self._connected()
        self._failpoint(f"{name}.begin")
        async with connections.changing() as connection:
            yield connection
        self._failpoint(f"{name}.done")

    async def _connected(self) -> Connections:
        """Those of the running event loop; a caller that is cancelled while they are opened stops nobody else."""
        self._check_usable()
        loop, connections = asyncio.get_running_loop(), self._connections
        if connections is not None and connections.loop is loop:
            return connections
        opening = self._opening
        if opening is not None and opening.get_loop() is not loop and not opening.get_loop().is_closed():
            raise StoreError("this store is in use by another event loop; open one store in each")
        if opening is None or opening.done() or opening.get_loop() is not loop:
            opening = self._opening = loop.create_task(self._open())
        return await asyncio.shield(opening)

    async def _open(self) -> Connections:
        connections = Connections(self._settings)
        await connections.open()
        self._clock_offset = connections.clock_offset
        self._connections = connections
        return connections

    def _check_usable(self) -> None:
        if self._is_closed:
            raise StoreError("this PostgreSQL store is closed")
        if self._process != os.getpid():
            raise StoreError("this PostgreSQL store was made before fork(): open one of its own in each process")
