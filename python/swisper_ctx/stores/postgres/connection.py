"""The connections of one store in one event loop: two of their own for groups of turns, a pool for all else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple

import asyncpg

from swisper_ctx.errors import StoreError, StoreUnavailableError
from swisper_ctx.stores.postgres.errors import (
    DRIVER_ERRORS,
    NO_TABLES,
    mapped_connect_errors,
    mapped_errors,
    mapped_write_errors,
    store_error,
)
from swisper_ctx.stores.postgres.schema import VERSION

Connection = Any
"""asyncpg.Connection or its stand-in of a pool; asyncpg does not say which types its methods give."""

WRITERS = 2
"""So many groups are on their way at once: while one is being made durable, the next one is sent."""

LOCK_TIMEOUT = 50
"""So long, in milliseconds, a group waits for a row that another transaction holds, before it goes on without it."""

PLANS = {
    # Every statement of a turn names its rows by their keys. Whatever the statistics say of a table that was empty
    # when they were taken, or never were, walking it is never right.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
PLANNED_ONCE = {**PLANS, "plan_cache_mode": "force_generic_plan"}
WRITER_SETTINGS = {**PLANNED_ONCE, "lock_timeout": str(LOCK_TIMEOUT)}
POOL_SETTINGS = {
    **PLANNED_ONCE,
    "idle_in_transaction_session_timeout": "60000",
    "default_transaction_isolation": "read committed",
}

MICROS = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
BYTES_A_SECOND = 16 * 1024 * 1024
"""Those who wait for many bytes to be sent wait a second longer than else for so many."""

SCHEMA_VERSION = "SELECT max(version) FROM swisper_schema"


class Settings(NamedTuple):
    """How to connect. Times are seconds."""

    dsn: str | None
    pool: Any
    min_size: int
    max_size: int
    acquire_timeout: float
    command_timeout: float
    statement_cache_size: int

    def __repr__(self) -> str:
        # The DSN may hold a password, and who reports an error prints the variables of every frame.
        return f"<Settings of {self.max_size} connections>"

    @property
    def is_behind_pooler(self) -> bool:
        """Whether a statement may find another session of the server than the one before: nothing is set in it."""
        return self.statement_cache_size == 0

    @property
    def are_sessions_set(self) -> bool:
        """Whether what takes a connection of the pool finds it as POOL_SETTINGS say."""
        return self.pool is None and not self.is_behind_pooler

    def options(self, settings: dict[str, str]) -> dict[str, Any]:
        """For asyncpg.connect."""
        return {
            "timeout": self.acquire_timeout,
            "command_timeout": self.command_timeout,
            "statement_cache_size": self.statement_cache_size,
            "server_settings": None if self.is_behind_pooler else {"application_name": "swisper_ctx", **settings},
        }


async def keep_as_it_is(connection: Connection) -> None:
    """In the place of the statement that resets a connection: nothing here sets anything in a session."""


class Connections:
    """Open from `open` on until `aclose`."""

    def __init__(self, settings: Settings) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock_offset = 0
        """Microseconds that the clock of the database is ahead of this machine's."""
        self.patience = settings.acquire_timeout
        """So long, in seconds, a server that has gone away is waited for."""
        self.waits_for_locks = not settings.is_behind_pooler
        """Whether LOCK_TIMEOUT is set for what a group waits for; else it must not wait."""
        self._settings = settings
        self._pool: Any = settings.pool
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(WRITERS)
        self._until_loop_ends = self._ended_with_loop()

    async def _ended_with_loop(self) -> AsyncGenerator[None, None]:
        """Waits for the end of the event loop, which closes its asynchronous generators while it can still run.

        What is open then is dropped: connections cannot outlive their loop.
        """
        try:
            yield
        finally:
            for connection in self._idle:
                terminate(connection)
            if self._settings.pool is None and self._pool is not None:
                self._pool.terminate()
            await asyncio.sleep(0)

    async def open(self) -> None:
        """Connect, and look whether the tables are those of this version of the library. Raises StoreError."""
        await anext(self._until_loop_ends)
        settings = self._settings
        if settings.pool is None:
            with mapped_connect_errors():
                self._pool = await asyncpg.create_pool(
                    settings.dsn,
                    min_size=settings.min_size,
                    max_size=settings.max_size,
                    reset=keep_as_it_is,
                    **settings.options(POOL_SETTINGS),
                )
        elif settings.pool.get_max_size() <= WRITERS:
            raise StoreError(f"the pool must have more than {WRITERS} connections, which the store keeps for itself")
        try:
            await self._look()
        except BaseException:
            await self.aclose()
            raise

    async def _look(self) -> None:
        async with self.reader() as connection:
            is_there = await connection.fetchval("SELECT to_regclass('swisper_schema') IS NOT NULL")
            check_version(await connection.fetchval(SCHEMA_VERSION) if is_there else None)
            before = time.time()
            now = await connection.fetchval(f"SELECT {MICROS}")
            self.clock_offset = now - round((before + time.time()) / 2 * 1_000_000)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Connection]:
        """A connection of the pool. Raises StoreUnavailableError when none is free in time."""
        async with self._taken() as connection:
            with mapped_errors():
                yield connection

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Connection]:
        """The same for what writes: when the answer is lost, OutcomeUnknownError."""
        async with self._taken() as connection:
            with mapped_write_errors():
                yield connection

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[Connection]:
        connection = await self._acquire()
        try:
            yield connection
        except BaseException as error:
            # Before it takes a connection back, a pool waits until the server has heard that nobody waits any more.
            if isinstance(error, asyncio.CancelledError | TimeoutError) or isinstance(error.__cause__, TimeoutError):
                terminate(connection)
            raise
        finally:
            await self._release(connection)

    async def _acquire(self) -> Connection:
        try:
            return await self._pool.acquire(timeout=self._settings.acquire_timeout)
        except TimeoutError as error:
            raise StoreUnavailableError("no connection to PostgreSQL was free in time") from error
        except DRIVER_ERRORS as error:
            mapped = store_error(error)
            raise mapped from mapped.__cause__

    async def _release(self, connection: Connection) -> None:
        with suppress(*DRIVER_ERRORS):
            await self._pool.release(connection, timeout=self._settings.command_timeout)

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[Connection]:
        """A connection of the pool for a large change, with the driver's errors as they are.

        Where none is free in time, one of those for groups: who holds them gives them back.
        """
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._taken())
            except StoreUnavailableError:
                connection = await stack.enter_async_context(self.writer())
            yield connection

    def seconds_for(self, size: int) -> float:
        """How long sending so many bytes, and having them written, may take."""
        return self._settings.command_timeout + size / BYTES_A_SECOND

    def are_writers_busy(self) -> bool:
        """Whether each connection for groups has one."""
        return self._free.locked()

    def writer(self) -> Writer:
        """A connection for one group. One that was left by an exception is not used again."""
        return Writer(self)

    async def _take_writer(self) -> Connection:
        await self._free.acquire()
        try:
            connection = self._idle.pop() if self._idle else None
            return await self._new_writer() if connection is None or connection.is_closed() else connection
        except BaseException:
            self._free.release()
            raise

    async def _give_back_writer(self, connection: Connection, is_sound: bool) -> None:
        try:
            if is_sound:
                self._idle.append(connection)
            else:
                await self._discard(connection)
        finally:
            self._free.release()

    async def _new_writer(self) -> Connection:
        settings = self._settings
        with mapped_connect_errors():
            if settings.pool is None:
                return await asyncpg.connect(settings.dsn, **settings.options(WRITER_SETTINGS))
            connection = await settings.pool.acquire(timeout=settings.acquire_timeout)
            try:
                for name, value in () if settings.is_behind_pooler else WRITER_SETTINGS.items():
                    await connection.execute("SELECT set_config($1, $2, false)", name, value)
            except BaseException:
                await self._discard(connection)
                raise
            return connection

    async def _discard(self, connection: Connection) -> None:
        terminate(connection)
        if self._settings.pool is not None:
            with suppress(*DRIVER_ERRORS):
                await self._settings.pool.release(connection)

    async def aclose(self) -> None:
        """Close what was opened here; a pool that was given gets its connections back."""
        timeout = self._settings.command_timeout
        for connection in self._idle:
            with suppress(*DRIVER_ERRORS):
                if self._settings.pool is None:
                    await connection.close(timeout=timeout)
                else:
                    await self._settings.pool.release(connection)
        self._idle.clear()
        if self._settings.pool is None and self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), timeout)
            except DRIVER_ERRORS:
                self._pool.terminate()
        await self._until_loop_ends.aclose()


