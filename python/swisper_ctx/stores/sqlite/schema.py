"""The tables of the SQLite store, and whose file it is.

Every table has an ordinary rowid and the children name their session by its short key, so that a turn dirties few
pages: the session's row, the end of `frames` and one leaf of its index. `key` grows with each session created, which
orders a listing. No index stands on a column that each turn changes.
"""

from __future__ import annotations

import sqlite3

from swisper_ctx.errors import StoreError

APPLICATION_ID = 0x53575843
VERSION = 1
OLDEST_SQLITE = (3, 33)
"""The first with UPDATE ... FROM."""

TABLES = (
    """CREATE TABLE sessions (
        key INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL UNIQUE,
        user_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        token BLOB NOT NULL,
        messages INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        expires_at INTEGER
    )""",
    "CREATE INDEX sessions_by_user ON sessions (user_id)",
    "CREATE INDEX sessions_by_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL",
    """CREATE TABLE heads (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL,
        base INTEGER NOT NULL,
        stamp BLOB NOT NULL,
        written_at INTEGER NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (session, base)
    )""",
    # In use by the heads from `used_from` up to, not with, `dropped_at`.
    """CREATE TABLE blocks (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL,
        block_id BLOB NOT NULL,
        field TEXT NOT NULL,
        position INTEGER NOT NULL,
        records INTEGER NOT NULL,
        used_from INTEGER NOT NULL,
        dropped_at INTEGER,
        body BLOB NOT NULL,
        UNIQUE (session, block_id)
    )""",
    "CREATE UNIQUE INDEX blocks_in_use ON blocks (session, field, position) WHERE dropped_at IS NULL",
    "CREATE INDEX blocks_dropped ON blocks (session, dropped_at) WHERE dropped_at IS NOT NULL",
    """CREATE TABLE frames (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL,
        version INTEGER NOT NULL,
        token BLOB NOT NULL,
        change_id TEXT,
        time INTEGER NOT NULL,
        body BLOB,
        UNIQUE (session, version)
    )""",
    "CREATE UNIQUE INDEX frames_by_change ON frames (session, change_id) WHERE change_id IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


def is_ours(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the tables stand in this file; False if it is empty, StoreError if it is anything else."""
    # Tables first: where another process creates ours at this moment, they are not seen without their mark.
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == APPLICATION_ID:
        if version > VERSION:
            raise StoreError(f"{path} has schema version {version}, this library knows version {VERSION}: upgrade it")
        return True
    if application or tables:
        raise StoreError(f"{path} is the database of another application: give the store a file of its own")
    return False


def create(connection: sqlite3.Connection) -> None:
    """Write the tables, inside the transaction of the caller."""
    for statement in TABLES:
        connection.execute(statement)
