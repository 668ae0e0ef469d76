"""The contract on a server, and what only a server can show."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import asyncpg
import pytest
from tests.stores.changes import append, committed, creation, grow, moved, new_block
from tests.stores.postgres.schemas import Schemas, execute

from swisper_ctx import SwisperContext
from swisper_ctx.errors import CorruptSessionError, StoreError, StoreUnavailableError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.clock import system_clock
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.stores.postgres import store as store_module
from swisper_ctx.testing import ManualClock, StoreContract
from swisper_ctx.testing.clock import MINUTE

pytestmark = pytest.mark.servers
TABLES = ("context_heads", "context_blocks", "context_frames")
NAMES = ["", "Zürich", "a'b\"c;--", "𝄞" * 200]
"""Ids, without the one that has a NUL."""


class TestPostgresSessionStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _on_a_server(self, schemas: Schemas) -> None:
        self.schemas = schemas

    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> PostgresSessionStore:
        self.url = self.schemas.new()
        return PostgresSessionStore(self.url, keep_versions=keep_versions, clock=clock)

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        return [body for table in TABLES for (body,) in await execute(self.url, f"SELECT body FROM {table}")]

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        for table in TABLES:
            await execute(self.url, f"UPDATE {table} SET body = $1 WHERE body = $2", new, old)

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        for table in TABLES:
            await execute(self.url, f"DELETE FROM {table} WHERE body = $1", old)

    @pytest.mark.parametrize("name", NAMES)
    async def test_any_text_is_an_id(self, store: SessionStore, name: str) -> None:
        await super().test_any_text_is_an_id(store, name)


async def test_a_name_with_a_nul_is_refused_and_the_others_of_its_group_are_not(store: PostgresSessionStore) -> None:
    results = await store.commit([creation("a"), creation("a\0b"), creation("c")])
    assert [type(result.error) for result in results] == [type(None), StoreError, type(None)]
    assert set(await store.etags(["a", "c"])) == {"a", "c"}


async def test_everything_is_there_after_reopening(url: str) -> None:
    store = PostgresSessionStore(url)
    await grow(store, "s", 5)
    await moved(store, "s", 3, added=[new_block("history", 0, 2)])
    before = await store.read("s"), await store.frames("s"), await store.sessions()
    await store.aclose()
    store = PostgresSessionStore(url)
    assert (await store.read("s"), await store.frames("s"), await store.sessions()) == before
    await store.aclose()


async def test_two_stores_share_the_tables(url: str) -> None:
    one, other = PostgresSessionStore(url), PostgresSessionStore(url)
    etag = await committed(one, creation("s"))
    assert await other.etags(["s"]) == {"s": etag}
    etag = await committed(other, append("s", etag))
    assert await one.etags(["s"]) == {"s": etag}
    await one.aclose()
    await committed(other, append("s", etag))
    await other.aclose()


async def test_time_is_that_of_the_database(url: str) -> None:
    store = PostgresSessionStore(url)
    await grow(store, "s", 1)
    (now,) = await execute(url, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    stored = await store.read("s")
    assert stored is not None
    assert 0 <= now[0] - stored.updated_at < 60_000_000
    assert abs(store._clock() - time.time_ns() // 1000) < 60_000_000
    await store.aclose()


async def test_a_clock_that_is_set_is_seen_by_the_next_commit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of this machine, by a day: a session expires by the database's all the same."""
    store, context = PostgresSessionStore(url), SwisperContext(session_id="s", user_id="u")
    await store.save_session(context)
    monkeypatch.setattr(store_module, "system_clock", lambda: system_clock() + 24 * 60 * MINUTE)
    for text in ("tells what time it is there", "expires by that"):
        context.product_query = text
        await store.save_session(context, ttl=9 * MINUTE)
    (now,) = await execute(url, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    assert context._position.expires_at is not None
    assert abs(context._position.expires_at - now[0] - 9 * MINUTE) < MINUTE
    await store.aclose()


async def test_a_pool_of_the_caller_is_used_and_left_open(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
        store = PostgresSessionStore(pool=pool)
        etag = await grow(store, "s", 3)
        assert await store.etags(["s"]) == {"s": etag}
        await store.aclose()
        assert pool.get_size() == pool.get_idle_size()
        # What the store has set in the sessions of its own is not left behind.
        assert await pool.fetchval("SHOW lock_timeout") == "0"
        assert len(await pool.fetch("SELECT FROM session_etags")) == 1
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        store = PostgresSessionStore(pool=pool)
        with pytest.raises(StoreError, match="more than 2"):
            await store.read("s")
        await store.aclose()


async def test_a_pool_without_a_free_connection_is_unavailable_in_time(url: str) -> None:
    store = PostgresSessionStore(url, max_size=1, acquire_timeout=0.2)
    await grow(store, "s", 1)
    assert store._connections is not None
    async with store._connections.reader():
        with pytest.raises(StoreUnavailableError, match="free in time"):
            await store.read("s")
    assert await store.read("s")
    await store.aclose()


def test_one_store_after_the_other_in_several_event_loops(url: str) -> None:
    store = PostgresSessionStore(url)
    etag = asyncio.run(closed_after(store, grow(store, "s", 1)))
    other = PostgresSessionStore(url)
    assert asyncio.run(closed_after(other, other.etags(["s"]))) == {"s": etag}


async def closed_after(store: PostgresSessionStore, work: object) -> object:
    result = await work  # type: ignore[misc]
    await store.aclose()
    return result


async def test_a_process_that_was_forked_does_not_use_its_connections(url: str) -> None:
    store = PostgresSessionStore(url)
    await grow(store, "s", 1)
    child = os.fork()
    if child == 0:
        try:
            store._check_usable()
        except StoreError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222 - it has nothing else to do
    await store.aclose()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = PostgresSessionStore("postgresql://nobody:secret@127.0.0.1:1/none", acquire_timeout=1.0)
    for work in (store.read("s"), store.commit([creation("s")]), store.migrate()):
        with pytest.raises(StoreUnavailableError) as caught:
            await work
        assert "secret" not in f"{caught.value!r} {caught.value} {store!r}"
    await store.aclose()


async def test_a_session_without_a_head_is_corrupt(store: PostgresSessionStore, url: str) -> None:
    await grow(store, "s", 1)
    await execute(url, "DELETE FROM context_heads")
    with pytest.raises(CorruptSessionError, match="session s"):
        await store.read("s")


@pytest.mark.parametrize("dsn", ["postgresql://u:swordfish@host:port/db", "mysql://u:swordfish@host/db"])
async def test_a_dsn_that_is_none_is_told_without_its_password(dsn: str) -> None:
    store = PostgresSessionStore(dsn)
    with pytest.raises(StoreError) as caught:
        await store.read("s")
    assert "swordfish" not in f"{caught.value!r} {caught.value.__cause__!r} {store._settings!r}"
    await store.aclose()