class Writer:
    """See `Connections.writer`. Not a generator: that would be a fortieth of what a lone turn costs this process."""

    __slots__ = ("_connection", "_connections")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def __aenter__(self) -> Connection:
        self._connection = await self._connections._take_writer()
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        await self._connections._give_back_writer(self._connection, kind is None)


def terminate(connection: Connection) -> None:
    """At once, without a word to the server; nothing if it has gone already."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


@asynccontextmanager
async def single_connection(settings: Settings) -> AsyncIterator[Connection]:
    """One connection whose tables nobody has looked at, and which waits as long as a migration takes."""
    with mapped_connect_errors():
        if settings.pool is None:
            connection = await asyncpg.connect(settings.dsn, **(settings.options({}) | {"command_timeout": None}))
        else:
            connection = await settings.pool.acquire(timeout=settings.acquire_timeout)
    try:
        with mapped_write_errors():
            yield connection
    finally:
        with suppress(*DRIVER_ERRORS):
            if settings.pool is None:
                await connection.close(timeout=settings.command_timeout)
            else:
                await settings.pool.release(connection)


def check_version(version: int | None) -> None:
    """Raise StoreError for tables that are not those of this version of the library."""
    if version is None:
        raise StoreError(NO_TABLES)
    if version > VERSION:
        raise StoreError(f"the schema has version {version}, this library knows version {VERSION}: upgrade it")
    if version < VERSION:
        raise StoreError(f"the schema has version {version}, this library needs {VERSION}: run `swisper-ctx migrate`")
