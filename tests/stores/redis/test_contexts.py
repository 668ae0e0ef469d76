"""Whole contexts in Redis, for who wants no more than that."""

from __future__ import annotations

import pytest
import redis

from swisper_ctx import Message, SwisperContext, field, serialize_context
from swisper_ctx.errors import StoreError
from swisper_ctx.stores.redis import RedisCache

pytestmark = pytest.mark.servers


async def test_what_is_set_can_be_got_until_it_expires(redis_url: str, client: redis.Redis) -> None:
    cache = RedisCache(redis_url)
    context = SwisperContext(session_id="s", user_id="u", metadata={"one": 1, "float": 1.0, "nested": ["é", None]})
    context.metadata["large"] = 10**5000
    context.conversation_history.append(Message("user", "hello\0"))
    assert await cache.get("s") is None
    await cache.set("s", context)
    found = await cache.get("s")
    assert found is not None
    assert serialize_context(found) == serialize_context(context)
    assert 3_500 < client.ttl("swisper:{s}:context") <= 3_600
    await cache.set("s", context, ttl=0.05)
    assert 0 < client.pttl("swisper:{s}:context") <= 50
    await cache.aclose()


class ShopContext(SwisperContext):
    cart: list[str] = field(default_factory=list)


async def test_what_is_got_is_of_the_class_that_is_asked_for(redis_url: str) -> None:
    cache = RedisCache(redis_url)
    await cache.set("s", ShopContext(session_id="s", user_id="u", cart=["fridge"]))
    found = await cache.get("s", ShopContext)
    assert found is not None
    assert found.cart == ["fridge"]
    await cache.aclose()


async def test_they_are_no_sessions_of_the_store(redis_url: str) -> None:
    cache = RedisCache(redis_url)
    await cache.set("s", SwisperContext(session_id="s", user_id="u"))
    assert await cache.load_session("s") is None
    assert (await cache.sessions()).sessions == ()
    await cache.delete_session("s")
    assert await cache.get("s") is None
    await cache.aclose()


async def test_no_session_is_saved_where_nothing_keeps_it(redis_url: str) -> None:
    cache = RedisCache(redis_url)
    with pytest.raises(StoreError, match="no store behind it"):
        await cache.save_session(SwisperContext(session_id="s", user_id="u"))
    await cache.aclose()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"created_at": "x"}'])
async def test_damage_is_a_miss(redis_url: str, client: redis.Redis, content: bytes) -> None:
    cache = RedisCache(redis_url)
    client.set("swisper:{s}:context", content)
    assert await cache.get("s") is None
    assert cache.counts.damaged == 1
    assert not client.exists("swisper:{s}:context")
    await cache.aclose()


@pytest.mark.parametrize("url", ["", "http://u:secret@host/", "redis:host", "redis://u:secret@host:port/0"])
def test_what_is_no_url_of_a_redis(url: str) -> None:
    with pytest.raises(StoreError, match="redis://host") as caught:
        RedisCache(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("ttl", [0, 0.000_9, -1, float("nan"), float("inf"), 1e18])
async def test_a_time_that_redis_would_refuse(redis_url: str, ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        RedisCache(redis_url, ttl=ttl)
    cache = RedisCache(redis_url, ttl=0.001)
    context = SwisperContext(session_id="s", user_id="u")
    with pytest.raises(ValueError, match="ttl"):
        await cache.set("s", context, ttl=ttl)
    await cache.set("s", context)
    assert await cache.get("s") is not None
    assert cache.counts.outages == 0
    await cache.aclose()
