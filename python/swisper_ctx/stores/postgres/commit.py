"""Committing a group of changes: one statement for all that follow on a version, one for all that create."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

from swisper_ctx.errors import StoreError, StoreUnavailableError
from swisper_ctx.log import NEVER, Change, CommitResult
from swisper_ctx.stores.postgres.connection import MICROS, Connection, Connections
from swisper_ctx.stores.postgres.errors import (
    DRIVER_ERRORS,
    IN_THE_WAY,
    is_about_values,
    store_error,
    was_lost,
    write_error,
)
from swisper_ctx.stores.postgres.removal import delete_sessions

CHANGE = """unnest(
        $1::text[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[], $8::text[],
        $9::bytea[]
    ) AS change(session_id, expected, parent, version, token, messages, expires_at, change_id, frame)"""
CLOCK = f"clock AS (SELECT coalesce($10::bigint, {MICROS}) AS now)"
FOLLOWS = """log.session_id = change.session_id AND log.version = change.expected AND log.token = change.parent
        AND (log.expires_at IS NULL OR log.expires_at > (SELECT now FROM clock))"""
IS_NEW = """
        AND (change.change_id IS NULL OR NOT EXISTS (
            SELECT FROM context_frames AS frame
            WHERE frame.session_id = change.session_id AND frame.change_id = change.change_id
        ))"""
# Rows that another transaction holds are left out.
LOCKED = f"""locked AS (
        SELECT log.session_id FROM session_etags AS log JOIN {CHANGE} ON {FOLLOWS}{IS_NEW}
        ORDER BY log.session_id FOR NO KEY UPDATE OF log SKIP LOCKED
    )"""


def _append(before: str, condition: str) -> str:
    # What a frame needs goes through RETURNING: a second join would cost more.
    return f"""
    WITH {before}, moved AS (
        UPDATE session_etags AS log
        SET version = change.version, token = change.token, messages = coalesce(change.messages, log.messages),
            updated_at = (SELECT now FROM clock),
            expires_at = CASE change.expires_at WHEN {NEVER} THEN NULL
                ELSE coalesce(change.expires_at, log.expires_at) END
        FROM {CHANGE}
        WHERE {FOLLOWS}{condition}
        RETURNING change.session_id, change.version, log.updated_at, change.token, change.change_id, change.frame
    )
    INSERT INTO context_frames (session_id, version, time, token, change_id, body)
    SELECT * FROM moved RETURNING token, time
"""


APPEND = _append(CLOCK, "")
APPEND_ONCE = _append(CLOCK, IS_NEW)
APPEND_UNLOCKED = _append(f"{CLOCK}, {LOCKED}", " AND change.session_id IN (SELECT session_id FROM locked)")
PENDING = f"WITH {CLOCK} SELECT change.token FROM session_etags AS log JOIN {CHANGE} ON {FOLLOWS}{IS_NEW}"
PAUSES = (0.0, 0.01, 0.05, 0.1)
"""Before each attempt at what other transactions hold, in seconds."""

CREATE = f"""
    WITH change AS (
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
            $9::bytea[], $10::bigint[], $11::bytea[], $12::bytea[]
        ) AS change(
            session_id, user_id, version, token, messages, epoch, expires_at, change_id, frame, base, stamp, head
        )
    ), clock AS (SELECT coalesce($13::bigint, {MICROS}) AS now), created AS (
        INSERT INTO session_etags
            (session_id, user_id, created_at, epoch, version, messages, updated_at, expires_at, token)
        SELECT session_id, user_id, now, epoch, version, messages, now, nullif(expires_at, {NEVER}), token
        FROM change, clock
        ON CONFLICT (session_id) DO NOTHING RETURNING session_id, token, created_at
    ), headed AS (
        INSERT INTO context_heads (session_id, base, stamp, is_newest, written_at, body)
        SELECT session_id, base, stamp, TRUE, created_at, head FROM change JOIN created USING (session_id, token)
    )
    INSERT INTO context_frames (session_id, version, time, token, change_id, body)
    SELECT session_id, version, created_at, token, change_id, frame FROM change JOIN created USING (session_id, token)
    RETURNING token, time
