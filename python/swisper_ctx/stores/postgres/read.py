"""Reading sessions: each function is one statement, and so one moment of the database.

`$2` is the time of a clock other than the database's own, or NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import attrgetter
from typing import Any

from swisper_ctx.errors import CorruptSessionError, StoreError, VersionUnavailableError
from swisper_ctx.log import Block, Etag, Frame, Head, SessionInfo, SessionPage, StoredSession
from swisper_ctx.stores.postgres.connection import MICROS, Connection

NOW = f"(SELECT coalesce($2::bigint, {MICROS}))"
ALIVE = f"(expires_at IS NULL OR expires_at > {NOW})"

ETAGS = f"SELECT session_id, version, token FROM session_etags WHERE session_id = ANY($1::text[]) AND {ALIVE}"

# Rows of five kinds, in columns that each uses as it needs them: those of a block are in its own order.
SESSION = f"""
    SELECT 0 AS kind, token AS id, user_id AS name, version AS number, epoch AS other, NULL::bytea AS body,
        created_at, updated_at, expires_at
    FROM session_etags WHERE session_id = $1 AND {ALIVE}
"""
HEAD = "SELECT base, stamp, body FROM context_heads WHERE session_id = $1 {condition} ORDER BY base DESC LIMIT 1"
HEAD_ROW = "SELECT 1, stamp, NULL, base, NULL, body, NULL, NULL, NULL FROM head"
BLOCK_ROWS = """
    SELECT 2, block_id, field, position, records, body, NULL, NULL, NULL FROM context_blocks
    WHERE session_id = $1 AND {condition}
"""
# From the end of each field backwards, until `tail` records of its list are covered: as many steps as there are bodies
# to read, however long the session is. A sum over the rows of all blocks is several times what they cost themselves.
# Counted in floats, which no number in a damaged row overflows.
LAST_BLOCKS = """
    last AS (
        (
            SELECT block_id, field, position, records, body, records::float8 AS covered FROM context_blocks
            WHERE session_id = $1 AND dropped_at IS NULL ORDER BY field DESC, position DESC LIMIT 1
        )
        UNION ALL
        SELECT next.*, next.records + CASE WHEN next.field = last.field THEN last.covered ELSE 0 END
        FROM last CROSS JOIN LATERAL (
            SELECT block_id, field, position, records, body FROM context_blocks
            WHERE session_id = $1 AND dropped_at IS NULL AND (field, position) < (
                last.field, CASE WHEN last.covered < $3 THEN last.position ELSE -9223372036854775808 END
            )
            ORDER BY field DESC, position DESC LIMIT 1
        ) AS next
    )
"""
# Of all blocks what stands in clear, and the bodies of the last ones by themselves.
ROWS_AND_LAST_BODIES = """
    SELECT 2, block_id, field, position, records, NULL, NULL, NULL, NULL FROM context_blocks
    WHERE session_id = $1 AND dropped_at IS NULL
    UNION ALL
    SELECT 4, block_id, NULL, NULL, NULL, body, NULL, NULL, NULL FROM last WHERE records = 0 OR $3 > 0
"""
FRAME_ROWS = """
    SELECT 3, token, change_id, version, time, body, NULL, NULL, NULL FROM context_frames
    WHERE session_id = $1 AND {condition}
