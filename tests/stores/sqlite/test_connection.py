"""Locks, deadlines and disks."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.stores.changes import append, committed, creation, grow, moved, new_block

from swisper_ctx.errors import OutcomeUnknownError, StoreUnavailableError
from swisper_ctx.log import Checkpoint
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.stores.sqlite.connection import PAGE_SIZE, WAL_PAGES

TIMEOUT = 1.0


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteSessionStore]:
    store = SQLiteSessionStore(path, timeout=TIMEOUT)
    yield store
    await store.aclose()


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another application's connection to the same file."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        yield connection


def wal_size(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


@contextmanager
def within_the_deadline() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert TIMEOUT * 0.9 < time.monotonic() - began < TIMEOUT * 1.2


async def test_every_write_to_a_locked_file_ends_at_its_deadline(
    store: SQLiteSessionStore, other: sqlite3.Connection
) -> None:
    etag = await grow(store, "s", 2)
    await moved(store, "s", 1)
    stored = await store.read("s")
    assert stored is not None
    assert stored.head is not None
    other.execute("BEGIN IMMEDIATE")
    with within_the_deadline():
        # One waits behind the other, each until its own deadline.
        one, two, checkpoint, deletion = await asyncio.gather(
            store.commit([append("s", etag), creation("t")]),
            store.commit([append("s", etag)]),
            store.checkpoint(Checkpoint("s", stored.head.stamp, stored.head, (), ())),
            store.delete(["s"]),
            return_exceptions=True,
        )
    assert isinstance(one, list)
    assert isinstance(two, list)
    errors = [result.error for result in one + two] + [checkpoint, deletion]
    assert [type(error) for error in errors] == [StoreUnavailableError] * 5
    assert "locked" in str(errors[0])
    assert await store.read("s") == stored
    other.execute("ROLLBACK")
    await committed(store, append("s", etag))


async def test_a_file_that_is_locked_from_the_beginning(store: SQLiteSessionStore, other: sqlite3.Connection) -> None:
    other.execute("BEGIN EXCLUSIVE")
    with within_the_deadline():
        commit, read = await asyncio.gather(store.commit([creation("s")]), store.read("s"), return_exceptions=True)
    assert isinstance(commit, list)
    assert [type(answer) for answer in (commit[0].error, read)] == [StoreUnavailableError] * 2
    other.execute("ROLLBACK")
    await grow(store, "s", 1)


async def test_a_lock_that_is_let_go_in_time(store: SQLiteSessionStore, other: sqlite3.Connection) -> None:
    etag = await grow(store, "s", 1)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(TIMEOUT / 3, other.execute, ["ROLLBACK"])
    release.start()
    await committed(store, append("s", etag))
    release.join()


async def test_a_reader_stops_no_writer(store: SQLiteSessionStore, other: sqlite3.Connection, path: Path) -> None:
    etag = await grow(store, "s", 1)
    other.execute("BEGIN")
    seen = other.execute("SELECT count(*) FROM frames").fetchone()
    limit = 2 * WAL_PAGES * PAGE_SIZE
    for _ in range(20):
        etag = await committed(store, append("s", etag, frame=os.urandom(1_000_000)))
    assert await store.etags(["s"]) == {"s": etag}
    assert await store.delete(["unknown"]) == 0
    assert other.execute("SELECT count(*) FROM frames").fetchone() == seen
    assert wal_size(path) > limit
    other.execute("ROLLBACK")
    for _ in range(3):
        etag = await committed(store, append("s", etag, frame=os.urandom(1_000_000)))
    assert wal_size(path) <= limit


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 3])
async def test_a_disk_that_fails_in_the_middle_of_a_commit(store: SQLiteSessionStore, path: Path, size: int) -> None:
    created = [creation(f"s{number}") for number in range(size)]
    await store.commit(created)
    names = [change.session_id for change in created]
    before = await store.etags(names)
    group = [append(change.session_id, change.etag, frame=bytes(50_000)) for change in created]
    with no_file_grows_beyond(wal_size(path) + 20_000):
        results = await store.commit(group)
    assert [type(result.error) for result in results] == [OutcomeUnknownError] * size
    assert await store.etags(names) == before
    assert all(result.time for result in await store.commit(group))
    assert await store.etags(names) == {change.session_id: change.etag for change in group}


async def test_a_disk_that_fails_in_the_middle_of_a_checkpoint(store: SQLiteSessionStore, path: Path) -> None:
    await grow(store, "s", 2)
    stored = await store.read("s")
    assert stored is not None
    assert stored.head is not None
    checkpoint = Checkpoint(
        "s", stored.head.stamp, stored.head._replace(base=2), (new_block("", 0, 0, bytes(50_000)),), ()
    )
    with no_file_grows_beyond(wal_size(path) + 20_000), pytest.raises(OutcomeUnknownError):
        await store.checkpoint(checkpoint)
    assert await store.read("s") == stored
    assert await store.checkpoint(checkpoint)


READ_ONLY = """
import asyncio, os, sys
from swisper_ctx.errors import StoreUnavailableError
from swisper_ctx.log import Change, Etag
from swisper_ctx.stores.sqlite import SQLiteSessionStore

