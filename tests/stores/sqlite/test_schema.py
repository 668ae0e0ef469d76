from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from tests.stores.changes import committed, creation, grow

from swisper_ctx.errors import StoreError, StoreUnavailableError
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.stores.sqlite.schema import APPLICATION_ID, VERSION, create, is_ours


def content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE sessions (session_id)", "PRAGMA application_id = 7", "CREATE VIEW v AS SELECT 1"],
)
async def test_the_database_of_somebody_else_is_left_alone(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    before = content(path)
    store = SQLiteSessionStore(path)
    with pytest.raises(StoreError, match="another application"):
        await store.read("s")
    with pytest.raises(StoreError, match="another application"):
        await store.commit([creation("s")])
    await store.aclose()
    assert content(path) == before


@pytest.fixture
def diary(path: Path) -> bytes:
    path.write_bytes(b"a diary, no database" * 500)
    return content(path)


async def test_a_file_that_is_no_database_is_left_alone(path: Path, diary: bytes) -> None:
    store = SQLiteSessionStore(path)
    with pytest.raises(StoreError, match="not a database") as caught:
        await store.read("s")
    assert not isinstance(caught.value, StoreUnavailableError)
    await store.aclose()
    assert content(path) == diary


async def test_a_newer_schema_is_refused_with_both_versions(path: Path) -> None:
    store = SQLiteSessionStore(path)
    await grow(store, "s", 1)
    await store.aclose()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    store = SQLiteSessionStore(path)
    with pytest.raises(StoreError, match=f"version {VERSION + 1}.*version {VERSION}"):
        await store.etags(["s"])
    await store.aclose()


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=tmp_path, delete=False) as file:
        path = file.name
    store = SQLiteSessionStore(path)
    await committed(store, creation("s"))
    await store.aclose()


async def test_every_table_has_a_rowid(store: SQLiteSessionStore, path: Path) -> None:
    await grow(store, "s", 1)
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert sorted(tables) == ["blocks", "frames", "heads", "sessions"]
        for table in tables:
            database.execute(f"SELECT rowid FROM {table}")


async def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 26, 0))
    store = SQLiteSessionStore(path)
    with pytest.raises(StoreError, match=r"3\.33"):
        await store.read("s")
    await store.aclose()


def test_tables_that_another_process_creates_meanwhile_are_ours(path: Path) -> None:
    """Between any two of the statements that look at the file."""
    with closing(sqlite3.connect(path)) as database:
        looked: list[str] = []
        database.set_trace_callback(looked.append)
        assert not is_ours(database, str(path))
    for number in range(1, len(looked)):
        file = path.with_name(f"{number}.db")
        with closing(sqlite3.connect(file)) as database, closing(sqlite3.connect(file)) as other:
            left = [number]

            def meanwhile(_statement: str, other: sqlite3.Connection = other, left: list[int] = left) -> None:
                if left and not left[0]:
                    left.clear()
                    create(other)
                    other.commit()
                elif left:
                    left[0] -= 1

            database.set_trace_callback(meanwhile)
            is_ours(database, str(file))
            assert is_ours(database, str(file))
