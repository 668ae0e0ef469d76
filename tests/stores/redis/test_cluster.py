"""A Redis Cluster, which is found to be one by its answers."""

from __future__ import annotations

import asyncio

import pytest
import redis
from tests.servers.fixtures import MakeRedisCluster
from tests.servers.redis_cluster import RedisCluster
from tests.stores.changes import append, committed, creation, moved, new_block
from tests.stores.redis.test_faults import Session, is_back

from swisper_ctx import SwisperContext
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.redis import RedisCache

pytestmark = [pytest.mark.servers, pytest.mark.full]


async def test_each_session_is_at_the_node_of_its_slot(private_redis_cluster: MakeRedisCluster) -> None:
    cluster = private_redis_cluster()
    cache = RedisCache(cluster.url, MemorySessionStore())
    names = [f"s{number}" for number in range(60)]
    await asyncio.gather(*(cache.save_session(SwisperContext(session_id=name, user_id="u")) for name in names))
    for number in range(20):
        stored = await asyncio.gather(*(cache.read(name) for name in names))
        changes = [append(one.session_id, one.etag) for one in stored if one is not None]
        assert all(result.time for result in await cache.commit(changes))
        if number == 5:
            await moved(cache, names[0], 3, added=[new_block("history", 0, 3)])
    for _ in range(2):
        await cache.settle()
        hits = cache.counts.hits
        for name in names:
            assert await cache.read(name) == await cache.store.read(name)
    assert await cache.read(names[0], tail=1) == await cache.store.read(names[0], tail=1)
    assert cache.counts.hits == hits + 61
    assert min(kept := kept_at(cluster)) > 0
    assert sum(kept) == 60
    assert await cache.delete(names[:30]) == 30
    assert sum(kept_at(cluster)) == 30
    assert cache.counts.damaged == 0
    await cache.aclose()


def kept_at(cluster: RedisCluster) -> list[int]:
    """How many keys each node has."""
    kept = []
    for node in cluster.nodes:
        with redis.Redis.from_url(node.url) as client:
            kept.append(len(client.keys()))
    return kept


async def test_a_session_saved_twice_in_one_call(private_redis_cluster: MakeRedisCluster) -> None:
    cache = RedisCache(private_redis_cluster().url, MemorySessionStore())
    now = await committed(cache, creation("s"))
    await cache.settle()
    for _ in range(50):
        now = await committed(cache, append("s", now))
    await cache.settle()
    assert cache.counts.appends == 50
    await cache.aclose()


@pytest.mark.parametrize("name", ["}", "}s", "}{s}", "{", "{}", "{s}t"])
async def test_an_id_with_braces(private_redis_cluster: MakeRedisCluster, name: str) -> None:
    cluster = private_redis_cluster()
    cache = RedisCache(cluster.url, MemorySessionStore())
    context = SwisperContext(session_id=name, user_id="u")
    await cache.save_session(context)
    await cache.settle()
    await cache.set(name, context)
    assert sum(kept_at(cluster)) == 2
    assert await cache.delete_session(name)
    assert sum(kept_at(cluster)) == 0
    assert cache.counts.outages == 0
    await cache.aclose()


async def test_a_node_that_is_away(private_redis_cluster: MakeRedisCluster) -> None:
    cluster = private_redis_cluster()
    cache = RedisCache(cluster.url, MemorySessionStore())
    turns = Session(cache)
    await turns.begin()
    await turns.until(is_back(cache))
    for node in cluster.nodes:
        await asyncio.to_thread(node.stop)
        for _ in range(5):
            await turns.turn()
        await asyncio.to_thread(node.start)
        await turns.until(is_back(cache))
    await cache.aclose()
