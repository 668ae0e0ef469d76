"""What stands in the tables and in the file after checkpoints and deletions."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.stores.changes import ManualClock, append, committed, creation, grow, moved, new_block

from swisper_ctx.log import GRACE_TIME
from swisper_ctx.stores.sqlite import SQLiteSessionStore, checkpoint

SECRET = b"the password is swordfish" * 20


def stored_bytes(path: Path) -> bytes:
    """Everything on the disk: the database and its WAL."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm"))


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


async def test_deleted_content_is_no_longer_in_the_file(store: SQLiteSessionStore, path: Path) -> None:
    await committed(store, creation("s", user_id="a person", frame=SECRET * 50))
    etag = await committed(store, creation("other", frame=b"kept" * 50))
    await moved(store, "s", 1, added=[new_block("", 0, 0, SECRET), new_block("x", 0, 0, SECRET * 50)])
    assert SECRET in stored_bytes(path)
    await store.delete(["s"])
    left = stored_bytes(path)
    assert SECRET[:50] not in left
    assert b"a person" not in left
    assert b"kept" * 50 in left
    await committed(store, append("other", etag))


async def is_gone(path: Path) -> bool:
    """Whether nothing of the secret is on the disk, within five seconds."""
    for _ in range(1000):
        if SECRET[:50] not in stored_bytes(path):
            return True
        await asyncio.sleep(0.005)
    return False


async def test_deleted_content_goes_when_the_last_reader_has_gone(store: SQLiteSessionStore, path: Path) -> None:
    await committed(store, creation("s", frame=SECRET))
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(connection: sqlite3.Connection, _: float) -> None:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM frames").fetchone()
        loop.call_soon_threadsafe(reading.set)
        time.sleep(0.05)
        connection.rollback()

    reader = asyncio.create_task(store._reader.run(hold))
    await reading.wait()
    deletion = asyncio.create_task(store.delete(["s"]))
    await asyncio.sleep(0)
    deletion.cancel()
    await reader
    assert await is_gone(path)


async def test_deletes_and_turns_do_not_wait_for_a_reader_that_stays(store: SQLiteSessionStore, path: Path) -> None:
    for number in range(10):
        etag = await committed(store, creation(f"s{number}", frame=SECRET))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM frames").fetchone()
        began = time.monotonic()
        for number in range(9):
            deletion = asyncio.create_task(store.delete([f"s{number}"]))
            etag = await committed(store, append("s9", etag))
            assert await deletion == 1
        assert time.monotonic() - began < 1
        assert await store.delete(["s9"]) == 1
        await asyncio.sleep(0.1)
        assert SECRET in stored_bytes(path)
        other.execute("ROLLBACK")
        assert await is_gone(path)


async def test_deleted_content_goes_at_the_latest_when_the_store_is_closed(
    store: SQLiteSessionStore, path: Path
) -> None:
    await committed(store, creation("s", frame=SECRET))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM frames").fetchone()
        assert await store.delete(["s"]) == 1
        other.execute("ROLLBACK")
        await store.aclose()
        assert SECRET[:50] not in stored_bytes(path)


async def test_purged_content_is_no_longer_in_the_file(
    store: SQLiteSessionStore, clock: ManualClock, path: Path
) -> None:
    await committed(store, creation("s", frame=SECRET * 50))
    block = new_block("", 0, 0, SECRET)
    await moved(store, "s", 1, added=[block])
    await grow(store, "s", 2)
    await moved(store, "s", 2, dropped=[block.block_id])
    clock.advance(GRACE_TIME)
    await grow(store, "s", 150)
    await moved(store, "s", 150)
    await store.aclose()
    assert SECRET[:50] not in stored_bytes(path)


async def test_what_earlier_heads_use_stays_as_long_as_they(
    store: SQLiteSessionStore, clock: ManualClock, path: Path
) -> None:
    await grow(store, "s", 3)
    first, second, third = (new_block("history", 0, count, b"%d" % count) for count in (1, 2, 3))
    await moved(store, "s", 1, added=[first])
    await moved(store, "s", 2, added=[second], dropped=[first.block_id])
    clock.advance(GRACE_TIME)
    await moved(store, "s", 3, added=[third], dropped=[second.block_id])
    lifetimes = "SELECT body, used_from, dropped_at FROM blocks ORDER BY id"
    assert rows(path, lifetimes) == [(b"1", 1, 2), (b"2", 2, 3), (b"3", 3, None)]
    assert rows(path, "SELECT base FROM heads") == [(0,), (1,), (2,), (3,)]

    await grow(store, "s", 130)
    await moved(store, "s", 130)
    assert rows(path, lifetimes) == [(b"2", 2, 3), (b"3", 3, None)]
    assert rows(path, "SELECT base FROM heads") == [(2,), (3,), (130,)]

    clock.advance(GRACE_TIME)
    await grow(store, "s", 260)
    await moved(store, "s", 260)
    assert rows(path, lifetimes) == [(b"3", 3, None)]
    assert rows(path, "SELECT base FROM heads") == [(130,), (260,)]


async def test_a_head_that_gave_way_leaves_nothing(store: SQLiteSessionStore, path: Path) -> None:
    await grow(store, "s", 3)
    first, second = new_block("", 0, 0, b"first"), new_block("", 0, 0, b"second")
    await moved(store, "s", 3, added=[first])
    await moved(store, "s", 3, added=[second], dropped=[first.block_id])
    assert rows(path, "SELECT body, used_from, dropped_at FROM blocks") == [(b"second", 3, None)]
    assert rows(path, "SELECT base FROM heads") == [(0,), (3,)]


async def test_a_deleted_session_leaves_no_rows(store: SQLiteSessionStore, path: Path) -> None:
    await grow(store, "s", 3)
    await moved(store, "s", 2, added=[new_block("", 0, 0)])
    await store.delete(["s"])
    for table in ("sessions", "heads", "blocks", "frames"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [(0,)]


STATEMENTS = [
    (name, statement)
    for name, value in vars(checkpoint).items()
    for statement in (value if isinstance(value, tuple) else (value,))
    if name.isupper() and isinstance(statement, str)
]


@pytest.mark.parametrize(("name", "statement"), STATEMENTS)
async def test_no_statement_walks_a_table(store: SQLiteSessionStore, path: Path, name: str, statement: str) -> None:
    await grow(store, "s", 1)
    with closing(sqlite3.connect(path)) as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN {statement}", (None,) * statement.count("?")).fetchall()
    assert [step[3] for step in plan if step[3].startswith("SCAN")] == []
    if name in {"PURGE_PATCHES", "FORGET", "FIRST_REMEMBERED"}:
        assert any("session=? AND version" in step[3] for step in plan)


def test_the_statements_were_found() -> None:
    assert len(STATEMENTS) > 12
