"""Reading what is left of a damaged session, and writing it anew while that is kept under another id."""

from __future__ import annotations

import sqlite3
from itertools import starmap

from swisper_ctx.log import Block, Etag, Frame, Head, KeptBlock, Remains, Restoration
from swisper_ctx.stores.sqlite.checkpoint import ADD_BLOCK
from swisper_ctx.stores.sqlite.commit import ADD_HEAD
from swisper_ctx.stores.sqlite.connection import Writer, snapshot
from swisper_ctx.stores.sqlite.read import FRAMES, SESSION

HEADS = "SELECT base, stamp, body FROM heads WHERE session = ? ORDER BY base"
KEPT = """
    SELECT block_id, field, position, records, body, used_from, dropped_at FROM blocks
    WHERE session = ? ORDER BY field, position, used_from
"""
SET_ASIDE = """
    UPDATE OR IGNORE sessions SET session_id = ?
    WHERE session_id = ? AND version = ? AND token = ? AND (expires_at IS NULL OR expires_at > ?)
"""
RESTORE = """
    INSERT INTO sessions (session_id, user_id, version, token, messages, epoch, created_at, updated_at, expires_at)
    SELECT ?, user_id, ?, ?, ?, ?, created_at, ?, expires_at FROM sessions WHERE session_id = ?
"""
ADD_FRAME = "INSERT INTO frames (session, version, token, change_id, time) VALUES (?, ?, ?, ?, ?)"


def read_remains(connection: sqlite3.Connection, now: int, session_id: str) -> Remains | None:
    """All that is kept of a session, sound or not."""
    with snapshot(connection) as cursor:
        row = cursor.execute(SESSION, (session_id, now)).fetchone()
        if row is None:
            return None
        key, user_id, version, token, epoch, created, *_ = row
        heads = tuple(starmap(Head, cursor.execute(HEADS, (key,))))
        blocks = tuple(KeptBlock(Block(*kept[:5]), *kept[5:]) for kept in cursor.execute(KEPT, (key,)))
        frames = tuple(starmap(Frame, cursor.execute(FRAMES, (key, 0, -1))))
    return Remains(session_id, user_id, Etag(version, token), epoch, created, heads, blocks, frames, ())


def restore_session(writer: Writer, restoration: Restoration) -> bool:
    """False if the session has moved on, or something is kept under the other id already."""
    session_id, quarantine_id, expected, etag, epoch, messages, head, blocks, frames = restoration
    with writer.transaction("restore") as cursor:
        now = writer.clock()
        cursor.execute(SET_ASIDE, (quarantine_id, session_id, *expected, now))
        if cursor.rowcount == 0:
            return False
        cursor.execute(RESTORE, (session_id, *etag, messages, epoch, now, quarantine_id))
        key = cursor.lastrowid
        cursor.execute(ADD_HEAD, (key, head.base, head.stamp, now, head.body))
        cursor.executemany(ADD_BLOCK, [(key, *block[:4], head.base, block.body) for block in blocks])
        cursor.executemany(ADD_FRAME, [(key, *frame[:4]) for frame in (*frames, Frame(*etag, None, now, None))])
    return True
