"""Commands that change a store in front of which there is a Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis
from tests.cli.stored import objects, run

from swisper_ctx.stores.redis import RedisCache
from swisper_ctx.stores.sqlite import SQLiteSessionStore


def test_without_a_cache_there_is_nothing_to_evict(store: Path) -> None:
    result = run(store, "evict", "short")
    assert (result.exit_code, result.stdout) == (0, "no cache is named: there is nothing to evict\n")
    assert objects(run(store, "evict", "short", "--json")) == [{"session_id": "short", "has_cache": False}]


def read_through(store: Path, url: str) -> None:
    async def read() -> None:
        cache = RedisCache(url, SQLiteSessionStore(store))
        for name in ("short", "long"):
            assert await cache.read(name) is not None
        await cache.aclose()

    asyncio.run(read())


@pytest.mark.servers
def test_what_is_evicted_or_deleted_is_forgotten(store: Path, redis_url: str) -> None:
    read_through(store, redis_url)
    with redis.Redis.from_url(redis_url) as client:
        assert sorted(client.keys()) == [b"swisper:{long}", b"swisper:{short}"]
        result = run(store, "evict", "short", "--cache", redis_url)
        assert result.stdout == "session short: the cache holds nothing of it any more\n"
        assert client.keys() == [b"swisper:{long}"]
        assert run(store, "delete", "long", "--yes", "--cache", redis_url).exit_code == 0
        assert client.keys() == []


@pytest.mark.servers
def test_a_cache_that_is_away_is_told(store: Path) -> None:
    result = run(store, "evict", "short", "--cache", "redis://user:pass-word@127.0.0.1:1/0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Redis does not answer" in result.stderr
    assert "pass-word" not in result.stderr


def test_a_url_of_something_else_is_refused(store: Path) -> None:
    result = run(store, "evict", "short", "--cache", "http://user:pass-word@host/")
    assert result.exit_code == 2
    assert "redis://host:6379/0" in result.stderr
    assert "pass-word" not in result.stderr