"""
BASE = "version > (SELECT base FROM head)"
WHOLE = " UNION ALL ".join(
    (
        f"WITH head AS ({HEAD.format(condition='')}) {SESSION}",
        HEAD_ROW,
        BLOCK_ROWS.format(condition="dropped_at IS NULL"),
        FRAME_ROWS.format(condition=BASE),
    )
)
TAIL = WHOLE.replace("WITH", f"WITH RECURSIVE {LAST_BLOCKS},", 1).replace(
    BLOCK_ROWS.format(condition="dropped_at IS NULL"), ROWS_AND_LAST_BODIES
)
AFTER = f"{SESSION} UNION ALL {FRAME_ROWS.format(condition='version > $3::bigint')}"
# With the frame of the head, which has the etag of a version that the head alone stands for.
AT_VERSION = " UNION ALL ".join(
    (
        f"WITH head AS ({HEAD.format(condition='AND base <= $3')}) {SESSION}",
        HEAD_ROW,
        BLOCK_ROWS.format(
            condition="used_from <= (SELECT base FROM head) "
            "AND (dropped_at IS NULL OR dropped_at > (SELECT base FROM head))"
        ),
        FRAME_ROWS.format(condition="version BETWEEN (SELECT base FROM head) AND $3::bigint"),
    )
)
OLDEST = "SELECT min(base) FROM context_heads WHERE session_id = $1"
IS_ALIVE = f"EXISTS (SELECT FROM session_etags WHERE session_id = $1 AND {ALIVE})"
BLOCKS = f"""
    SELECT block_id, field, position, records, body FROM context_blocks
    WHERE session_id = $1 AND block_id = ANY($3::bytea[]) AND {IS_ALIVE}
"""
FRAMES = f"""
    SELECT version, token, change_id, time, body FROM context_frames
    WHERE session_id = $1 AND version > $3::bigint AND {IS_ALIVE} ORDER BY version LIMIT $4
"""
HOLDS = f"SELECT {IS_ALIVE} AND EXISTS (SELECT FROM context_frames WHERE session_id = $1 AND change_id = $3::text)"
LISTING = """
    SELECT number, session_id, user_id, version, messages, created_at, updated_at, expires_at FROM session_etags
    WHERE number < $1 {condition} ORDER BY number DESC LIMIT $2
"""
# In the order of their index, or each page would look at all that have expired; not by `number` alone, in whose order
# every session would be walked to find them.
EXPIRED_LISTING = f"""
    SELECT number, session_id, user_id, version, messages, created_at, updated_at, expires_at FROM session_etags
    WHERE (expires_at, number) < ($3::bigint, $1::bigint) AND expires_at <= coalesce($4::bigint, {MICROS}) {{condition}}
    ORDER BY expires_at DESC, number DESC LIMIT $2
