"""Committing a group of changes: one statement for all that follow on a version, one for all that create."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

from swisper_ctx.errors import StoreError, StoreUnavailableError
from swisper_ctx.log import Change, CommitResult
from swisper_ctx.stores.postgres.connection import Connection, Connections
from swisper_ctx.stores.postgres.copies import tell_failed
from swisper_ctx.stores.postgres.errors import (
    DRIVER_ERRORS,
    IN_THE_WAY,
    is_about_values,
    store_error,
    was_lost,
    write_error,
)
from swisper_ctx.stores.postgres.large import append_large, are_large, is_large
from swisper_ctx.stores.postgres.removal import delete_sessions
from swisper_ctx.stores.postgres.statements import (
    APPEND,
    APPEND_ONCE,
    APPEND_ONE,
    APPEND_UNLOCKED,
    CREATE,
    PENDING,
    WHAT_IS_THERE,
    columns,
    creation_columns,
    values_of,
)

REFUSED = CommitResult(None)

LOST_PAUSE = 0.1
"""Between attempts to reach a server that has gone away, in seconds."""

PAUSES = (0.0, 0.01, 0.05, 0.1)
"""Before each attempt at what other transactions hold, in seconds."""


async def commit_group(connections: Connections, changes: Sequence[Change], now: int | None) -> list[CommitResult]:
    """Each of them committed, refused or failed, in their order.

    When the connection is lost, they are written again: what has been written before is then refused, and its frame
    tells. What cannot be told has failed with OutcomeUnknownError.
    """
    try:
        async with connections.beside() if are_large(changes) else connections.writer() as connection:
            return await Group(connection, now, connections).write(changes)
    except StoreError as error:
        return [CommitResult(None, error)] * len(changes)
    except DRIVER_ERRORS as error:
        unknown = CommitResult(None, write_error(error))
        if isinstance(error, TimeoutError):
            return [unknown] * len(changes)
    deadline = time.monotonic() + connections.patience
    while time.monotonic() < deadline:
        try:
            async with connections.writer() as connection:
                group = Group(connection, now, connections)
                return await _write_again(connection, group, changes, unknown)
        except (StoreError, *DRIVER_ERRORS):
            await asyncio.sleep(LOST_PAUSE)
    return [unknown] * len(changes)


async def _write_again(
    connection: Connection, group: Group, changes: Sequence[Change], unknown: CommitResult
) -> list[CommitResult]:
    results = await group.write(changes)
    given = [[c.session_id for c in changes], [c.etag.version for c in changes], [c.etag.token for c in changes]]
    found: dict[bytes, CommitResult] = {}
    for there, own, committed_at in await connection.fetch(WHAT_IS_THERE, *given):
        found[own] = CommitResult(committed_at) if there == own else REFUSED
    return [
        result if result.time is not None else found.get(change.etag.token, unknown)
        for change, result in zip(changes, results, strict=True)
    ]


class Group:
    """The changes of one group on their way to the database; what has become of each is in `results`."""

    def __init__(self, connection: Connection, now: int | None, connections: Connections | None = None) -> None:
        """`connection` is one of `connections`, or stands for itself."""
        self.results: dict[bytes, CommitResult] = {}
        self._connection, self._now, self._connections = connection, now, connections

    async def write(self, changes: Sequence[Change]) -> list[CommitResult]:
        """Each of them committed, refused or failed, in their order. Raises what a lost connection raises."""
        # In one order everywhere, no two groups wait for one another.
        ordered = sorted(changes, key=attrgetter("session_id"))
        await self._attempt(self._append, [change for change in ordered if change.expected is not None])
        await self._attempt(self._create, [change for change in ordered if change.expected is None])
        return [self.results.get(change.etag.token, REFUSED) for change in changes]

    async def _attempt(self, write: Callable[[Sequence[Change]], Any], changes: Sequence[Change]) -> None:
        if not changes:
            return
        try:
            await write(changes)
        except (*DRIVER_ERRORS, ValueError) as error:
            if was_lost(error):
                raise
            # Whatever of it has gone through before has gone through.
            left = [change for change in changes if change.etag.token not in self.results]
            if len(left) > 1 and (is_about_values(error) or isinstance(error, IN_THE_WAY)):
                middle = len(left) // 2
                await self._attempt(write, left[:middle])
                await self._attempt(write, left[middle:])
            else:
                failed = CommitResult(None, store_error(error))
                self.results |= dict.fromkeys((change.etag.token for change in left), failed)

    async def _append(self, changes: Sequence[Change]) -> None:
        connections = self._connections
        if connections is None or not connections.waits_for_locks:
            return await self._append_unlocked(changes)
        is_plain = all(change.change_id is None and change.projection is None for change in changes)
        try:
            if is_plain and len(changes) == 1:
                await self._append_one(connections, changes[0])
            else:
                statement = APPEND if is_plain else APPEND_ONCE
                self._note(await self._connection.fetch(statement, *columns(changes), self._now))
        except IN_THE_WAY:
            await self._append_unlocked(changes)

    async def _append_one(self, connections: Connections, change: Change) -> None:
        if not is_large(change):
            about = *values_of(change), self._now
            self._note(await self._connection.fetch(APPEND_ONE, *about, change.frame))
        elif (time := await append_large(connections, self._connection, change, self._now)) is not None:
            self.results[change.etag.token] = CommitResult(time)

    async def _append_unlocked(self, changes: Sequence[Change]) -> None:
        """Those whose rows nobody holds; the others a little later, or they fail."""
        for pause in PAUSES:
            await asyncio.sleep(pause)
            # Not even this is spared from waiting where a table grows.
            with suppress(*IN_THE_WAY):
                self._note(await self._connection.fetch(APPEND_UNLOCKED, *columns(changes), self._now))
            changes = await self._pending(changes)
            if not changes:
                return
        failed = CommitResult(None, StoreUnavailableError("another transaction holds the row of this session"))
        self.results |= dict.fromkeys((change.etag.token for change in changes), failed)

    async def _pending(self, changes: Sequence[Change]) -> list[Change]:
        """Those that are neither written nor refused."""
        left = [change for change in changes if change.etag.token not in self.results]
        if not left:
            return left
        pending = {token for (token,) in await self._connection.fetch(PENDING, *columns(left), self._now)}
        return [change for change in left if change.etag.token in pending]

    async def _create(self, changes: Sequence[Change]) -> None:
        # Several are parted by what this raises, so that one does not hold up the others.
        for pause in PAUSES if len(changes) == 1 else ():
            with suppress(*IN_THE_WAY):
                await self._create_now(changes)
                return
            await asyncio.sleep(pause)
        await self._create_now(changes)

    async def _create_now(self, changes: Sequence[Change]) -> None:
        self._note(await self._connection.fetch(CREATE, *creation_columns(changes), self._now))
        refused = [change for change in changes if change.etag.token not in self.results]
        if refused:
            await self._take_places(refused)

    async def _take_places(self, refused: Sequence[Change]) -> None:
        """Of what has expired."""
        ids = [change.session_id for change in refused]
        if await delete_sessions(self._connection, ids, expired=True, now=self._now):
            self._note(await self._connection.fetch(CREATE, *creation_columns(refused), self._now))

    def _note(self, rows: Sequence[Any]) -> None:
        for token, committed_at, *_ in rows:
            self.results[token] = CommitResult(committed_at)
        if rows and len(rows[0]) > 2:
            tell_failed(rows[0][2])
