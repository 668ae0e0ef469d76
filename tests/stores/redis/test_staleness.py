"""Two processes with memory and Redis over one truth: no load shows what the truth had left longer ago than allowed."""

from __future__ import annotations

from functools import partial

import pytest
import redis
from hypothesis import settings
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from tests.stores import test_cache_staleness
from tests.stores.test_cache_staleness import STALENESS, TwoCaches

from swisper_ctx import SessionCache
from swisper_ctx.stores.redis import RedisCache

pytestmark = pytest.mark.servers
counts = {"hits": 0, "stale": 0}


class TwoProcesses(TwoCaches):
    def __init__(self, client: redis.Redis, url: str) -> None:
        super().__init__()
        self.client, self.url = client, url

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.client.flushdb()
        self.redis = [RedisCache(self.url, self.truth) for _ in range(2)]
        self.caches = [
            SessionCache(cache, max_staleness=STALENESS, max_bytes=4_000, monotonic=lambda: self.now)
            for cache in self.redis
        ]

    @rule()
    def flush(self) -> None:
        self.client.flushdb()

    @rule()
    def settle(self) -> None:
        for cache in self.redis:
            self.runner.run(cache.settle())

    def teardown(self) -> None:
        if hasattr(self, "redis"):
            for cache in self.redis:
                self.runner.run(cache.settle())
                self.runner.run(cache._hashes.aclose())
                counts["hits"] += cache.counts.hits
                counts["stale"] += cache.counts.stale
        super().teardown()


def test_no_load_is_staler_than_allowed(redis_url: str, client: redis.Redis) -> None:
    test_cache_staleness.covered.clear()
    rounds = settings(stateful_step_count=40, max_examples=40)
    run_state_machine_as_test(partial(TwoProcesses, client, redis_url), settings=rounds)  # type: ignore[arg-type]
    assert all(test_cache_staleness.covered[name] > 0 for name in ("stale", "fresh", "deleted", "folded"))
    assert counts["hits"] > 0
