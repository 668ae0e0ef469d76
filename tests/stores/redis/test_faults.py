"""A Redis that is away, slow, full or mad: turns stay right, wait a bounded time, and have it back after one probe."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from tests.servers.fixtures import MakeRedis
from tests.servers.proxy import BlackHole, Cut, Delay, FaultProxy, Garbage, HoldReplies, Mode, Pass, Refuse
from tests.stores.changes import append, committed, creation, new_head

from swisper_ctx import Message, SwisperContext, serialize_context
from swisper_ctx.errors import OutcomeUnknownError, StoreUnavailableError
from swisper_ctx.log import Checkpoint
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.redis import RedisCache, appender, hashes

pytestmark = pytest.mark.servers

PROBE = 0.1
MODES = [Refuse(), BlackHole(), HoldReplies(), Delay(2), Cut(0), Cut(3), Garbage(1), Garbage(2)]
"""None of them answers a call in its time, however busy the machine is."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "PROBE", PROBE)


class Session:
    """Turns of one session, each of which loads it, and finds all that was saved before."""

    def __init__(self, cache: RedisCache) -> None:
        self.cache, self.said = cache, list[str]()

    async def begin(self) -> None:
        await self.cache.save_session(SwisperContext(session_id="s", user_id="u"))

    async def turn(self) -> float:
        """How many seconds it took."""
        begun = time.monotonic()
        context = await self.cache.load_session("s")
        assert context is not None
        assert [message.content for message in context.conversation_history] == self.said
        self.said.append(f"text {len(self.said)}")
        context.conversation_history.append(Message("user", self.said[-1]))
        await self.cache.save_session(context)
        return time.monotonic() - begun

    async def until(self, done: Callable[[], bool]) -> None:
        """Turns until this is so."""
        async with asyncio.timeout(60):
            await self.turn()
            while not done():
                await asyncio.sleep(0.01)
                await self.turn()


@asynccontextmanager
async def session(url: str, **options: Any) -> AsyncIterator[Session]:
    cache = RedisCache(url, MemorySessionStore(), **options)
    under = Session(cache)
    await under.begin()
    yield under
    await cache.aclose()


def is_back(cache: RedisCache) -> Callable[[], bool]:
    """Whether Redis has served something since."""
    hits = cache.counts.hits
    return lambda: cache.counts.hits > hits


@pytest.mark.parametrize("mode", MODES, ids=repr)
@pytest.mark.usefixtures("impatient")
async def test_turns_go_on_while_redis_fails(redis_url: str, mode: Mode, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "swisper_ctx.redis")

    def told() -> list[str]:
        """An outage `fails`, a probe of it `still` does, until Redis `is` back."""
        return [record.message.split()[1] for record in caplog.records]

    async with FaultProxy(redis_url) as proxy, session(proxy.url) as turns:
        await turns.until(is_back(turns.cache))
        await proxy.switch(mode)
        before = told().count("still")
        # Nothing is on its way any more that Redis has answered before, not even a probe on a busy machine.
        await turns.until(lambda: told().count("still") > before)
        outages = turns.cache.counts.outages
        for _ in range(30):
            await turns.turn()
            await asyncio.sleep(0.01)
        assert turns.cache.counts.outages == outages, "one outage, however many turns"
        assert not turns.cache._hashes.breaker.is_closed
        await proxy.switch(Pass())
        await turns.until(is_back(turns.cache))
        await turns.cache.settle()
        assert turns.cache.counts.damaged == 0
        ended = turns.cache.counts.outages - (not turns.cache._hashes.breaker.is_closed)
    assert ended >= outages
    changes = [word for word in told() if word != "still"]
    assert changes == (["fails", "is"] * turns.cache.counts.outages)[: turns.cache.counts.outages + ended]


@pytest.mark.parametrize("mode", [BlackHole(), Delay(0.2)], ids=repr)
async def test_only_the_first_turns_wait_and_for_the_time_of_a_call(
    redis_url: str, mode: Mode, impatient: float
) -> None:
    """The fastest of many turns wait for nothing; none waits much longer than a read and a lease may take."""
    async with FaultProxy(redis_url) as proxy, session(proxy.url) as turns:
        await turns.until(is_back(turns.cache))
        await proxy.switch(mode)
        first = await turns.turn()
        assert impatient <= first < 40 * impatient
        taken = [await turns.turn() for _ in range(20)]
        assert min(taken) < impatient, "nobody waits any more"
        await proxy.switch(Pass())


