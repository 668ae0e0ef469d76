"""What a session costs PostgreSQL: WAL, HOT updates, a long history, cold loads, validation, an open loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil
from statistics import mean
from time import perf_counter_ns
from typing import Any

import asyncpg
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave
from benches.offer import offered, percentile
from benches.servers import Servers, servers
from benches.subjects.served import Loop, Ours

from swisper_ctx import SwisperContext
from swisper_ctx.testing.changes import folded

WAL_TURNS = 2_000
HOT = """
    SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables
    WHERE relname = 'session_etags' AND schemaname = current_schema()
"""
BARE_FETCH = """
    SELECT body FROM context_heads WHERE session_id = $1
    UNION ALL SELECT body FROM context_blocks WHERE session_id = $1
    UNION ALL SELECT body FROM context_frames WHERE session_id = $1
"""


def figures(quick: bool) -> list[Figure]:
    with servers() as where, asyncio.Runner() as runner:
        bench = Bench(where, runner, 1 if quick else 10)
        found = [
            *bench.written(),
            *bench.long(),
            *bench.loads(),
            bench.validation(),
            bench.offered(1.0 if quick else 2.0),
        ]
        runner.run(bench.aclose())
    return found


class Bench:
    """One store with its caches, and a connection to look at the server."""

    def __init__(self, where: Servers, runner: asyncio.Runner, rounds: int) -> None:
        self.runner, self.rounds = runner, rounds
        self.ours = Ours(where)
        self.server: Any = runner.run(connected(where.dsn))
        self.pool: Any = runner.run(pooled(where.dsn))

    async def aclose(self) -> None:
        await self.ours.manager.aclose()
        await self.server.close()
        await self.pool.close()

    def written(self) -> list[Figure]:
        """Bytes of WAL without the images of whole pages, which depend on how often the server makes a checkpoint."""
        sizes = self.runner.run(self._written())
        name = "WAL of a turn without full-page images: {}"
        hot = Costs("HOT updates", "", [sizes["hot"]]), Costs("updates", "", [sizes["updates"]])
        return [
            Figure(name.format("without checkpoints"), Limit("≤", 1.6, " kB"), Costs("WAL", "bytes", [sizes["turns"]])),
            Figure(name.format("with them"), Limit("≤", 2.8, " kB"), Costs("WAL", "bytes", [sizes["folding"]])),
            Figure("HOT share of the updates of a turn", Limit("≥", 0.95), *hot),
        ]

    async def _written(self) -> dict[str, float]:
        await self.server.execute("ALTER SYSTEM SET full_page_writes = off")
        await self.server.execute("SELECT pg_reload_conf()")
        found: dict[str, float] = {}
        for name in ("turns", "folding"):
            contexts = await self.ours.begin(64)
            if name == "turns":
                for context in contexts:
                    context._position.mark = None  # asks for no checkpoint
            before = await self.server.fetchval("SELECT pg_current_wal_lsn()")
            await asyncio.gather(*(self._talk(context, WAL_TURNS // 8) for context in contexts))
            await self.ours.cache._checkpointer.settle()
            size = await self.server.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1)", before)
            found[name] = float(size) / (64 * WAL_TURNS // 8)
        await self.server.execute("ALTER SYSTEM RESET full_page_writes")
        await self.server.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(1.5)  # statistics are told each second
        found["hot"], found["updates"] = map(float, await self.server.fetchrow(HOT))
        return found

    async def _talk(self, context: SwisperContext, turns: int) -> None:
        for _ in range(turns):
            await self.ours.turn(context)

    def long(self) -> list[Figure]:
        """A turn late in a long session, and early in one."""
        short, long = self.runner.run(self.ours.begin(1)), self.runner.run(self.ours.begin(1, 10_000))
        self.runner.run(folded(self.ours.cache, long[0]))
        ways = {
            name: self.timed(partial(self.ours.turn, context), 50)
            for name, (context,) in (("10,000 messages", long), ("10 messages", short))
        }
        costs = self.measured(ways)
        name = "a turn on PostgreSQL and Redis: 10,000 messages / 10"
        return [Figure(name, Limit("≤", 1.15), costs["10,000 messages"], costs["10 messages"])]

    def loads(self) -> list[Figure]:
        """Cold: from the tables, past both caches."""
        ways: dict[str, Way] = {}
        for messages in (1_000, 10_000):
            (context,) = self.runner.run(self.ours.begin(1, messages))
            self.runner.run(folded(self.ours.cache, context))
            self.runner.run(self._talk(context, 10))
            session_id = context.session_id
            ways[f"load {messages}"] = self.timed(partial(self.ours.store.load_session, session_id), 10)
            ways[f"tail {messages}"] = self.timed(partial(self.ours.store.load_session, session_id, tail=20), 10)
            ways[f"fetch {messages}"] = self.timed(partial(self.fetched, session_id), 10)
        costs = self.measured(ways)
        name = "cold load of {:,} messages / bare fetch of the same bytes"
        return [
            Figure(name.format(1_000), Limit("≤", 1.3), costs["load 1000"], costs["fetch 1000"]),
            Figure(name.format(10_000), Limit("≤", 1.3), costs["load 10000"], costs["fetch 10000"]),
            Figure(
                "load of the last 20 messages: of 10,000 / of 1,000",
                Limit("≤", 1.3),
                costs["tail 10000"],
                costs["tail 1000"],
            ),
        ]

    async def fetched(self, session_id: str) -> None:
        await self.pool.fetch(BARE_FETCH, session_id)

    def validation(self) -> Figure:
        ids = [context.session_id for context in self.runner.run(self.ours.begin(256))]
        costs = self.measured({"etags": self.timed(lambda: self.ours.store.etags(ids), 10)})["etags"]
        each = Costs("an etag, 256 in a query", "ns", [cost / len(ids) for cost in costs.samples])
        return Figure("validation of an etag on PostgreSQL, 256 in a query", Limit("≤", 10, " µs"), each)

    def offered(self, seconds: float) -> Figure:
        """Turns that come at random moments, half as many as can be done, on 256 sessions."""
        contexts = self.runner.run(self.ours.begin(256))
        each = Loop(self.runner, [partial(self.ours.turn, context) for context in contexts], 40)
        each.sample()
        # What can be done for as long as the sessions come to their checkpoints.
        rate = 0.5e9 / mean(each.sample() for _ in range(ceil(self.rounds / 2)))
        late = [self.runner.run(offered(self.ours.turn, contexts, rate, seconds)) for _ in range(self.rounds)]
        # In the first one the checkpoints are made that have waited while all was done that can be.
        p99, p50 = ([percentile(each, percent) for each in late[1:] or late] for percent in (99, 50))
        name = f"p99 / p50 of a save, turns offered at half of what can be done ({rate:,.0f}/s)"
        return Figure(name, Limit("≤", 4), Costs("p99", "ns", p99), Costs("p50", "ns", p50))

    def timed(self, work: Callable[[], Awaitable[object]], times: int) -> Way:
        async def sample() -> float:
            start = perf_counter_ns()
            for _ in range(times):
                await work()
            return (perf_counter_ns() - start) / times

        return lambda: self.runner.run(sample())

    def measured(self, ways: dict[str, Way]) -> dict[str, Costs]:
        return {name: Costs(name, "ns", samples) for name, samples in interleave(ways, self.rounds).items()}


async def pooled(dsn: str) -> Any:
    return await asyncpg.create_pool(dsn, min_size=2, max_size=2)


async def connected(dsn: str) -> Any:
    return await asyncpg.connect(dsn)
