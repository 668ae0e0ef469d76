"""The contract on stores behind a Redis, one over each kind that it may stand before."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis
from tests.stores import test_memory
from tests.stores.postgres import test_store as test_postgres
from tests.stores.postgres.schemas import Schemas
from tests.stores.sqlite import test_store as test_sqlite

from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.redis import RedisCache
from swisper_ctx.testing import ManualClock, StoreContract

pytestmark = pytest.mark.servers


class RedisContract(StoreContract):
    """What is damaged is damaged in the store: Redis forgets it, else it would go on serving what was good."""

    plain: StoreContract
    url: str

    @pytest.fixture(autouse=True)
    def address(self, redis_url: str) -> None:
        self.url = redis_url

    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> RedisCache:
        return RedisCache(self.url, self.plain.open_store(directory, clock, keep_versions=keep_versions))

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        return await self.plain.raw_read(behind(store)) + await everything_in(store, self.url)

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        await self.plain.raw_delete(behind(store), old)
        flush(self.url)

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        await self.plain.raw_write(behind(store), old, new)
        flush(self.url)


class TestOverMemory(RedisContract):
    plain = test_memory.TestMemorySessionStore()


class TestOverSQLite(RedisContract):
    plain = test_sqlite.TestSQLiteSessionStore()


class TestOverPostgres(RedisContract):
    plain = test_postgres.TestPostgresSessionStore()

    @pytest.fixture(autouse=True)
    def _on_a_server(self, schemas: Schemas) -> None:
        self.plain.schemas = schemas

    @pytest.mark.parametrize("name", test_postgres.NAMES)
    async def test_any_text_is_an_id(self, store: SessionStore, name: str) -> None:
        await super().test_any_text_is_an_id(store, name)


class TestFlushedAtRandom(RedisContract):
    """Redis is emptied every few milliseconds."""

    plain = test_memory.TestMemorySessionStore()

    @pytest_asyncio.fixture(autouse=True)
    async def flushing(self) -> AsyncIterator[None]:
        async def flush_on() -> None:
            while True:
                flush(self.url)
                await asyncio.sleep(chance.random() * 0.004)

        chance = random.Random(7)
        task = asyncio.ensure_future(flush_on())
        yield
        task.cancel()


def behind(store: SessionStore) -> SessionStore:
    assert isinstance(store, RedisCache)
    return store.store


def flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushdb()


async def everything_in(store: SessionStore, url: str) -> list[bytes]:
    """All values in Redis when it has taken in what was written."""
    assert isinstance(store, RedisCache)
    await store.settle()
    with redis.Redis.from_url(url) as client:
        return [value for key in client.scan_iter() for value in client.hgetall(key).values()]