async def main(path):
    store = SQLiteSessionStore(path, timeout=0.5)
    etag = (await store.etags(["s"]))["s"]
    change = Change("s", "u", etag, Etag(etag.version + 1, bytes(16)), b"")
    results = await store.commit([change, change._replace(session_id="t")])
    assert [type(result.error) for result in results] == [StoreUnavailableError] * 2, results
    assert "readonly" in str(results[0].error), results
    try:
        await store.delete(["s"])
    except StoreUnavailableError:
        pass
    else:
        raise AssertionError("deleted from a file that cannot be written")
    assert await store.etags(["s"]) == {"s": etag}
    await store.aclose()

if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users may enter, other than tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def write_protect(directory: Path) -> None:
    for file in directory.iterdir():
        file.chmod(0o444)


async def test_a_file_that_cannot_be_written(open_directory: Path) -> None:
    path = open_directory / "x.db"
    store = SQLiteSessionStore(path)
    await grow(store, "s", 2)
    write_protect(open_directory)
    child = [sys.executable, "-W", "error", "-c", READ_ONLY, str(path)]
    ended = await asyncio.to_thread(subprocess.run, child, capture_output=True, text=True, timeout=30)
    await store.aclose()
    assert ended.returncode == 0, ended.stderr


FORBIDDEN = """
import asyncio, os, sys
from swisper_ctx.errors import StoreError
from swisper_ctx.stores.sqlite import SQLiteSessionStore

async def main(path, reason):
    store = SQLiteSessionStore(path)
    for refused in (store.etags(["s"]), store.delete(["s"])):
        try:
            await refused
        except StoreError as error:
            assert type(error) is StoreError, error
            assert path in str(error) and reason in str(error), error
        else:
            raise AssertionError("opened")
    await store.aclose()

if os.getuid() == 0:
    os.setuid(65534)  # root may do everything
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("about", "mode", "reason"),
    [
        ("directory", 0o555, "cannot be written to"),
        ("directory", 0o000, "may not be entered"),
        ("file", 0o000, "may not be read"),
    ],
)
def test_what_forbids_opening_a_file_is_told(open_directory: Path, about: str, mode: int, reason: str) -> None:
    path = open_directory / "x.db"

    async def fill() -> None:
        store = SQLiteSessionStore(path)
        await grow(store, "s", 2)
        await store.aclose()

    asyncio.run(fill())
    open_directory.chmod(0o777)
    (path if about == "file" else open_directory).chmod(mode)
    child = [sys.executable, "-W", "error", "-c", FORBIDDEN, str(path), reason]
    ended = subprocess.run(child, check=False, capture_output=True, text=True, timeout=30)
    open_directory.chmod(0o755)
    assert ended.returncode == 0, ended.stderr
