"""What the store has deleted or written anew is forgotten by Redis too, or the caller is told what is known of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from tests.servers.fixtures import MakeRedis
from tests.servers.proxy import BlackHole, FaultProxy, Pass, Refuse
from tests.stores.changes import append, committed, grow, new_head

from swisper_ctx import SwisperContext
from swisper_ctx.errors import OutcomeUnknownError, StoreError
from swisper_ctx.log import Etag, Restoration
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.redis import RedisCache, hashes
from swisper_ctx.stores.redis.link import CONNECTIONS
from swisper_ctx.testing import FaultyStore, fails

pytestmark = pytest.mark.servers

WRITES = ["delete", "restore", "replace"]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "PROBE", 0.1)


def write(store: SessionStore, operation: str, now: Etag) -> Any:
    """One of those after which Redis has to forget the session `s`, which is at `now`."""
    if operation == "delete":
        return store.delete(["s"])
    if operation == "replace":
        return store.replace("s", [])
    etag = Etag(now.version + 1, b"recovered")
    return store.restore(Restoration("s", "s~1", now, etag, 0, 0, new_head(etag.version), (), ()))


async def until(done: Callable[[], bool]) -> None:
    for _ in range(500):
        if done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never was")


@asynccontextmanager
async def all_in_use(cache: RedisCache) -> AsyncIterator[None]:
    """Nobody else gets a connection."""
    free = cache._hashes._here()._free
    for _ in range(CONNECTIONS):
        await free.acquire()
    yield
    for _ in range(CONNECTIONS):
        free.release()


@pytest.mark.parametrize("operation", WRITES)
async def test_strict_says_that_the_store_has_done_it(redis_url: str, truth: FaultyStore, operation: str) -> None:
    async with FaultProxy(redis_url) as proxy:
        cache = RedisCache(proxy.url, truth, strict=True)
        now = await grow(cache, "s", 2)
        await cache.settle()
        await proxy.switch(Refuse())
        with pytest.raises(OutcomeUnknownError, match=r"not confirmed .* 3600 s more; .* store is done"):
            await write(cache, operation, now)
        expected = {"delete": None, "restore": now.version + 1, "replace": now.version}
        found = (await truth.etags(["s"])).get("s")
        assert (found and found.version) == expected[operation]
        await cache.aclose()


@pytest.mark.parametrize("operation", WRITES)
async def test_strict_hides_no_error_of_the_store(redis_url: str, truth: FaultyStore, operation: str) -> None:
    async with FaultProxy(redis_url) as proxy:
        cache = RedisCache(proxy.url, truth, strict=True)
        now = await grow(cache, "s", 2)
        await cache.settle()
        await proxy.switch(Refuse())
        truth.inject(operation, fails(StoreError("of the store")))
        with pytest.raises(StoreError, match="of the store"):
            await write(cache, operation, now)
        await cache.aclose()


async def test_strict_evicts_or_says_that_it_is_not_known(redis_url: str) -> None:
    async with FaultProxy(redis_url) as proxy:
        cache = RedisCache(proxy.url, MemorySessionStore(), strict=True)
        await proxy.switch(Refuse())
        with pytest.raises(OutcomeUnknownError):
            await cache._deleted(["s"])
        await cache.aclose()


@pytest.mark.usefixtures("impatient")
async def test_who_is_cancelled_leaves_nothing_in_redis(
    redis_url: str, client: redis.Redis, truth: FaultyStore
) -> None:
    async with FaultProxy(redis_url) as proxy:
        cache = RedisCache(proxy.url, truth)
        await cache.save_session(SwisperContext(session_id="s", user_id="u"))
        await cache.settle()
        assert client.exists("swisper:{s}")
        await proxy.switch(BlackHole())
        deletion = asyncio.ensure_future(cache.delete(["s"]))
        await until(lambda: len(cache._hashes._here()._idle) == 0)
        assert await truth.etags(["s"]) == {}
        deletion.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deletion
        await cache.settle()
        await proxy.switch(Pass())
        await until(cache._hashes.may_ask)
        assert not client.exists("swisper:{s}")
        await cache.aclose()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("strict", [False, True])
async def test_when_all_connections_are_in_use_it_is_done_later(
    redis_url: str, client: redis.Redis, truth: FaultyStore, strict: bool
) -> None:
    cache = RedisCache(redis_url, truth, strict=strict)
    await grow(cache, "s", 2)
    await cache.settle()
    async with all_in_use(cache):
        if strict:
            with pytest.raises(OutcomeUnknownError):
                await cache.delete(["s"])
        else:
            assert await cache.delete(["s"]) == 1
        assert client.exists("swisper:{s}")
        await asyncio.sleep(0.15)
    await cache.settle()
    assert not client.exists("swisper:{s}")
    assert cache.counts.outages == 0
    await cache.aclose()


@pytest.mark.usefixtures("impatient")
async def test_when_all_connections_are_in_use_damage_waits_for_one(
    redis_url: str, client: redis.Redis, truth: FaultyStore
) -> None:
    cache = RedisCache(redis_url, truth)
    now = await grow(cache, "s", 2)
    await cache.settle()
    async with all_in_use(cache):
        doubted = asyncio.ensure_future(cache._doubted("s"))
        await asyncio.sleep(0.15)
        assert not doubted.done()
    assert await doubted, "it may be read again"
    assert not client.exists("swisper:{s}")
    await committed(cache, append("s", now))
    assert cache.counts.outages == 0
    await cache.aclose()


async def test_what_redis_does_not_permit_to_delete_keeps_it_from_nothing(
    private_redis: MakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server = private_redis()
    with redis.Redis.from_url(server.url) as client:
        rights = "on >word ~swisper:{*} ~swisper:probe +@all"
        client.execute_command("ACL", "SETUSER", "limited", *rights.split())
        cache = RedisCache(server.url.replace("redis://", "redis://limited:word@"), MemorySessionStore())
        await cache.save_session(SwisperContext(session_id="s", user_id="u"))
        await cache.settle()
        assert await cache.delete(["s"]) == 1
        assert not cache._hashes.breaker.is_closed, "the key of its whole context was refused"
        await until(cache._hashes.may_ask)
        assert not client.exists("swisper:{s}")
        assert "does not permit to delete 1 keys" in caplog.text
        await cache.save_session(SwisperContext(session_id="s", user_id="u"))
        await cache.settle()
        assert client.exists("swisper:{s}")
        await cache.aclose()
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
