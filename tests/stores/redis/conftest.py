from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis

from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.redis import RedisCache, hashes
from swisper_ctx.testing import FaultyStore

PATIENCE = hashes.PATIENCE


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests may be busy: only those about slowness wait for as short as others do."""
    monkeypatch.setattr(hashes, "PATIENCE", 5.0)


@pytest.fixture
def impatient(patience: None, monkeypatch: pytest.MonkeyPatch) -> float:
    """Redis is waited for as long as everywhere else; how long that is."""
    monkeypatch.setattr(hashes, "PATIENCE", PATIENCE)
    return PATIENCE


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The Redis of the test, past the store."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def truth() -> FaultyStore:
    """The store behind, which counts what it is asked."""
    return FaultyStore(MemorySessionStore())


@pytest_asyncio.fixture
async def cache(redis_url: str, truth: FaultyStore) -> AsyncIterator[RedisCache]:
    """The cache under test."""
    cache = RedisCache(redis_url, truth)
    yield cache
    await cache.aclose()