async def test_who_is_far_ahead_of_redis_waits_for_the_call_on_its_way(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, impatient: float
) -> None:
    monkeypatch.setattr(appender, "MOST_WAITING", 2)
    async with FaultProxy(redis_url) as proxy:
        cache = RedisCache(proxy.url, MemorySessionStore())
        now = await committed(cache, creation("s"))
        await cache.settle()
        await proxy.switch(HoldReplies())
        begun = time.monotonic()
        for _ in range(3):
            now = await committed(cache, append("s", now))
            await asyncio.sleep(0)
        assert cache.counts.outages == 0, "none of them waited"
        now = await committed(cache, append("s", now))
        assert cache.counts.outages == 1, "until Redis had answered, or failed to"
        assert impatient < time.monotonic() - begun < 40 * impatient
        await committed(cache, append("s", now))
        await proxy.switch(Refuse())
        await cache.aclose()


@pytest.mark.usefixtures("impatient")
async def test_creating_waits_once_too(redis_url: str) -> None:
    async with FaultProxy(redis_url) as proxy:
        await proxy.switch(BlackHole())
        cache = RedisCache(proxy.url, MemorySessionStore())
        await asyncio.gather(*(cache.save_session(SwisperContext(session_id=str(n), user_id="u")) for n in range(50)))
        assert cache.counts.outages == 1
        assert len((await cache.sessions()).sessions) == 50
        await proxy.switch(Refuse())
        await cache.aclose()


async def test_a_proxy_that_closes_idle_connections_is_no_outage(redis_url: str) -> None:
    async with FaultProxy(redis_url) as proxy, session(proxy.url) as turns:
        await turns.turn()
        for _ in range(3):
            await turns.cache.settle()
            await proxy.drop()
            await asyncio.sleep(0.01)
            await turns.turn()
        assert turns.cache.counts.outages == 0
        assert turns.cache.counts.hits == 4


async def test_restarted(private_redis: MakeRedis) -> None:
    server = private_redis()
    async with session(server.url) as turns:
        await turns.turn()
        await asyncio.to_thread(server.restart)
        await turns.until(is_back(turns.cache))
        server.kill()
        await turns.until(lambda: turns.cache.counts.outages > 0)
        await asyncio.to_thread(server.start)
        await turns.until(is_back(turns.cache))


@pytest.mark.parametrize("command", ["FLUSHALL", "SCRIPT FLUSH"])
async def test_flushed(private_redis: MakeRedis, command: str) -> None:
    server = private_redis()
    with redis.Redis.from_url(server.url) as client:
        async with session(server.url) as turns:
            for _ in range(20):
                client.execute_command(*command.split())
                await turns.turn()
            assert turns.cache.counts.outages == 0
            await turns.until(is_back(turns.cache))


async def test_full(private_redis: MakeRedis) -> None:
    """Redis refuses to write: it is not asked until it does again."""
    server = private_redis(maxmemory="8mb", maxmemory_policy="noeviction")
    with redis.Redis.from_url(server.url) as client:
        async with session(server.url) as turns:
            await turns.turn()
            fill(client)
            await turns.until(lambda: turns.cache.counts.outages == 1)
            for _ in range(20):
                await turns.turn()
                await asyncio.sleep(PROBE / 5)
            # What it has dropped of ours makes room for a probe.
            assert turns.cache.counts.outages <= 4
            client.flushall()
            await turns.until(is_back(turns.cache))


def fill(client: redis.Redis) -> None:
    try:
        for number in range(100_000):
            client.set(f"other:{number}", bytes(1_000 if number < 8_000 else 10))
    except redis.exceptions.OutOfMemoryError:
        return
    raise AssertionError("it is not full")