"""
REFUSED = CommitResult(None)

LOST_PAUSE = 0.1
"""Between attempts to reach a server that has gone away, in seconds."""

WHAT_IS_THERE = """
    SELECT frame.token, change.token, frame.time FROM context_frames AS frame
    JOIN unnest($1::text[], $2::bigint[], $3::bytea[]) AS change(session_id, version, token)
    USING (session_id, version)
"""


async def commit_group(connections: Connections, changes: Sequence[Change], now: int | None) -> list[CommitResult]:
    """Each of them committed, refused or failed, in their order.

    When the connection is lost, they are written again: what has been written before is then refused, and its frame
    tells. What cannot be told has failed with OutcomeUnknownError.
    """
    try:
        async with connections.writer() as connection:
            return await Group(connection, now).write(changes)
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
                return await _write_again(connection, changes, now, unknown)
        except (StoreError, *DRIVER_ERRORS):
            await asyncio.sleep(LOST_PAUSE)
    return [unknown] * len(changes)


async def _write_again(
    connection: Connection, changes: Sequence[Change], now: int | None, unknown: CommitResult
) -> list[CommitResult]:
    results = await Group(connection, now).write(changes)
    columns = [[c.session_id for c in changes], [c.etag.version for c in changes], [c.etag.token for c in changes]]
    found: dict[bytes, CommitResult] = {}
    for there, own, committed_at in await connection.fetch(WHAT_IS_THERE, *columns):
        found[own] = CommitResult(committed_at) if there == own else REFUSED
    return [
        result if result.time is not None else found.get(change.etag.token, unknown)
        for change, result in zip(changes, results, strict=True)
    ]


class Group:
    """The changes of one group on their way to the database; what has become of each is in `results`."""

    def __init__(self, connection: Connection, now: int | None) -> None:
        self.results: dict[bytes, CommitResult] = {}
        self._connection, self._now = connection, now

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
        statement = APPEND if all(change.change_id is None for change in changes) else APPEND_ONCE
        try:
            self._note(await self._connection.fetch(statement, *_columns(changes), self._now))
        except IN_THE_WAY:
            await self._append_unlocked(changes)

    async def _append_unlocked(self, changes: Sequence[Change]) -> None:
        """Those whose rows nobody holds; the others a little later, or they fail."""
        for pause in PAUSES:
            await asyncio.sleep(pause)
            columns = _columns(changes)
            # Not even this is spared from waiting where a table grows.
            with suppress(*IN_THE_WAY):
                self._note(await self._connection.fetch(APPEND_UNLOCKED, *columns, self._now))
            pending = {token for (token,) in await self._connection.fetch(PENDING, *columns, self._now)}
            changes = [change for change in changes if change.etag.token in pending]
            if not changes:
                return
        failed = CommitResult(None, StoreUnavailableError("another transaction holds the row of this session"))
        self.results |= dict.fromkeys((change.etag.token for change in changes), failed)

    async def _create(self, changes: Sequence[Change]) -> None:
        self._note(await self._connection.fetch(CREATE, *_creation_columns(changes), self._now))
        refused = [change for change in changes if change.etag.token not in self.results]
        if refused:
            await self._take_places(refused)

    async def _take_places(self, refused: Sequence[Change]) -> None:
        """Of what has expired."""
        ids = [change.session_id for change in refused]
        if await delete_sessions(self._connection, ids, expired=True, now=self._now):
            self._note(await self._connection.fetch(CREATE, *_creation_columns(refused), self._now))

    def _note(self, rows: Sequence[Any]) -> None:
        for token, committed_at in rows:
            self.results[token] = CommitResult(committed_at)


def _columns(changes: Sequence[Change]) -> list[list[Any]]:
    rows = [
        (session_id, *(expected or ()), *etag, messages, expires_at, change_id, frame)
        for session_id, _, expected, etag, frame, change_id, messages, _, expires_at, *_ in changes
    ]
    return list(map(list, zip(*rows, strict=True)))


def _creation_columns(changes: Sequence[Change]) -> list[list[Any]]:
    rows = []
    for change in changes:
        if change.head is None:
            raise ValueError("a change that creates a session needs its first head")
        about = change.session_id, change.user_id, *change.etag, change.messages or 0, change.epoch, change.expires_at
        rows.append((*about, change.change_id, change.frame, *change.head))
    return list(map(list, zip(*rows, strict=True)))
