"""The bodies that are kept of a session, and putting others in their place."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from swisper_ctx.log import StoredBody
from swisper_ctx.stores.sqlite.connection import Writer, snapshot

BODIES = """
    SELECT 'head', stamp, body FROM heads WHERE session = :key
    UNION ALL SELECT 'block', block_id, body FROM blocks WHERE session = :key
    UNION ALL SELECT 'frame', version, body FROM frames WHERE session = :key AND body IS NOT NULL
"""
KEY = "SELECT key FROM sessions WHERE session_id = ?"
REPLACE = {
    "head": "UPDATE heads SET body = ? WHERE session = ? AND stamp = ? AND body = ?",
    "block": "UPDATE blocks SET body = ? WHERE session = ? AND block_id = ? AND body = ?",
    "frame": "UPDATE frames SET body = ? WHERE session = ? AND version = ? AND body = ?",
}


def read_bodies(connection: sqlite3.Connection, session_id: str) -> tuple[StoredBody, ...]:
    """Of every head, block and frame."""
    with snapshot(connection) as cursor:
        row = cursor.execute(KEY, (session_id,)).fetchone()
        return tuple(StoredBody(*found) for found in cursor.execute(BODIES, {"key": row[0]})) if row else ()


def replace_bodies(writer: Writer, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
    """Those that are still what they were, in one transaction; how many they are."""
    replaced = 0
    with writer.transaction("replace") as cursor:
        row = cursor.execute(KEY, (session_id,)).fetchone()
        if row is not None:
            for (kind, key, old), new in bodies:
                replaced += cursor.execute(REPLACE[kind], (new, row[0], key, old)).rowcount
    return replaced


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    (number,) = connection.execute("PRAGMA data_version").fetchone()
    return int(number)
