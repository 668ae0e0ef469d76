from __future__ import annotations

import pytest
import redis
from tests.servers.fixtures import MakeRedis


@pytest.mark.servers
def test_a_test_has_an_empty_database_of_its_own(redis_url: str, redis_server_url: str) -> None:
    with redis.Redis.from_url(redis_url) as own, redis.Redis.from_url(redis_server_url) as claims:
        assert own.dbsize() == 0
        own.set("name", "value")
        assert claims.get("name") is None


@pytest.mark.servers
def test_a_server_of_its_own_can_be_filled_killed_and_restarted(private_redis: MakeRedis) -> None:
    server = private_redis(maxmemory="8mb", maxmemory_policy="allkeys-lru")
    with redis.Redis.from_url(server.url) as client:
        for number in range(300):
            client.set(f"key {number}", bytes(100_000))
        assert 0 < client.dbsize() < 300
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert client.dbsize() == 0
        server.restart()
        assert client.ping()
