"""Durable turns in an SQLite file: `save` through the manager, beside the bare statements in the same groups."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

from benches.conversation import FIRST_NUMBER, add_turn, answer, context_of
from benches.disk import scratch
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave
from benches.peers.bare_sqlite import BareWriter, sessions_of
from benches.peers.one_by_one import OneByOne

from swisper_ctx import PipelineSessionManager, SwisperContext

OURS, FOLDING, BARE, AIOSQLITE = "ours", "ours with its checkpoints", "bare sqlite3", "aiosqlite"

EACH = 128
"""Turns of each session in one sample: a few more than there are between two checkpoints of a session."""

EACH_ALONE = 8
"""Of aiosqlite, which takes so much longer."""

STORED = """
    SELECT session_id, sessions.version, messages, count(*), sum(length(body))
    FROM sessions JOIN frames ON session = key GROUP BY session_id ORDER BY session_id
"""

Does = Callable[[], Coroutine[None, None, None]]


async def nothing() -> None:
    pass


class Writing(NamedTuple):
    """A way of writing."""

    turns: Sequence[Does]
    """For each session, what does its next turn."""
    close: Does
    settle: Does = nothing
    """Finishes what was begun beside the turns; it is part of their cost."""


def figures(quick: bool) -> list[Figure]:
    one, many = measure(1, 4 if quick else 30), measure(64, 1 if quick else 8)
    # Turns per second of ours by theirs is their time by ours.
    name = "durable turns/s without checkpoints: ours / {}"
    return [
        Figure(name.format("bare sqlite3, 1 session"), Limit("≥", 0.9), one[BARE], one[OURS]),
        Figure(name.format("bare sqlite3, 64 sessions"), Limit("≥", 0.6), many[BARE], many[OURS]),
        Figure(name.format("aiosqlite, 64 sessions"), Limit("≥", 10), many[AIOSQLITE], many[OURS]),
        Figure("durable turns/s: with checkpoints / without, 64 sessions", None, many[OURS], many[FOLDING]),
    ]


def measure(sessions: int, rounds: int) -> dict[str, Costs]:
    """Each way has a file of its own; all of them begin with the same bytes."""
    with scratch() as directory, asyncio.Runner() as runner:
        files = {name: directory / f"{name}.db" for name in (OURS, FOLDING, BARE, AIOSQLITE)}
        contexts = runner.run(begin(files[OURS], sessions))
        for name in (FOLDING, BARE, AIOSQLITE):
            shutil.copy(files[OURS], files[name])
        folding = runner.run(loaded(files[FOLDING], contexts))
        for context in contexts:
            # The others write the rows of turns alone: a context without a mark asks for no checkpoint.
            context._position.mark = None
        writings = {
            OURS: ours(files[OURS], contexts),
            FOLDING: ours(files[FOLDING], folding),
            BARE: runner.run(bare(files[BARE])),
            AIOSQLITE: runner.run(one_by_one(files[AIOSQLITE])),
        }
        each = {name: EACH_ALONE if name == AIOSQLITE else EACH for name in writings}
        ways = {name: timed(runner, writing, each[name]) for name, writing in writings.items()}
        samples = interleave(ways, rounds)
        for writing in writings.values():
            runner.run(writing.close())
        check(files, {name: 2 + turns * (rounds + 1) for name, turns in each.items()})
        runner.run(check_history(files[OURS], contexts[0].session_id, 12 + 2 * EACH * (rounds + 1)))
    return {name: Costs(name, "ns", of) for name, of in samples.items()}


def timed(runner: asyncio.Runner, writing: Writing, each: int) -> Way:
    async def talk(turn: Does) -> None:
        for _ in range(each):
            await turn()

    async def sample() -> float:
        start = perf_counter_ns()
        await asyncio.gather(*map(talk, writing.turns))
        await writing.settle()
        return (perf_counter_ns() - start) / (each * len(writing.turns))

    return lambda: runner.run(sample())


async def begin(file: Path, sessions: int) -> list[SwisperContext]:
    """Sessions of 10 messages that have had one turn."""
    async with PipelineSessionManager.open(f"sqlite:///{file}") as manager:
        contexts = [context_of(10) for _ in range(sessions)]
        for context in contexts:
            await manager.save(context)
            add_turn(context, FIRST_NUMBER + 1)
            await manager.save(context)
    return contexts


async def loaded(file: Path, like: list[SwisperContext]) -> list[SwisperContext]:
    """The same sessions from another file."""
    async with PipelineSessionManager.open(f"sqlite:///{file}") as manager:
        found = [await manager.load_session_context(context.session_id) for context in like]
    return [context for context in found if context is not None]


def ours(file: Path, contexts: list[SwisperContext]) -> Writing:
    manager = PipelineSessionManager.open(f"sqlite:///{file}")
    numbers = count(FIRST_NUMBER + 2)

    async def turn(context: SwisperContext) -> None:
        add_turn(context, next(numbers))
        await manager.save(context)

    turns = [partial(turn, context) for context in contexts]
    return Writing(turns, manager.aclose, manager.session_store._checkpointer.settle)


async def bare(file: Path) -> Writing:
    writer = BareWriter(file)
    return Writing([partial(writer.write, session) for session in sessions_of(file)], writer.close)


async def one_by_one(file: Path) -> Writing:
    writer = await OneByOne.open(file)
    return Writing([partial(writer.write, session) for session in sessions_of(file)], writer.close)


def check(files: dict[str, Path], versions: dict[str, int]) -> None:
    """Nobody has lost a turn, and the bare one has stored as many bytes as ours."""
    sizes = {}
    for name, file in files.items():
        with closing(sqlite3.connect(file)) as database:
            rows = database.execute(STORED).fetchall()
        version = versions[name]
        assert all(row[1:4] == (version, 8 + 2 * version, version) for row in rows)
        sizes[name] = [(session_id, size) for session_id, *_, size in rows]
    for (session_id, size), (bare_id, bare_size) in zip(sizes[OURS], sizes[BARE], strict=True):
        assert session_id == bare_id
        assert abs(size / bare_size - 1) < 0.02


async def check_history(file: Path, session_id: str, messages: int) -> None:
    """Every message of a session is there again."""
    async with PipelineSessionManager.open(f"sqlite:///{file}") as manager:
        context = await manager.load_session_context(session_id)
    assert context is not None
    assert len(context.conversation_history) == messages
    assert context.conversation_history[-1] == answer()
