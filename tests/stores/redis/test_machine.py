"""Contexts on stores behind a Redis that is emptied, damaged and lost in between: they answer as the one in memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from tests.stores.machine.machine import Stores
from tests.stores.machine.worlds import NAMES, World, sealed
from tests.stores.test_machine import by_hand

from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.clock import Failpoint
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.redis import RedisCache, hashes
from swisper_ctx.stores.sqlite import SQLiteSessionStore

pytestmark = pytest.mark.servers
covered: Counter[str] = Counter()


class BehindRedis(Stores):
    """The rules of all stores, and what may happen to a Redis."""

    def __init__(self, client: redis.Redis, url: str) -> None:
        super().__init__()
        self.client, self.url = client, url
        self.opened = list[RedisCache]()
        client.flushdb()
        for world in self.worlds:
            self.runner.run(world.store.aclose())
        path = Path(self.directory.name)
        self.worlds = [
            World(lambda failpoint: MemorySessionStore(clock=self.clock, failpoint=failpoint)),
            World(partial(self.cached, path / "plain", "plain:")),
            World(lambda failpoint: sealed(self.cached(path / "sealed", "sealed:", failpoint))),
        ]

    def cached(self, path: Path, prefix: str, failpoint: Failpoint) -> RedisCache:
        store = SQLiteSessionStore(path, clock=self.clock, failpoint=failpoint)
        self.opened.append(RedisCache(self.url, store, prefix=prefix))
        return self.opened[-1]

    def caches(self) -> list[RedisCache]:
        stores: list[SessionStore] = [world.store.store for world in self.worlds]
        inside = [store.store if isinstance(store, EncryptedSessionStore) else store for store in stores]
        return [store for store in inside if isinstance(store, RedisCache)]

    def keys(self) -> list[bytes | str]:
        for cache in self.caches():
            self.runner.run(cache.settle())
        return sorted(self.client.keys("*}"), key=str)

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.create(("b", 0))

    @rule()
    def flush(self) -> None:
        self.client.flushdb()

    @rule()
    def forget_scripts(self) -> None:
        self.client.script_flush()

    @rule()
    def lose(self) -> None:
        """Redis is taken for dead until the next probe, which is sent by whatever comes first."""
        for cache in self.caches():
            cache._hashes.breaker.open()
            covered["lost"] += 1

    @rule(seed=st.integers(0, 2**32))
    def damage(self, seed: int) -> None:
        chance = random.Random(seed)
        for key in self.keys():
            field = chance.choice(sorted(self.client.hkeys(key)))
            value = self.client.hget(key, field)
            assert isinstance(value, bytes)
            at = chance.randrange(len(value))
            self.client.hset(key, field, value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :])

    @rule(name=st.sampled_from(NAMES))
    def put_back(self, name: str) -> None:
        """A copy of another version in the place of what is there, as from a backup."""
        key = f"plain:{{{name}}}"
        self.keys()
        old, now = self.client.hget(key + ":old", "e"), self.client.hget(key, "e")
        if old is None:
            self.client.copy(key, key + ":old")
        elif now is not None and old[12:] != now[12:]:
            self.client.copy(key + ":old", key, replace=True)
            covered["put back"] += 1

    def teardown(self) -> None:
        for cache in self.opened:
            for name, count in vars_of(cache).items():
                covered[name] += count
        super().teardown()


def vars_of(cache: RedisCache) -> dict[str, int]:
    return {name: getattr(cache.counts, name) for name in cache.counts.__slots__}


OUTCOMES = {"hits", "misses", "stale", "fills", "appends", "damaged", "lost", "put back"}


@pytest.fixture
def machine(redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Callable[[], BehindRedis]:
    monkeypatch.setattr(hashes, "PROBE", 0.002)
    covered.clear()
    return partial(BehindRedis, client, redis_url)


def test_stores_behind_redis_answer_as_the_one_in_memory(machine: Callable[[], BehindRedis]) -> None:
    rounds = settings(max_examples=settings().max_examples // 3, stateful_step_count=40)
    run_state_machine_as_test(machine, settings=rounds)  # type: ignore[arg-type]
    assert covered["hits"] > covered["misses"] / 4
    assert covered["outages"] == 0


def test_the_rules_come_to_everything_they_are_there_for(machine: Callable[[], BehindRedis]) -> None:
    """A life in which everything happens that those of all stores come to, and to Redis one thing after each step."""
    stores = machine()
    stores.begin()
    happens = cycle(
        [
            stores.flush,
            lambda: stores.put_back("a"),
            lambda: stores.damage(7),
            stores.forget_scripts,
            lambda: stores.put_back("a"),
            stores.lose,
        ]
    )
    for step, happen in zip(by_hand(stores), happens, strict=False):
        for act in (step, happen):
            act()
            stores.the_same_is_stored()
            stores.the_same_is_in_hand()
    stores.teardown()
    assert {name for name in OUTCOMES if not covered[name]} == set()
    assert covered["hits"] > covered["misses"] / 4
    assert covered["outages"] == 0
