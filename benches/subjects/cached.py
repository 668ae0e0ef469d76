"""Loads from the memory tier, and turns through it, with a short and a long history."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter_ns

from benches.conversation import FIRST_NUMBER, add_turn, context_of
from benches.disk import scratch
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc

from swisper_ctx import MemorySessionStore, SessionCache, SQLiteSessionStore, SwisperContext
from swisper_ctx.log import Etag, StoredSession, plain_body
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.changes import folded

SHORT, LONG = 10, 100_000
LOADS, TURNS, SESSIONS = 1_000, 64, 1_000
NAMES = {SHORT: f"{SHORT} messages", LONG: f"{LONG:,} messages"}


def figures(quick: bool) -> list[Figure]:
    with asyncio.Runner() as runner:
        rounds = 5 if quick else 60
        return [
            *trusted(runner, rounds),
            *turns(runner, rounds),
            *etags(runner, quick),
            *runner.run(foreign_turns(rounds)),
        ]


async def session(messages: int) -> tuple[SessionCache, SwisperContext]:
    """A cache that has just loaded a session, folded into blocks."""
    cache = SessionCache(MemorySessionStore(), max_staleness=3_600, max_bytes=1 << 30)
    context = context_of(messages)
    await cache.save_session(context)
    await folded(cache, context)
    # A session without a mark asks for no checkpoint: what those cost is measured elsewhere.
    entry = cache.memory_cache[context.session_id]
    entry.loaded = entry.loaded._replace(mark=None)
    loaded = await cache.load_session(context.session_id)
    assert loaded is not None
    assert len(loaded.conversation_history) == messages
    return cache, loaded


def trusted(runner: asyncio.Runner, rounds: int) -> list[Figure]:
    def way(messages: int) -> Way:
        cache, context = runner.run(session(messages))
        id_ = context.session_id

        async def sample() -> float:
            start = perf_counter_ns()
            for _ in range(LOADS):
                found = await cache.load_session(id_)
            elapsed = perf_counter_ns() - start
            assert found is not None
            assert found.version == context.version
            return elapsed / LOADS

        return lambda: runner.run(sample())

    with without_gc():
        samples = interleave({NAMES[size]: way(size) for size in (SHORT, LONG)}, rounds)
    short, long = (Costs(NAMES[size], "ns", samples[NAMES[size]]) for size in (SHORT, LONG))
    return [
        Figure("load from a trusted memory entry", Limit("≤", 5, " µs"), short),
        Figure(f"load from a trusted memory entry: {LONG:,} messages / {SHORT}", Limit("≤", 1.1), long, short),
    ]


def turns(runner: asyncio.Runner, rounds: int) -> list[Figure]:
    def way(messages: int) -> Way:
        async def sample() -> float:
            # Anew each time: a short history is to stay short.
            cache, context = await session(messages) if messages == SHORT else long
            id_, before = context.session_id, context.version
            start = perf_counter_ns()
            for number in range(FIRST_NUMBER, FIRST_NUMBER + TURNS):
                found = await cache.load_session(id_)
                assert found is not None
                add_turn(found, number)
                await cache.save_session(found)
            elapsed = perf_counter_ns() - start
            if messages == LONG:
                assert (await cache.etags([id_]))[id_].version > before
            else:
                assert found is not None
                assert len(found.conversation_history) == SHORT + 2 * TURNS
            return elapsed / TURNS

        long = runner.run(session(messages))
        return lambda: runner.run(sample())

    with without_gc():
        samples = interleave({NAMES[size]: way(size) for size in (SHORT, LONG)}, rounds)
    short, long = (Costs(NAMES[size], "ns", samples[NAMES[size]]) for size in (SHORT, LONG))
    return [
        Figure("load, append two, save, in memory", Limit("≤", 25, " µs"), short),
        Figure(f"load, append two, save, in memory: {LONG:,} messages / {SHORT}", Limit("≤", 1.1), long, short),
    ]


def etags(runner: asyncio.Runner, quick: bool) -> list[Figure]:
    with scratch() as directory:
        samples = runner.run(validate(directory / "sessions.db", 3 if quick else 20))
    costs = Costs(f"{SESSIONS:,} sessions in one batch", "ns", samples)
    return [Figure("validation of an etag on SQLite", Limit("≤", 10, " µs"), costs)]


async def validate(file: Path, rounds: int) -> list[float]:
    """What asking for the etag of a session costs, when those of all are asked for in one batch."""
    cache = SessionCache(SQLiteSessionStore(file), max_staleness=0)
    ids = [f"s{number}" for number in range(SESSIONS)]
    await asyncio.gather(*(cache.save_session(SwisperContext(session_id=id_, user_id="u")) for id_ in ids))
    samples = []
    for _ in range(rounds + 1):
        start = perf_counter_ns()
        found = await cache.etags(ids)
        samples.append((perf_counter_ns() - start) / SESSIONS)
        assert len(found) == SESSIONS
    loaded = await asyncio.gather(*map(cache.load_session, ids))
    assert all(context is not None and context.version == 1 for context in loaded)
    await cache.aclose()
    return samples[1:]


class Metered(FaultyStore):
    """Counts the bytes that reads bring."""

    read_bytes = 0

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        stored = await super().read(session_id, after=after, tail=tail)
        if stored is not None:
            bodies = [stored.head.body] if stored.head else []
            bodies += [plain_body(block.body) for block in stored.blocks]
            self.read_bytes += sum(map(len, bodies)) + sum(len(frame.body or b"") for frame in stored.frames)
        return stored


async def foreign_turns(rounds: int) -> list[Figure]:
    """What a strict load costs after a turn of another process: caught up by its frame, and read whole."""
    truth = MemorySessionStore()
    context = context_of(1_000)
    await truth.save_session(context)
    await folded(truth, context)
    id_ = context.session_id
    stores = {"caught up": Metered(truth), "read whole": Metered(truth)}
    caches = {name: SessionCache(store) for name, store in stores.items()}
    times: dict[str, list[float]] = {name: [] for name in caches}
    sizes: dict[str, list[float]] = {name: [] for name in caches}
    for cache in caches.values():
        await cache.load_session(id_)
    for number in range(FIRST_NUMBER, FIRST_NUMBER + rounds):
        add_turn(context, number)
        await truth.save_session(context)
        caches["read whole"].invalidate(id_)
        for name, cache in caches.items():
            before, start = stores[name].read_bytes, perf_counter_ns()
            found = await cache.load_session(id_, strict=True)
            times[name].append(perf_counter_ns() - start)
            sizes[name].append(stores[name].read_bytes - before)
            assert found is not None
            assert found.version == context.version
    cost = {name: (Costs(name, "ns", times[name]), Costs(name, "bytes", sizes[name])) for name in caches}
    name = "a foreign turn at 1,000 messages: {} of reading whole / of catching up"
    (fast, small), (slow, large) = cost["caught up"], cost["read whole"]
    return [
        Figure(name.format("bytes"), Limit("≥", 50), large, small),
        Figure(name.format("time"), Limit("≥", 1), slow, fast),
    ]
