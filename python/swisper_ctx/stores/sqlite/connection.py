"""Connections to the file, and the transactions on them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

from swisper_ctx.errors import StoreError
from swisper_ctx.stores.clock import Clock, Failpoint
from swisper_ctx.stores.sqlite import schema
from swisper_ctx.stores.sqlite.errors import BUSY, NOT_WRITTEN, CommitFailedError, primary_code

T = TypeVar("T")

PAGE_SIZE = 1024
"""In bytes. A turn of 1 kB writes 11 kB of pages alone and 7 kB in groups of 64; with 4096 it was 22 kB and 16 kB."""

WAL_PAGES = 8000
"""At this length, 8 MB, the WAL is copied into the database: what many turns changed meanwhile is copied once."""

SETTINGS = (
    "PRAGMA synchronous = FULL",
    f"PRAGMA wal_autocheckpoint = {WAL_PAGES}",
    # What a foreign reader has let grow is given back.
    f"PRAGMA journal_size_limit = {2 * WAL_PAGES * PAGE_SIZE}",
    # What was deleted or purged must not be readable in the file.
    "PRAGMA secure_delete = ON",
    "PRAGMA cache_size = -8000",
)


FORBIDDEN = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
"""A file that cannot be opened, or not with what SQLite keeps beside it."""


def connect(path: str, deadline: float) -> sqlite3.Connection:
    """A connection for writing; creates the file and its tables if need be."""
    if sqlite3.sqlite_version_info < schema.OLDEST_SQLITE:
        oldest = ".".join(map(str, schema.OLDEST_SQLITE))
        raise StoreError(f"this Python has SQLite {sqlite3.sqlite_version}, the store needs {oldest} or newer")
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=256)
        try:
            until(deadline, partial(_prepare, connection, path, deadline))
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        obstacle = _obstacle(Path(path)) if primary_code(error) in FORBIDDEN else None
        if obstacle is None:
            raise
        raise StoreError(f"{path} cannot be opened: {obstacle}") from error
    return connection


def _obstacle(path: Path) -> str | None:
    """Why a file cannot be opened, where trying again would not help."""
    try:
        if path.is_dir():
            return "it is a directory"
        if not path.parent.is_dir():
            return "its directory does not exist"
    except PermissionError:
        return "its directory may not be entered"
    if not os.access(path.parent, os.W_OK):
        return "its directory cannot be written to, which SQLite needs even for reading"
    return None if os.access(path, os.R_OK) or not path.exists() else "it may not be read"


def connect_reader(path: str, deadline: float) -> sqlite3.Connection:
    """A connection that cannot write, except that it creates the file and its tables if need be."""
    connection = connect(path, deadline)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _prepare(connection: sqlite3.Connection, path: str, deadline: float) -> None:
    ours = schema.is_ours(connection, path)
    if not ours:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise StoreError(f"{path} stands where SQLite cannot keep a WAL: give the store a local disk")
    for setting in SETTINGS:
        connection.execute(setting)
    if not ours:
        with transaction(connection, deadline):
            if not schema.is_ours(connection, path):
                schema.create(connection)


def until(deadline: float, attempt: Callable[[], T]) -> T:
    """What `attempt` gives, repeated while another connection is in the way, until `deadline` (time.monotonic)."""
    # Not SQLite's busy timeout: that holds for each statement, and a transaction has several.
    for pause in chain((0.001, 0.002, 0.005, 0.01), repeat(0.02)):
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if primary_code(error) not in BUSY or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
    raise AssertionError("unreachable")


@contextmanager
def transaction(connection: sqlite3.Connection, deadline: float) -> Iterator[sqlite3.Cursor]:
    """One transaction that writes: all of it or, on any error, nothing.

    Raises CommitFailedError if it cannot be told which of the two a failed COMMIT has left.
    """
    cursor = begin(connection, deadline)
    try:
        yield cursor
    except BaseException:
        roll_back(connection)
        raise
    commit(cursor)


def begin(connection: sqlite3.Connection, deadline: float) -> sqlite3.Cursor:
    """Begin a transaction that writes: the cursor for its statements."""
    try:
        return connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if primary_code(error) not in BUSY:
            raise
    return until(deadline, partial(connection.execute, "BEGIN IMMEDIATE"))


def commit(cursor: sqlite3.Cursor) -> None:
    """Commit, or roll back and raise CommitFailedError if it cannot be told which of the two was done."""
    try:
        cursor.execute("COMMIT")
    except sqlite3.Error as error:
        roll_back(cursor.connection)
        if primary_code(error) in NOT_WRITTEN:
            raise
        raise CommitFailedError(str(error)) from error


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """One moment of the database for several statements that read."""
    connection.execute("BEGIN")
    try:
        yield connection.cursor()
    finally:
        roll_back(connection)


def roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction, if SQLite has not ended it by itself, as it does when the disk is full."""
    if connection.in_transaction:
        connection.rollback()


class Writer(NamedTuple):
    """The connection that writes, for one job, and what the store was made with."""

    connection: sqlite3.Connection
    deadline: float
    clock: Clock
    failpoint: Failpoint

    @contextmanager
    def transaction(self, name: str) -> Iterator[sqlite3.Cursor]:
        """One transaction, with the failpoints NAME.begin, NAME.applied (before COMMIT) and NAME.done (after it)."""
        self.failpoint(f"{name}.begin")
        with transaction(self.connection, self.deadline) as cursor:
            yield cursor
            self.failpoint(f"{name}.applied")
        self.failpoint(f"{name}.done")