"""
PLACE = attrgetter("field", "position")
EVERYTHING = 2**63 - 1
MOST_DIGITS = 19


async def read_etags(connection: Connection, session_ids: Collection[str], now: int | None) -> dict[str, Etag]:
    """The etags of those that exist."""
    rows = await connection.fetch(ETAGS, list(session_ids), now)
    return {session_id: Etag(version, token) for session_id, version, token in rows}


async def read_session(
    connection: Connection, session_id: str, now: int | None, after: Etag | None, tail: int | None
) -> StoredSession | None:
    """One session: whole, with at least the last `tail` records of each list, or the frames after an etag."""
    if after is not None:
        return _stored(session_id, await connection.fetch(AFTER, session_id, now, after.version))
    rows = connection.fetch(WHOLE, session_id, now) if tail is None else connection.fetch(TAIL, session_id, now, tail)
    stored = _stored(session_id, await rows)
    if stored is not None and stored.head is None:
        raise CorruptSessionError("it has no head", session_id=session_id)
    return stored


async def read_version(connection: Connection, session_id: str, now: int | None, version: int) -> StoredSession | None:
    """One session as it was at a version."""
    stored = _stored(session_id, await connection.fetch(AT_VERSION, session_id, now, version))
    if stored is None:
        return None
    newest = stored.etag.version
    if stored.head is None or not 1 <= version <= newest:
        oldest = await connection.fetchval(OLDEST, session_id)
        raise VersionUnavailableError(version, max(oldest or 0, 1), newest)
    frames = stored.frames
    if not frames or frames[-1].version != version:
        raise CorruptSessionError("it is missing", session_id=session_id, block=f"frame {version}")
    etag, updated = Etag(version, frames[-1].token), frames[-1].time
    return stored._replace(etag=etag, updated_at=updated, frames=frames[frames[0].version == stored.head.base :])


def _stored(session_id: str, rows: Collection[Any]) -> StoredSession | None:
    about: Any = None
    head: Head | None = None
    blocks, bodies, frames = list[Block](), dict[bytes, bytes](), list[Frame]()
    for row in rows:
        kind = row[0]
        if kind == 2:
            blocks.append(Block._make(row[1:6]))
        elif kind == 4:
            bodies[row[1]] = row[5]
        elif kind == 3:
            _, token, change_id, version, time, body, *_ = row
            frames.append(Frame(version, token, change_id, time, body))
        elif kind == 1:
            _, stamp, _, base, _, body, *_ = row
            head = Head(base, stamp, body)
        else:
            about = row
    if about is None:
        return None
    _, token, user_id, version, epoch, _, created, updated, expires = about
    # The branches of a union come one after the other, each in an order of its own choice.
    if bodies:
        blocks = [block._replace(body=bodies[block[0]]) if block[0] in bodies else block for block in blocks]
    blocks.sort(key=PLACE)
    frames.sort()
    etag = Etag(version, token)
    times = created, updated, expires
    return StoredSession(session_id, user_id, etag, epoch, *times, head, tuple(blocks), tuple(frames))


async def read_blocks(
    connection: Connection, session_id: str, now: int | None, block_ids: Collection[bytes]
) -> tuple[Block, ...]:
    """Those that are still kept."""
    return tuple(Block(*row) for row in await connection.fetch(BLOCKS, session_id, now, list(block_ids)))


async def read_frames(
    connection: Connection, session_id: str, now: int | None, after: int, limit: int | None
) -> tuple[Frame, ...]:
    """The frames above a version, oldest first."""
    return tuple(Frame(*row) for row in await connection.fetch(FRAMES, session_id, now, after, limit))


async def holds(connection: Connection, session_id: str, now: int | None, change_id: str) -> bool:
    """Whether a frame has this change_id."""
    return bool(await connection.fetchval(HOLDS, session_id, now, change_id))


async def list_sessions(connection: Connection, user_id: str | None, cursor: str | None, limit: int) -> SessionPage:
    """A page of sessions, newest first: of one user, if given."""
    of_user, condition = ((), "") if user_id is None else ((user_id,), "AND user_id = $3")
    (before,) = _keys(cursor, 1)
    rows = await connection.fetch(LISTING.format(condition=condition), before, limit + 1, *of_user)
    return _page(rows, limit, lambda last: str(last[0]))


async def list_expired(
    connection: Connection, user_id: str | None, now: int | None, cursor: str | None, limit: int
) -> SessionPage:
    """A page of the sessions that have expired, the last ones first: of one user, if given."""
    of_user, condition = ((), "") if user_id is None else ((user_id,), "AND user_id = $5")
    expiry, number = _keys(cursor, 2)
    statement = EXPIRED_LISTING.format(condition=condition)
    rows = await connection.fetch(statement, number, limit + 1, expiry, now, *of_user)
    return _page(rows, limit, lambda last: f"{last[-1]}.{last[0]}")


def _page(rows: Sequence[Any], limit: int, cursor_of: Callable[[Any], str]) -> SessionPage:
    found = tuple(SessionInfo(*tuple(row)[1:]) for row in rows[:limit])
    return SessionPage(found, cursor_of(rows[limit - 1]) if len(rows) > limit else None)


def _keys(cursor: str | None, count: int) -> list[int]:
    """Where a page ends, as its cursor says; the end of everything without one."""
    if cursor is None:
        return [EVERYTHING] * count
    keys = cursor.split(".")
    if len(keys) != count or not all(key.isdecimal() and len(key) <= MOST_DIGITS for key in keys):
        raise StoreError("this cursor comes from elsewhere")
    return [min(int(key), EVERYTHING) for key in keys]
