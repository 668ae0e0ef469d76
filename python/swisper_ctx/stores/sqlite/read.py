"""Reading sessions: each function is one snapshot of the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from itertools import starmap

from swisper_ctx.errors import CorruptSessionError, StoreError, VersionUnavailableError
from swisper_ctx.log import Block, Etag, Frame, Head, SessionInfo, SessionPage, StoredSession
from swisper_ctx.stores.sqlite.connection import snapshot

ETAG = "SELECT version, token FROM sessions WHERE session_id = ? AND (expires_at IS NULL OR expires_at > ?)"
SESSION = """
    SELECT key, user_id, version, token, epoch, created_at, updated_at, expires_at FROM sessions
    WHERE session_id = ? AND (expires_at IS NULL OR expires_at > ?)
"""
KEY = "(SELECT key FROM sessions WHERE session_id = ? AND (expires_at IS NULL OR expires_at > ?))"
HEAD = "SELECT base, stamp, body FROM heads WHERE session = ? ORDER BY base DESC LIMIT 1"
BLOCKS = """
    SELECT block_id, field, position, records, body FROM blocks
    WHERE session = ? AND dropped_at IS NULL ORDER BY field, position
"""
# Those that have `tail` records of their list after them come without their bodies, which are not read.
LAST_BLOCKS = """
    SELECT block_id, field, position, blocks.records, CASE WHEN blocks.records = 0 OR behind < ? THEN body END
    FROM blocks JOIN (
        SELECT id, sum(records) OVER (PARTITION BY field ORDER BY position DESC) - records AS behind
        FROM blocks WHERE session = ? AND dropped_at IS NULL
    ) USING (id) ORDER BY field, position
"""
HEAD_AT = HEAD.replace("ORDER BY", "AND base <= ? ORDER BY")
OLDEST = "SELECT min(base) FROM heads WHERE session = ?"
BLOCKS_AT = BLOCKS.replace("dropped_at IS NULL", "used_from <= ? AND (dropped_at IS NULL OR dropped_at > ?)")
# With that of the head, which has the etag of a version that the head alone stands for.
FRAMES_AT = """
    SELECT version, token, change_id, time, body FROM frames
    WHERE session = ? AND version BETWEEN ? AND ? ORDER BY version
"""
BLOCK = """
    SELECT block_id, field, position, records, body FROM blocks WHERE session = KEY AND block_id = ?
""".replace("KEY", KEY)
FRAMES = """
    SELECT version, token, change_id, time, body FROM frames WHERE session = ? AND version > ? ORDER BY version LIMIT ?
"""
FRAMES_OF = FRAMES.replace("session = ?", f"session = {KEY}")
HOLDS = "SELECT 1 FROM frames WHERE session = KEY AND change_id = ?".replace("KEY", KEY)

LISTING = """
    SELECT key, session_id, user_id, version, messages, created_at, updated_at, expires_at
    FROM sessions {index} WHERE {condition} ORDER BY key DESC LIMIT ?
