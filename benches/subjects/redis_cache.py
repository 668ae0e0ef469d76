"""What a Redis in front of a store costs a turn and a load, beside redis-py doing the same by itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter_ns, process_time_ns
from typing import Any, TypeAlias

from benches.conversation import context_of
from benches.disk import scratch
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc
from redis.asyncio import Redis
from tests.servers.program import find_redis
from tests.servers.redis import RedisServer

from swisper_ctx import MemorySessionStore, RedisCache, SessionCache, SQLiteSessionStore, SwisperContext
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import append, creation, folded

GROUP, TURNS, MESSAGES, SESSIONS = 64, 50, 1_000, 256
FRAME = os.urandom(1_000)
FLOOR = """
if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'e', ARGV[2], ARGV[3], ARGV[4])
return redis.call('EXPIRE', KEYS[1], 3600)
"""
"""A turn's script, as one writes it by hand."""

Sample: TypeAlias = tuple[float, float]
"""The nanoseconds that a turn took, and those of the processor."""


def figures(quick: bool) -> list[Figure]:
    rounds = 3 if quick else 30
    with RedisServer(find_redis("")) as server, asyncio.Runner() as runner:
        return [
            *appends(runner, server.url, rounds),
            *loads(runner, server.url, rounds),
            *etags(runner, server.url, rounds),
        ]


# -- turns


def appends(runner: asyncio.Runner, url: str, rounds: int) -> list[Figure]:
    cache = RedisCache(url, MemorySessionStore(), max_bytes=1 << 30)
    client = Redis.from_url(url, protocol=2)
    peer = "redis-py, a script for each turn"
    ways = {
        "with": lambda: through(cache, cache.settle),
        "without": lambda: through(MemorySessionStore(), nothing),
        peer: lambda: by_hand(client),
    }
    clocks: dict[str, list[float]] = {name: [] for name in ways}
    before = cache.counts.appends
    with without_gc():
        samples = interleave({name: clocked(runner, way, clocks[name]) for name, way in ways.items()}, rounds)
    assert cache.counts.appends - before == (rounds + 1) * TURNS * GROUP
    runner.run(cache.aclose())
    runner.run(client.aclose())
    added = [over - under for over, under in zip(clocks["with"], clocks["without"], strict=True)][1:]
    return [
        Figure(
            f"appends in groups of {GROUP}: redis-py, a script for each turn / RedisCache over memory",
            Limit("≥", 3),
            Costs(peer, "ns", samples[peer]),
            Costs("RedisCache", "ns", samples["with"]),
        ),
        Figure(
            f"CPU that Redis adds to a turn in groups of {GROUP}", Limit("≤", 12, " µs"), Costs("added", "ns", added)
        ),
    ]


async def through(store: SessionStore, settle: Callable[[], Awaitable[None]]) -> Sample:
    """The turns as groups of a store; it is settled when all that it does in the background is done."""
    changes = [creation(os.urandom(8).hex()) for _ in range(GROUP)]
    await store.commit(changes)
    await settle()
    groups = []
    for _ in range(TURNS):
        changes = [append(change.session_id, change.etag, frame=FRAME) for change in changes]
        groups.append(changes)
    start, cpu = perf_counter_ns(), process_time_ns()
    for group in groups:
        results = await store.commit(group)
        assert all(result.time for result in results)
    await settle()
    return (perf_counter_ns() - start) / TURNS / GROUP, (process_time_ns() - cpu) / TURNS / GROUP


async def nothing() -> None:
    return


async def by_hand(client: Redis) -> Sample:
    keys = [os.urandom(8).hex() for _ in range(GROUP)]
    script = client.register_script(FLOOR)
    await asyncio.gather(*(client.hset(key, "e", "0") for key in keys))
    start, cpu = perf_counter_ns(), process_time_ns()
    for turn in range(TURNS):
        values: list[str | bytes] = [str(turn), str(turn + 1), f"f{turn}", FRAME]
        assert all(await asyncio.gather(*(script(keys=[key], args=values) for key in keys)))
    return (perf_counter_ns() - start) / TURNS / GROUP, (process_time_ns() - cpu) / TURNS / GROUP


def clocked(runner: asyncio.Runner, measure: Callable[[], Coroutine[Any, Any, Sample]], clock: list[float]) -> Way:
    """A way that gives the time of a turn, and puts the processor time aside."""

    def way() -> float:
        elapsed, cpu = runner.run(measure())
        clock.append(cpu)
        return elapsed

    return way


# -- loads


def loads(runner: asyncio.Runner, url: str, rounds: int) -> list[Figure]:
    cache = RedisCache(url, MemorySessionStore())
    client = Redis.from_url(url, protocol=2)
    context = context_of(MESSAGES)

    async def prepare() -> None:
        await cache.save_session(context)
        await folded(cache, context)
        # The save has asked for a checkpoint of its own, which would come between.
        await cache._checkpointer.settle()
        await cache.settle()

    runner.run(prepare())
    key = f"swisper:{{{context.session_id}}}"

    async def read() -> float:
        hits, start = cache.counts.hits, perf_counter_ns()
        stored = await cache.read(context.session_id)
        elapsed = perf_counter_ns() - start
        assert stored is not None
        assert cache.counts.hits == hits + 1
        return elapsed

    async def bare() -> float:
        start = perf_counter_ns()
        found = await client.hgetall(key)
        elapsed = perf_counter_ns() - start
        assert len(found) > 10
        return elapsed

    with without_gc():
        samples = interleave({"read": lambda: runner.run(read()), "bare": lambda: runner.run(bare())}, 10 * rounds)
    runner.run(cache.aclose())
    runner.run(client.aclose())
    name = f"a session of {MESSAGES:,} messages from Redis, validated / HGETALL by redis-py"
    return [
        Figure(name, Limit("≤", 1.5), Costs("read", "ns", samples["read"]), Costs("HGETALL", "ns", samples["bare"]))
    ]


def etags(runner: asyncio.Runner, url: str, rounds: int) -> list[Figure]:
    with scratch() as directory:
        truth = SQLiteSessionStore(directory / "sessions.db")
        cache = SessionCache(RedisCache(url, truth), max_staleness=0)
        ids = [f"s{number}" for number in range(SESSIONS)]

        async def prepare() -> None:
            await asyncio.gather(*(cache.save_session(SwisperContext(session_id=id_, user_id="u")) for id_ in ids))

        async def validate() -> float:
            start = perf_counter_ns()
            found = await cache.etags(ids)
            elapsed = perf_counter_ns() - start
            assert len(found) == SESSIONS
            return elapsed / SESSIONS

        runner.run(prepare())
        samples = [runner.run(validate()) for _ in range(rounds + 1)][1:]
        runner.run(cache.aclose())
    costs = Costs(f"{SESSIONS} sessions in one batch", "ns", samples)
    return [Figure("validation of an etag behind Redis, on SQLite", Limit("≤", 10, " µs"), costs)]
