"""Durable turns on PostgreSQL and Redis, through the manager, beside a statement and a script for each turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from time import perf_counter_ns

from benches.conversation import FIRST_NUMBER, add_turn, context_of
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave
from benches.offer import percentile
from benches.peers.bare_server import BareServers
from benches.servers import Servers, servers

from swisper_ctx import EncryptedSessionStore, PipelineSessionManager, SessionCache, SwisperContext
from swisper_ctx.keys import new_key
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.stores.redis import RedisCache

OURS, BARE = "ours", "asyncpg and redis-py, a statement and a script per turn"
SESSIONS = {1: (1.2, 200), 64: (3.5, 40), 256: (4.5, 20), 1024: (5.0, 24)}
"""How many at once, what is required of them, and how many turns of each are one sample."""


class Loop:
    """Turns of many sessions, each after the other, and how long each of them took."""

    def __init__(self, runner: asyncio.Runner, turns: Sequence[Callable[[], Awaitable[object]]], each: int) -> None:
        self.times: list[int] = []
        self._runner, self._turns, self._each = runner, turns, each

    def sample(self) -> float:
        """Nanoseconds for each turn."""
        return self._runner.run(self._sample())

    async def _sample(self) -> float:
        start = perf_counter_ns()
        await asyncio.gather(*map(self._talk, self._turns))
        return (perf_counter_ns() - start) / (len(self._turns) * self._each)

    async def _talk(self, turn: Callable[[], Awaitable[object]]) -> None:
        for _ in range(self._each):
            start = perf_counter_ns()
            await turn()
            self.times.append(perf_counter_ns() - start)

    def percentile(self, percent: float) -> float:
        return percentile(self.times, percent)


class Ours:
    """Sessions of 10 messages in memory, Redis and PostgreSQL; encrypted in the last two if there is a key."""

    def __init__(self, where: Servers, key: str | None = None) -> None:
        self.store = PostgresSessionStore(where.dsn)
        self.redis = RedisCache(where.redis, self.store)
        self.cache = SessionCache(self.store, self.redis if key is None else EncryptedSessionStore(key, self.redis))
        self.manager = PipelineSessionManager(self.cache)
        self._numbers = count(FIRST_NUMBER + 1)

    async def begin(self, sessions: int, messages: int = 10) -> list[SwisperContext]:
        contexts = [context_of(messages) for _ in range(sessions)]
        await asyncio.gather(*map(self.manager.save, contexts))
        return contexts

    async def turn(self, context: SwisperContext) -> None:
        add_turn(context, next(self._numbers))
        await self.manager.save(context)

    async def check(self, contexts: Sequence[SwisperContext], turns: int) -> None:
        """Every turn is in the truth, once."""
        await self.cache._checkpointer.settle()
        found = await self.store.etags([context.session_id for context in contexts])
        assert [found[context.session_id].version for context in contexts] == [1 + turns] * len(contexts)


def figures(quick: bool) -> list[Figure]:
    found: list[Figure] = []
    with servers() as where:
        for sessions, (required, each) in SESSIONS.items():
            found += measure(where, sessions, required, max(each // 10, 2) if quick else each, 1 if quick else 5)
        found.append(sealed(where, 2 if quick else 20, 1 if quick else 6))
    return found


def measure(where: Servers, sessions: int, required: float, each: int, rounds: int) -> list[Figure]:
    with asyncio.Runner() as runner:
        ours, bare = Ours(where), runner.run(BareServers.open(where.dsn, where.redis))
        contexts = runner.run(ours.begin(sessions))
        theirs = [runner.run(bare.create(frame_of(ours, contexts[0], runner))) for _ in range(sessions)]
        loops = {
            OURS: Loop(runner, [partial(ours.turn, context) for context in contexts], each),
            BARE: Loop(runner, [partial(bare.turn, session) for session in theirs], each),
        }
        ways: dict[str, Way] = {name: loop.sample for name, loop in loops.items()}
        costs = {name: Costs(name, "ns", of) for name, of in interleave(ways, rounds).items()}
        runner.run(ours.check(contexts[1:], each * (rounds + 1)))
        runner.run(ours.manager.aclose())
        runner.run(bare.aclose())
    plural = "session" if sessions == 1 else "sessions"
    name = f"durable turns/s on PostgreSQL and Redis, {sessions:,} {plural}: ours / {BARE}"
    return [Figure(name, Limit("≥", required), costs[BARE], costs[OURS]), *latency(sessions, loops)]


def sealed(where: Servers, each: int, rounds: int) -> Figure:
    """256 sessions, encrypted and not."""
    with asyncio.Runner() as runner:
        plain, encrypted = Ours(where), Ours(where, new_key())
        ways = {
            name: Loop(runner, [partial(ours.turn, c) for c in runner.run(ours.begin(256))], each).sample
            for name, ours in (("plain", plain), ("encrypted", encrypted))
        }
        costs = {name: Costs(name, "ns", of) for name, of in interleave(ways, rounds).items()}
        runner.run(plain.manager.aclose())
        runner.run(encrypted.manager.aclose())
    name = "turns/s on PostgreSQL and Redis, 256 sessions: encrypted / plain"
    return Figure(name, Limit("≥", 0.7), costs["plain"], costs["encrypted"])


def frame_of(ours: Ours, context: SwisperContext, runner: asyncio.Runner) -> bytes:
    """The bytes of one turn as they are stored."""
    runner.run(ours.turn(context))
    (frame,) = runner.run(ours.store.frames(context.session_id, after=context.version - 1))
    assert frame.body is not None
    return frame.body


def latency(sessions: int, loops: dict[str, Loop]) -> list[Figure]:
    ours, bare = loops[OURS], loops[BARE]
    if sessions == 1:
        halves = (
            Costs("p50 of ours", "ns", [ours.percentile(50)]),
            Costs("p50 of the other", "ns", [bare.percentile(50)]),
        )
        return [Figure("p50 of a save on PostgreSQL and Redis, 1 session: ours / the other", Limit("≤", 0.85), *halves)]
    if sessions == 256:
        tail = Costs("p99", "ns", [ours.percentile(99)]), Costs("p50", "ns", [ours.percentile(50)])
        return [Figure("p99 / p50 of a save, 256 sessions, checkpoints beside them", Limit("≤", 4), *tail)]
    return []