"""
EVERYTHING = 2**63 - 1


def read_etags(connection: sqlite3.Connection, now: int, session_ids: Collection[str]) -> dict[str, Etag]:
    """The etags of those that exist."""
    with snapshot(connection) as cursor:
        rows = [(id_, cursor.execute(ETAG, (id_, now)).fetchone()) for id_ in session_ids]
    return {id_: Etag(*row) for id_, row in rows if row is not None}


def read_session(
    connection: sqlite3.Connection, now: int, session_id: str, after: Etag | None, tail: int | None
) -> StoredSession | None:
    """One session: whole, with at least the last `tail` records of each list, or the frames after an etag."""
    with snapshot(connection) as cursor:
        row = cursor.execute(SESSION, (session_id, now)).fetchone()
        if row is None:
            return None
        key, user_id, version, token, epoch, created, updated, expires = row
        head = _head(cursor, session_id, key) if after is None else None
        blocks = _blocks(cursor, key, tail) if head else ()
        base = head.base if head else after.version if after else 0
        frames = tuple(starmap(Frame, cursor.execute(FRAMES, (key, base, -1))))
    etag = Etag(version, token)
    return StoredSession(session_id, user_id, etag, epoch, created, updated, expires, head, blocks, frames)


def read_version(connection: sqlite3.Connection, now: int, session_id: str, version: int) -> StoredSession | None:
    """One session as it was at a version."""
    with snapshot(connection) as cursor:
        row = cursor.execute(SESSION, (session_id, now)).fetchone()
        if row is None:
            return None
        key, user_id, newest, _, epoch, created, _, expires = row
        found = cursor.execute(HEAD_AT, (key, version)).fetchone() if 1 <= version <= newest else None
        if found is None:
            (oldest,) = cursor.execute(OLDEST, (key,)).fetchone()
            raise VersionUnavailableError(version, max(oldest or 0, 1), newest)
        head = Head(*found)
        blocks = tuple(starmap(Block, cursor.execute(BLOCKS_AT, (key, head.base, head.base))))
        frames = tuple(starmap(Frame, cursor.execute(FRAMES_AT, (key, head.base, version))))
    if not frames or frames[-1].version != version:
        raise CorruptSessionError("it is missing", session_id=session_id, block=f"frame {version}")
    etag, updated = Etag(version, frames[-1].token), frames[-1].time
    frames = frames[frames[0].version == head.base :]
    return StoredSession(session_id, user_id, etag, epoch, created, updated, expires, head, blocks, frames)


def _head(cursor: sqlite3.Cursor, session_id: str, key: int) -> Head:
    row = cursor.execute(HEAD, (key,)).fetchone()
    if row is None:
        raise CorruptSessionError("it has no head", session_id=session_id)
    return Head(*row)


def _blocks(cursor: sqlite3.Cursor, key: int, tail: int | None) -> tuple[Block, ...]:
    rows = cursor.execute(BLOCKS, (key,)) if tail is None else cursor.execute(LAST_BLOCKS, (tail, key))
    return tuple(starmap(Block, rows))


def read_blocks(
    connection: sqlite3.Connection, now: int, session_id: str, block_ids: Collection[bytes]
) -> tuple[Block, ...]:
    """Those that are still kept."""
    with snapshot(connection) as cursor:
        rows = [cursor.execute(BLOCK, (session_id, now, block_id)).fetchone() for block_id in block_ids]
    return tuple(Block(*row) for row in rows if row is not None)


def read_frames(
    connection: sqlite3.Connection, now: int, session_id: str, after: int, limit: int | None
) -> tuple[Frame, ...]:
    """The frames above a version, oldest first."""
    rows = connection.execute(FRAMES_OF, (session_id, now, after, -1 if limit is None else limit)).fetchall()
    return tuple(starmap(Frame, rows))


def holds(connection: sqlite3.Connection, now: int, session_id: str, change_id: str) -> bool:
    """Whether a frame has this change_id."""
    return connection.execute(HOLDS, (session_id, now, change_id)).fetchone() is not None


def list_sessions(
    connection: sqlite3.Connection, user_id: str | None, expired_at: int | None, cursor: str | None, limit: int
) -> SessionPage:
    """A page of sessions, newest first: of one user, if given; expired at a moment, if given."""
    where, values = ["key < ?"], list[object]([_key(cursor)])
    if user_id is not None:
        where.append("user_id = ?")
        values.append(user_id)
    if expired_at is not None:
        where.append("expires_at <= ?")
        values.append(expired_at)
    # Left to itself SQLite walks every session to find the few that have expired.
    index = "INDEXED BY sessions_by_expiry" if expired_at is not None and user_id is None else ""
    listing = LISTING.format(index=index, condition=" AND ".join(where))
    rows = connection.execute(listing, (*values, limit + 1)).fetchall()
    found = tuple(SessionInfo(*row[1:]) for row in rows[:limit])
    return SessionPage(found, str(rows[limit - 1][0]) if len(rows) > limit else None)


def _key(cursor: str | None) -> int:
    if cursor is None:
        return EVERYTHING
    if not cursor.isdecimal():
        raise StoreError("this cursor comes from elsewhere")
    return min(int(cursor), EVERYTHING)