async def test_evicting(private_redis: MakeRedis) -> None:
    """Sessions leave as a whole."""
    server = private_redis(maxmemory="6mb", maxmemory_policy="allkeys-lru")
    cache = RedisCache(server.url, MemorySessionStore())
    contexts = [SwisperContext(session_id=f"s{number}", user_id="u") for number in range(200)]
    for turn in range(8):
        for context in contexts:
            context.conversation_history.append(Message("user", f"{turn} " + os.urandom(5_000).hex()))
        await asyncio.gather(*(cache.save_session(context) for context in contexts))
        await cache.settle()
    for context in contexts:
        loaded = await cache.load_session(context.session_id)
        assert loaded is not None
        assert serialize_context(loaded) == serialize_context(context)
    with redis.Redis.from_url(server.url) as client:
        assert client.info("stats")["evicted_keys"] > 0
    assert cache.counts.damaged == cache.counts.outages == 0
    assert cache.counts.hits > 0
    await cache.aclose()


async def test_a_replica_that_takes_no_writes(private_redis: MakeRedis) -> None:
    server = private_redis()
    with redis.Redis.from_url(server.url) as client:
        async with session(server.url) as turns:
            await turns.turn()
            client.replicaof("127.0.0.1", 1)
            await turns.until(lambda: turns.cache.counts.outages == 1)
            for _ in range(20):
                await turns.turn()
                await asyncio.sleep(PROBE / 5)
            assert turns.cache.counts.outages == 1
            client.replicaof("NO", "ONE")
            await turns.until(is_back(turns.cache))


async def test_what_was_deleted_while_redis_was_away_goes_when_it_is_back(redis_url: str, client: redis.Redis) -> None:
    async with FaultProxy(redis_url) as proxy:
        cache = RedisCache(proxy.url, MemorySessionStore())
        for name in ("s", "t"):
            await cache.save_session(SwisperContext(session_id=name, user_id="u"))
        await cache.set("s", SwisperContext(session_id="s", user_id="u"))
        await cache.settle()
        assert len(client.keys()) == 3
        await proxy.switch(Refuse())
        assert await cache.load_session("s") is not None
        # Those that a checkpoint was made of meanwhile, however many, do not take the place of what was deleted.
        for n in range(10_001):
            await cache.checkpoint(Checkpoint(f"moved {n}", b"", new_head(1), (), ()))
        assert await cache.delete_session("s")
        assert await cache.load_session("s") is None
        assert len(client.keys()) == 3
        await proxy.switch(Pass())
        async with asyncio.timeout(60):
            while client.exists("swisper:{s}", "swisper:{s}:context"):
                await cache.load_session("t")
                await asyncio.sleep(0.01)
        assert client.exists("swisper:{t}")
        await cache.aclose()


async def test_strict(redis_url: str) -> None:
    async with FaultProxy(redis_url) as proxy, session(proxy.url, strict=True) as turns:
        cache = turns.cache
        await turns.turn()
        context = await cache.load_session("s")
        assert context is not None
        await proxy.switch(Refuse())
        for reading in (cache.read("s"), cache.read("s", tail=1), cache.get("s"), cache.set("s", context)):
            with pytest.raises(StoreUnavailableError, match="Redis"):
                await reading
        context.product_query = "saved all the same"
        await cache.save_session(context)
        await cache.save_session(SwisperContext(session_id="t", user_id="u"))
        assert set(await cache.etags(["s", "t"])) == {"s", "t"}
        with pytest.raises(OutcomeUnknownError, match="asked of the store is done"):
            await cache.delete(["t"])
        assert await cache.etags(["t"]) == {}
        await proxy.switch(Pass())
        for _ in range(100):
            if cache._hashes.may_ask():
                break
            await asyncio.sleep(0.01)
        loaded = await cache.load_session("s")
        assert loaded is not None
        assert loaded.product_query == "saved all the same"


async def test_nothing_secret_is_told(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "swisper_ctx")
    events: list[Any] = []
    url = redis_url.replace("redis://", "redis://user:pass-word@")
    cache = RedisCache(url, MemorySessionStore(), strict=True)
    cache.on_event = lambda *event: events.append(event)
    with pytest.raises(StoreUnavailableError) as caught:
        await cache.read("s")
    assert [name for name, _ in events] == ["cache_failed"]
    told = f"{caplog.text} {events} {caught.value} {cache!r} {cache.counts}"
    assert "AuthenticationError" in told
    assert "pass-word" not in told
    assert "user" not in told
    await cache.aclose()


