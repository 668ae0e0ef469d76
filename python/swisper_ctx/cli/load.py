"""Many users at once on a server: the conversations replayed, how fast, how late, and what each turn wrote."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import NamedTuple

import asyncpg
from rich.live import Live
from rich.text import Text

from swisper_ctx import PipelineSessionManager, SessionCache, SwisperContext
from swisper_ctx._core import Histogram
from swisper_ctx.cli.check import differences
from swisper_ctx.cli.conversations import Conversation, Source
from swisper_ctx.cli.replay import replay_turn, session_name
from swisper_ctx.cli.screen import Screen
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.stores.redis import RedisCache

USERS = 256
KEPT = 3600
"""Seconds that the sessions are there to be looked at."""
WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"

People = dict[str, Conversation]
"""The session of each user, and what is said in it."""


class Tiers(NamedTuple):
    """The stores one behind the other."""

    manager: PipelineSessionManager[SwisperContext]
    memory: SessionCache
    redis: RedisCache | None
    truth: PostgresSessionStore


def opened(url: str, cache: str | None) -> Tiers:
    """Memory, then Redis if there is one, then PostgreSQL."""
    truth = PostgresSessionStore.from_url(url)
    redis = None if cache is None else RedisCache(cache, truth)
    memory = SessionCache(truth, redis)
    return Tiers(PipelineSessionManager(memory, expires_in=KEPT), memory, redis, truth)


class Clocks:
    """How long loads and saves took, in microseconds."""

    def __init__(self) -> None:
        self.loads, self.saves = Histogram(), Histogram()
        self.turns = 0

    def line(self, seconds: float) -> str:
        """What has been done so far."""
        p50, p99 = (self.saves.percentile(percent) / 1000 for percent in (50, 99))
        rate = self.turns / seconds if seconds else 0
        return f"{self.turns:,} turns, {rate:,.0f} turns/s, a save p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def run_load(source: Source, url: str, cache: str | None, users: int) -> bool:
    """Replay and show it; whether everything stored was as it should be."""
    screen = Screen()
    screen.step(f"swisper-ctx demo: {users} users at once on a server")
    screen.say(f"the conversations of {len(source.conversations)} users of an airline, from tau-bench (MIT licence)")
    problems = asyncio.run(load(screen, source, url, cache, users))
    for problem in problems[:10]:
        screen.say(problem, "red")
    verdict = f"FAILED: {len(problems)} sessions differ" if problems else "Every turn is stored, nothing differs."
    screen.step(verdict)
    return not problems


async def load(screen: Screen, source: Source, url: str, cache: str | None, users: int) -> list[str]:
    """Migrate, replay, look at what is stored: what was not as it should be."""
    tiers = opened(url, cache)
    async with tiers.manager:
        await tiers.truth.migrate()
        run = secrets.token_hex(4)
        chosen = islice(cycle(source.conversations), users)
        people = {session_name(run, f"{number}-{each.user_id}"): each for number, each in enumerate(chosen, start=1)}
        wal, clocks = await wal_position(url), Clocks()
        seconds = await replay_all(screen, tiers.manager, people, clocks)
        await tiers.memory._checkpointer.settle()
        tell(screen, tiers, clocks, seconds, await wal_position(url) - wal)
        problems = await compared(tiers.truth, people)
    await tell_cold(screen, opened(url, cache), list(people))
    return problems


async def replay_all(
    screen: Screen, sessions: PipelineSessionManager[SwisperContext], people: People, clocks: Clocks
) -> float:
    """All users at the same time; how many seconds it took."""
    start = time.perf_counter()
    with showing(screen) as show:

        async def tick() -> None:
            while True:
                await asyncio.sleep(0.5)
                show(clocks.line(time.perf_counter() - start))

        ticking = asyncio.create_task(tick())
        try:
            async with asyncio.TaskGroup() as group:
                for name, conversation in people.items():
                    group.create_task(talk(sessions, name, conversation, clocks))
        finally:
            ticking.cancel()
    return time.perf_counter() - start


async def talk(
    sessions: PipelineSessionManager[SwisperContext], name: str, conversation: Conversation, clocks: Clocks
) -> None:
    """One user: each turn loads the session, as a service does that keeps nothing between two requests."""
    await sessions.create_session(user_id=conversation.user_id, session_id=name)
    for turn in conversation.turns:
        begun = time.perf_counter_ns()
        context = await sessions.load_session_context(name, user_id=conversation.user_id)
        if context is None:
            raise LookupError(name)
        clocks.loads.record((time.perf_counter_ns() - begun) // 1000)
        await replay_turn(sessions, context, turn)
        begun = time.perf_counter_ns()
        await sessions.save(context)
        clocks.saves.record((time.perf_counter_ns() - begun) // 1000)
        clocks.turns += 1


@contextmanager
def showing(screen: Screen) -> Iterator[Callable[[str], None]]:
    """A line that changes, on a terminal; elsewhere nothing until the end."""
    if screen.ascii_only:
        yield lambda _line: None
        return
    with Live(Text(), console=screen.console, transient=True) as live:
        yield lambda line: live.update(Text(f"  {line}"))


def tell(screen: Screen, tiers: Tiers, clocks: Clocks, seconds: float, wal: int) -> None:
    """What was measured."""
    screen.say(f"{clocks.turns:,} turns in {seconds:.1f} s: {clocks.turns / seconds:,.0f} durable turns/s", "green")
    for name, times in (("save", clocks.saves), ("load", clocks.loads)):
        p50, p95, p99 = (times.percentile(percent) / 1000 for percent in (50, 95, 99))
        screen.say(f"{name}: p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms, max {times.max / 1000:.2f} ms")
    memory = tiers.memory.memory_cache
    screen.say(f"memory: {memory.hits:,} hits, {memory.misses:,} misses")
    if tiers.redis is not None:
        screen.say(f"Redis: {tiers.redis.counts.appends:,} turns appended")
    screen.say(f"WAL: {wal / clocks.turns:,.0f} bytes a turn, checkpoints and full-page images included")


async def tell_cold(screen: Screen, tiers: Tiers, names: list[str]) -> None:
    """Load every session once more, as a process that has just been started."""
    times = Histogram()
    async with tiers.manager as sessions:
        for name in names:
            begun = time.perf_counter_ns()
            await sessions.load_session_context(name)
            times.record((time.perf_counter_ns() - begun) // 1000)
        p50, p99 = (times.percentile(percent) / 1000 for percent in (50, 99))
        hits = "" if tiers.redis is None else f", {tiers.redis.counts.hits:,} of them from Redis"
        screen.say(f"a new process: {len(names)} sessions loaded{hits}, p50 {p50:.2f} ms, p99 {p99:.2f} ms")


async def compared(truth: PostgresSessionStore, people: People) -> list[str]:
    """Every difference between what PostgreSQL holds and the source, past the caches."""
    problems: list[str] = []
    for name, conversation in people.items():
        context = await truth.load_session(name)
        if context is None:
            problems.append(f"{name} is gone")
        else:
            problems += [f"{name}: {each}" for each in differences(context, conversation, len(conversation.turns))]
    return problems


async def wal_position(url: str) -> int:
    """How many bytes of WAL the server has written so far."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(WAL))
    finally:
        await connection.close()
