"""Redis between a store and what stands around it: encryption, memory, a manager."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.stores.encrypted.test_canaries import MAGICS, SAID, found_in, live

from swisper_ctx import (
    DecryptionError,
    EncryptedSessionStore,
    Message,
    PipelineSessionManager,
    SessionCache,
    SwisperContext,
    serialize_context,
)
from swisper_ctx.errors import StoreError
from swisper_ctx.keys import new_key
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.redis import RedisCache
from swisper_ctx.testing.changes import folded

pytestmark = pytest.mark.servers


def contents(client: redis.Redis) -> list[bytes]:
    """Every key, field and value of a database."""
    found = []
    for key in client.scan_iter():
        found += [key, *(part for pair in client.hgetall(key).items() for part in pair)]
    return found


async def test_a_manager_opens_all_of_it(redis_url: str, client: redis.Redis, tmp_path: Path) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    url = f"sqlite:///{tmp_path}/s.db"
    key = new_key()
    options: dict[str, Any] = {"cache": redis_url, "encryption_key": key, "on_event": lambda *event: told.append(event)}
    async with PipelineSessionManager.open(url, **options) as sessions:
        store = sessions.session_store
        assert isinstance(store, SessionCache)
        assert isinstance(store.persistent_store, EncryptedSessionStore)
        cache = store.persistent_store.store
        assert isinstance(cache, RedisCache)
        context = await sessions.create_session(user_id="u", session_id="s")
        for number in range(10):
            context.conversation_history.append(Message("user", f"{SAID} {number}"))
            await sessions.save(context)
        await cache.settle()
        assert (cache.counts.fills, cache.counts.appends) == (1, 10)
    found = contents(client)
    assert len(found) > 20
    assert [name for content in found for name in found_in(content, key)] == []
    async with PipelineSessionManager.open(url, **options) as sessions:
        loaded = await sessions.load_session_context("s")
        assert loaded is not None
        assert serialize_context(loaded) == serialize_context(context)
        client.hset("swisper:{s}", "h", b"")
        other = PipelineSessionManager.open(url, **options)
        assert await other.load_session_context("s") is not None
        await other.aclose()
    assert "cache_damaged" in {name for name, _ in told}


async def test_nothing_that_was_said_is_in_redis(redis_url: str, client: redis.Redis, tmp_path: Path) -> None:
    key = new_key()
    texts = await live(f"sqlite:///{tmp_path}/s.db", key, cache=redis_url)
    found = contents(client)
    assert sum(map(len, found)) > 10_000
    assert [name for content in found for name in found_in(content, key)] == []
    assert sum(content.count(magic) for content in found for magic in MAGICS.values()) < 2
    assert [name for text in texts for name in found_in(text.encode(), key)] == []


def test_around_encryption_it_is_refused(redis_url: str) -> None:
    """Redis would have what was said in clear."""
    encrypted = EncryptedSessionStore(new_key(), MemorySessionStore())
    with pytest.raises(StoreError, match="not around it"):
        RedisCache(redis_url, encrypted)
    with pytest.raises(StoreError, match="not around it"):
        RedisCache(redis_url, SessionCache(encrypted))


async def test_what_was_sealed_anew_elsewhere_is_read_from_the_store(redis_url: str) -> None:
    """Rotation by a process that knows of no Redis: what is there is of the same etag, and of a key that is gone."""
    old, new = new_key(), new_key()
    truth = MemorySessionStore()
    before = EncryptedSessionStore(old, RedisCache(redis_url, truth))
    context = SwisperContext(session_id="s", user_id="u", metadata={"large": "x" * 20_000})
    context.conversation_history.append(Message("user", "said"))
    await before.save_session(context)
    assert await folded(before, context)
    cache = before.store
    assert isinstance(cache, RedisCache)
    await cache.settle()
    opened = await truth.bodies("s")
    keys = EncryptedSessionStore([new, old]).keyring()
    await truth.replace("s", [(body, keys.seal(keys.open(body.body) or b"")) for body in opened])
    for outer in (EncryptedSessionStore(new, cache), SessionCache(EncryptedSessionStore(new, cache))):
        loaded = await outer.load_session("s")
        assert loaded is not None
        assert serialize_context(loaded) == serialize_context(context)
    assert cache.counts.damaged == 1
    await cache.settle()
    hits = cache.counts.hits
    assert await EncryptedSessionStore(new, cache).load_session("s") is not None
    assert cache.counts.hits == hits + 1
    with pytest.raises(DecryptionError):
        await EncryptedSessionStore(new_key(), cache).load_session("s")
    await cache.settle()
    await cache._hashes.aclose()


async def test_heads_and_blocks_that_do_not_fit_together_are_read_from_the_store(
    redis_url: str, client: redis.Redis
) -> None:
    """What only the core can see: sound values of two moments."""
    cache = RedisCache(redis_url, MemorySessionStore())
    context = SwisperContext(session_id="s", user_id="u")
    context.conversation_history.append(Message("user", "said"))
    await cache.save_session(context)
    assert await folded(cache, context)
    await cache.settle()
    gone = [field for field in client.hkeys("swisper:{s}") if field[:1] in (b"d", b"b")]
    assert len(gone) >= 2
    client.hdel("swisper:{s}", *gone)
    for store in (cache, SessionCache(cache)):
        loaded = await store.load_session("s")
        assert loaded is not None
        assert serialize_context(loaded) == serialize_context(context)
    assert cache.counts.damaged == 1
    await cache.aclose()


async def test_readers_of_a_cold_session_load_it_once(redis_url: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cache": redis_url, "encryption_key": new_key()}
    async with PipelineSessionManager.open(f"sqlite:///{tmp_path}/s.db", **options) as sessions:
        await sessions.create_session(user_id="u", session_id="s")
        async with PipelineSessionManager.open(f"sqlite:///{tmp_path}/s.db", **options) as other:
            found = await asyncio.gather(*(other.load_session_context("s") for _ in range(1_000)))
            assert all(found)
            store = other.session_store
            assert isinstance(store, SessionCache)
            assert isinstance(store.persistent_store, EncryptedSessionStore)
            cache = store.persistent_store.store
            assert isinstance(cache, RedisCache)
            assert cache.counts.hits + cache.counts.misses + cache.counts.stale == 1
