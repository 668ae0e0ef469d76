"""The contract on a file, and what only a file can show."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.stores.changes import append, committed, creation, grow, moved, new_block

from swisper_ctx.errors import CorruptSessionError, StoreError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.stores.sqlite.connection import PAGE_SIZE
from swisper_ctx.testing import ManualClock, StoreContract


class TestSQLiteSessionStore(StoreContract):
    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> SQLiteSessionStore:
        self.path = directory / "sessions.db"
        return SQLiteSessionStore(self.path, keep_versions=keep_versions, clock=clock)

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        with closing(sqlite3.connect(self.path)) as other:
            bodies = [other.execute(f"SELECT body FROM {table}").fetchall() for table in ("heads", "blocks", "frames")]
        return [body for rows in bodies for (body,) in rows]

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        with closing(sqlite3.connect(self.path)) as other, other:
            for table in ("heads", "blocks", "frames"):
                other.execute(f"UPDATE {table} SET body = ? WHERE body = ?", (new, old))

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        with closing(sqlite3.connect(self.path)) as other, other:
            for table in ("heads", "blocks", "frames"):
                other.execute(f"DELETE FROM {table} WHERE body = ?", (old,))


async def test_everything_is_there_after_reopening(path: Path) -> None:
    store = SQLiteSessionStore(path)
    await grow(store, "s", 5)
    await moved(store, "s", 3, added=[new_block("history", 0, 2)])
    before = await store.read("s"), await store.frames("s"), await store.sessions()
    await store.aclose()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    store = SQLiteSessionStore(str(path))
    assert (await store.read("s"), await store.frames("s"), await store.sessions()) == before
    await store.aclose()


async def test_two_stores_share_a_file(path: Path) -> None:
    one, other = SQLiteSessionStore(path), SQLiteSessionStore(path)
    etag = await committed(one, creation("s"))
    assert await other.etags(["s"]) == {"s": etag}
    etag = await committed(other, append("s", etag))
    assert await one.etags(["s"]) == {"s": etag}
    await one.aclose()
    await committed(other, append("s", etag))
    await other.aclose()


async def test_a_relative_path_means_the_directory_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteSessionStore("here.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await grow(store, "s", 1)
    await store.aclose()
    assert (tmp_path / "here.db").exists()


@pytest.mark.parametrize("name", ["", ":memory:"])
def test_a_database_without_a_file_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="file"):
        SQLiteSessionStore(name)


@pytest.mark.parametrize(
    ("url", "name"),
    [("sqlite:///in%20here.db", "in here.db"), ("sqlite:///{0}/there.db", "there.db")],
)
async def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteSessionStore.from_url(url.format(tmp_path), timeout=1.0)
    await grow(store, "s", 1)
    await store.aclose()
    assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite://host/x.db", "sqlite:///x.db?a=b", "sqlite:///x#y"]
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(StoreError, match="sqlite:///"):
        SQLiteSessionStore.from_url(url)


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="it is a directory") as caught:
        await SQLiteSessionStore(tmp_path).read("s")
    assert type(caught.value) is StoreError


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "x.db"
    store = SQLiteSessionStore(path)
    for refused in (store.read("s"), store.commit([creation("s")])):
        with pytest.raises(StoreError, match=f"{re.escape(str(path))} cannot be opened: its directory") as caught:
            await refused
        assert type(caught.value) is StoreError
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    (tmp_path / "absent").mkdir()
    await grow(store, "s", 1)
    await store.aclose()


async def test_damaged_pages_concern_only_the_sessions_on_them(path: Path) -> None:
    store = SQLiteSessionStore(path)
    etags = {name: await committed(store, creation(name, frame=name.encode() * 5_000)) for name in "abcdef"}
    await store.aclose()
    page = page_of(path, b"c")
    with path.open("r+b") as file:
        file.seek(page * PAGE_SIZE)
        file.write(b"\xff" * PAGE_SIZE)

    store = SQLiteSessionStore(path)
    damaged = []
    for name in "abcdef":
        try:
            stored = await store.read(name)
        except CorruptSessionError as error:
            damaged.append((name, error.session_id))
        else:
            assert stored is not None
            assert stored.etag == etags[name]
            assert stored.frames[0].body == name.encode() * 5_000
    assert damaged == [("c", "c")]
    await committed(store, append("a", etags["a"]))
    await store.aclose()


async def test_a_session_without_a_head_is_corrupt(path: Path) -> None:
    store = SQLiteSessionStore(path)
    await grow(store, "s", 1)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM heads")
    with pytest.raises(CorruptSessionError, match="session s"):
        await store.read("s")
    await store.aclose()


def page_of(path: Path, letter: bytes) -> int:
    """A page that continues a frame made of this letter: nothing else but the number of the next one stands there."""
    data, content = path.read_bytes(), letter * (PAGE_SIZE - 4)
    pages = len(data) // PAGE_SIZE
    return next(page for page in range(pages) if data[page * PAGE_SIZE + 4 : (page + 1) * PAGE_SIZE] == content)
