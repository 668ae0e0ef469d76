"""Moving the head of a log, purging what the grace period no longer protects, and deleting sessions."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from swisper_ctx.errors import StoreError
from swisper_ctx.log import GRACE_TIME, GRACE_VERSIONS, RETRY_WINDOW, Checkpoint
from swisper_ctx.stores.sqlite.commit import ADD_HEAD, delete_expired, delete_one
from swisper_ctx.stores.sqlite.connection import Writer
from swisper_ctx.stores.sqlite.wal import cut

NEWEST_HEAD = """
    SELECT key, version, base FROM sessions JOIN heads ON session = key
    WHERE session_id = ? AND stamp = ? AND (expires_at IS NULL OR expires_at > ?)
    AND base = (SELECT max(base) FROM heads WHERE session = key)
"""
REPLACE_HEAD = "DELETE FROM heads WHERE session = ? AND base = ?"
DROP_BLOCK = "UPDATE blocks SET dropped_at = ? WHERE session = ? AND block_id = ? AND dropped_at IS NULL"
REMOVE_UNUSED = "DELETE FROM blocks WHERE session = ? AND dropped_at <= ? AND used_from >= dropped_at"
ADD_BLOCK = """
    INSERT INTO blocks (session, block_id, field, position, records, used_from, body) VALUES (?, ?, ?, ?, ?, ?, ?)
"""

OLDEST_HEAD = "SELECT min(base) FROM heads WHERE session = ?"
OLDEST_PROTECTED = "SELECT max(base) FROM heads WHERE session = ? AND base <= ? AND written_at <= ?"
PURGE_HEADS = "DELETE FROM heads WHERE session = ? AND base < ?"
PURGE_BLOCKS = "DELETE FROM blocks WHERE session = ? AND dropped_at <= ?"
# With both bounds it is a range of the index: the stubs of a day are not walked again.
PURGE_PATCHES = "UPDATE frames SET body = NULL WHERE session = ? AND version > ? AND version <= ?"
FIRST_REMEMBERED = """
    SELECT version FROM frames WHERE session = ? AND version < ? AND time > ? ORDER BY version LIMIT 1
"""
FORGET = "DELETE FROM frames WHERE session = ? AND version < ?"


def write_checkpoint(writer: Writer, checkpoint: Checkpoint, keep_versions: bool) -> bool:
    """The new head and its blocks, if the one it was made from is still the newest. Purges the session as well."""
    with writer.transaction("checkpoint") as cursor:
        now = writer.clock()
        row = cursor.execute(NEWEST_HEAD, (checkpoint.session_id, checkpoint.expected_stamp, now)).fetchone()
        if row is None:
            return False
        key, version, base = row
        if not base <= checkpoint.head.base <= version:
            raise StoreError(
                f"a head at {checkpoint.head.base} is not between the last one ({base}) and now ({version})"
            )
        _move_head(cursor, key, checkpoint, now)
        if not keep_versions:
            _purge(cursor, key, version, now)
    return True


def _move_head(cursor: sqlite3.Cursor, key: int, checkpoint: Checkpoint, now: int) -> None:
    """A head of the same base gives way to the new one, with the blocks that only it used."""
    base, stamp, body = checkpoint.head
    cursor.execute(REPLACE_HEAD, (key, base))
    cursor.execute(ADD_HEAD, (key, base, stamp, now, body))
    cursor.executemany(DROP_BLOCK, [(base, key, block_id) for block_id in checkpoint.dropped])
    if checkpoint.dropped and cursor.rowcount != len(checkpoint.dropped):
        raise StoreError("a checkpoint drops a block that is not in use")
    cursor.execute(REMOVE_UNUSED, (key, base))
    cursor.executemany(ADD_BLOCK, [(key, *block[:4], base, block.body) for block in checkpoint.added])


def _purge(cursor: sqlite3.Cursor, key: int, version: int, now: int) -> None:
    """Remove what the grace period no longer protects: see GRACE_VERSIONS and GRACE_TIME.

    The newest head that is past it becomes the oldest one kept. Patches up to its base go at once, their frames
    stay for RETRY_WINDOW.
    """
    (last,) = cursor.execute(OLDEST_HEAD, (key,)).fetchone()
    (bound,) = cursor.execute(OLDEST_PROTECTED, (key, version - GRACE_VERSIONS, now - GRACE_TIME)).fetchone()
    if bound is None:
        return
    cursor.execute(PURGE_HEADS, (key, bound))
    cursor.execute(PURGE_BLOCKS, (key, bound))
    cursor.execute(PURGE_PATCHES, (key, last, bound))
    kept = cursor.execute(FIRST_REMEMBERED, (key, bound, now - RETRY_WINDOW)).fetchone()
    cursor.execute(FORGET, (key, kept[0] if kept else bound))


def delete_sessions(writer: Writer, session_ids: Collection[str], expired: bool) -> tuple[int, bool]:
    """Those that exist (and have expired), with everything they have: how many, and whether the WAL is rid of them."""
    with writer.transaction("delete") as cursor:
        now = writer.clock()
        deleted = sum(
            delete_expired(cursor, session_id, now) if expired else delete_one(cursor, session_id)
            for session_id in session_ids
        )
    return deleted, deleted == 0 or cut(writer.connection)
