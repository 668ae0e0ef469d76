"""Behind a pooler that gives each transaction another connection of the server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.servers.pgbouncer import PgBouncer, find_pgbouncer
from tests.servers.postgres import PostgresServer
from tests.servers.program import Program
from tests.stores.postgres.locks import LOCK, assert_whole, transaction
from tests.stores.postgres.schemas import execute, in_a_thread
from tests.stores.postgres.test_store import NAMES, TABLES

from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing import ManualClock, StoreContract
from swisper_ctx.testing.changes import append, commit, grow

pytestmark = [pytest.mark.servers, pytest.mark.full]


@pytest.fixture(scope="module")
def pooler(postgres_program: Program) -> Iterator[PgBouncer]:
    """Three connections of the server for everybody of a database."""
    with (
        PostgresServer(postgres_program) as server,
        PgBouncer(find_pgbouncer(), server, default_pool_size=3, max_db_connections=3) as pooler,
    ):
        yield pooler


@pytest.fixture
def pooled(pooler: PgBouncer) -> str:
    """The URL of a database with tables: the pooler passes no search_path on."""
    name = f"test_{secrets.token_hex(8)}"
    in_a_thread(execute(pooler.dsn, f"CREATE DATABASE {name}"))
    url = (
        pooler.dsn.replace("/postgres?", f"/{name}?")
        if "?" in pooler.dsn
        else f"{pooler.dsn.rpartition('/')[0]}/{name}"
    )

    async def migrate() -> None:
        store = PostgresSessionStore(url, statement_cache_size=0)
        await store.migrate()
        await store.aclose()

    in_a_thread(migrate())
    return url


class TestBehindPgBouncer(StoreContract):
    @pytest.fixture(autouse=True)
    def _pooled(self, pooled: str) -> None:
        self.url = pooled

    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> PostgresSessionStore:
        return PostgresSessionStore(self.url, statement_cache_size=0, keep_versions=keep_versions, clock=clock)

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        return [body for table in TABLES for (body,) in await execute(self.url, f"SELECT body FROM {table}")]

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        for table in TABLES:
            await execute(self.url, f"UPDATE {table} SET body = $1 WHERE body = $2", new, old)

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        for table in TABLES:
            await execute(self.url, f"DELETE FROM {table} WHERE body = $1", old)

    # It goes through every step of the event loop that a save takes, which are thousands here.
    test_a_cancelled_save_merges_all_the_same = None  # type: ignore[assignment]

    @pytest.mark.parametrize("name", NAMES)
    async def test_any_text_is_an_id(self, store: SessionStore, name: str) -> None:
        await super().test_any_text_is_an_id(store, name)


async def test_a_row_that_is_held_holds_nobody_else(pooled: str) -> None:
    store = PostgresSessionStore(pooled, statement_cache_size=0)
    etags = [await grow(store, name, 1) for name in ("a", "b", "c")]
    async with transaction(pooled, LOCK, "b"):
        changes = [append(name, etag) for name, etag in zip(("a", "b", "c"), etags, strict=True)]
        results = await asyncio.wait_for(store.commit(changes), 5)
    assert [result.time is not None for result in results] == [True, False, True]
    assert (await commit(store, changes[1]))[0].time is not None
    await assert_whole(pooled)
    await store.aclose()


async def test_many_turns_at_once_through_few_connections(pooled: str) -> None:
    async with asyncpg.create_pool(pooled, min_size=0, max_size=8, statement_cache_size=0) as pool:
        stores = [
            PostgresSessionStore(pooled, statement_cache_size=0),
            PostgresSessionStore(pool=pool, statement_cache_size=0),
        ]
        await asyncio.gather(
            *(grow(store, f"{which}{number}", 20) for which, store in enumerate(stores) for number in range(20))
        )
        await assert_whole(pooled)
        for store in stores:
            await store.aclose()