async def test_damaged_bytes_are_a_miss_and_an_alarm(
    redis_url: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Any] = []
    async with session(redis_url) as turns:
        turns.cache.on_event = lambda *event: events.append(event)
        await turns.turn()
        damages: list[Callable[[], Any]] = [
            lambda: client.hset("swisper:{s}", "e", b"x" * 40),
            lambda: client.hset("swisper:{s}", "h", b""),
            lambda: client.hdel("swisper:{s}", "u"),
            lambda: client.hset("swisper:{s}", "f1", client.hget("swisper:{s}", "f2") or b""),
            lambda: (client.delete("swisper:{s}"), client.set("swisper:{s}", "of another type")),
        ]
        for number, damage in enumerate(damages):
            await turns.turn()
            await turns.cache.settle()
            damage()
            if number == 4:
                await turns.cache.load_session("s", tail=1)
            await turns.turn()
        assert turns.cache.counts.damaged == len(damages)
        assert turns.cache.counts.outages == 0
    assert [name for name, _ in events].count("cache_damaged") == len(damages)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1, "no flood"


async def test_a_key_of_another_type_does_not_stop_those_beside_it(redis_url: str, client: redis.Redis) -> None:
    cache = RedisCache(redis_url, MemorySessionStore())
    contexts = [SwisperContext(session_id=name, user_id="u") for name in "abc"]
    await asyncio.gather(*(cache.save_session(context) for context in contexts))
    await cache.settle()
    client.delete("swisper:{b}")
    client.lpush("swisper:{b}", "x")
    for context in contexts:
        context.product_query = "more"
    await asyncio.gather(*(cache.save_session(context) for context in contexts))
    await cache.settle()
    assert (cache.counts.appends, cache.counts.outages) == (2, 0)
    assert sorted(client.keys()) == [b"swisper:{a}", b"swisper:{c}"]
    await cache.aclose()


async def hang_up(cache: RedisCache) -> None:
    """As `aclose`, for connections: those of a loop that ends without are closed when they are collected."""
    await cache._hashes._here().hang_up()


def test_one_event_loop_after_another(redis_url: str) -> None:
    cache = RedisCache(redis_url, MemorySessionStore())
    turns = Session(cache)
    with asyncio.Runner() as runner:
        runner.run(turns.begin())
        runner.run(turns.turn())
        runner.run(cache.settle())
        runner.run(hang_up(cache))
    with asyncio.Runner() as runner:
        for _ in range(3):
            runner.run(turns.turn())
        runner.run(cache.aclose())
    assert cache.counts.outages == 0
    assert cache.counts.hits == 4


def in_child(cache: RedisCache) -> int:
    """Reads in an event loop of its own; the exit code."""
    asyncio.events._set_running_loop(None)
    try:
        with asyncio.Runner() as runner:
            loaded = runner.run(cache.load_session("s"))
            runner.run(cache._hashes.aclose())
        return 0 if loaded is not None and cache.counts.outages == 0 else 3
    except BaseException:  # noqa: BLE001 - nothing may return into the test of the parent
        return 4


async def test_a_forked_process_shares_no_connection(redis_url: str, client: redis.Redis) -> None:
    async with session(redis_url) as turns:
        await turns.turn()
        await turns.cache.settle()
        before = turns.cache._hashes._link
        child = os.fork()
        if child == 0:
            os._exit(in_child(turns.cache))
        for _ in range(20):
            await turns.turn()
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert turns.cache._hashes._link is before
        assert turns.cache.counts.outages == 0


async def test_after_closing_redis_is_not_asked(redis_url: str, client: redis.Redis) -> None:
    cache = RedisCache(redis_url, MemorySessionStore())
    await cache.save_session(SwisperContext(session_id="s", user_id="u"))
    await cache.aclose()
    connections = len(client.client_list())
    assert await cache.get("s") is None
    assert len(client.client_list()) == connections
