from __future__ import annotations

import pytest
import redis
from redis.asyncio.cluster import RedisCluster as Client
from tests.servers.fixtures import MakeRedisCluster

pytestmark = [pytest.mark.servers, pytest.mark.full]


async def test_keys_are_on_three_nodes(private_redis_cluster: MakeRedisCluster) -> None:
    cluster = private_redis_cluster()
    async with Client.from_url(cluster.url) as client:
        for number in range(100):
            await client.set(f"key {number}", number)
        assert [await client.get(f"key {number}") for number in range(100)] == [b"%d" % n for n in range(100)]
    sizes = []
    for node in cluster.nodes:
        with redis.Redis.from_url(node.url) as client_of_one:
            sizes.append(client_of_one.dbsize())
    assert sum(sizes) == 100
    assert all(sizes)


async def test_a_node_comes_back(private_redis_cluster: MakeRedisCluster) -> None:
    cluster = private_redis_cluster()
    cluster.nodes[1].restart()
    async with Client.from_url(cluster.url) as client:
        for number in range(100):
            await client.set(f"key {number}", number)
