"""Rotating keys: how fast alone, and what it does to turns that go on beside it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path
from statistics import quantiles
from time import perf_counter_ns
from typing import Any

from benches.conversation import FIRST_NUMBER, add_turn, context_of
from benches.disk import scratch
from benches.figure import Costs, Figure, Limit
from benches.interleave import interleave

from swisper_ctx import Keyring, PipelineSessionManager, SQLiteSessionStore, SwisperContext
from swisper_ctx.keys import new_key
from swisper_ctx.stores.rotation import seal_anew

KEYS = [new_key(), new_key()]
SESSIONS, MESSAGES = 64, 1_000
RATE = 500
"""Turns a second, offered whether or not those before are done."""

Manager = PipelineSessionManager[SwisperContext]


def figures(quick: bool) -> list[Figure]:
    with scratch() as directory, asyncio.Runner() as runner:
        file = directory / "sessions.db"
        contexts = runner.run(fill(file))
        idle = Costs("rotation alone", "ns", [runner.run(rotate(file, n)) for n in range(2 if quick else 8)])
        reference = Costs("1 MB at 20 MB/s", "ns", [1e9 / 20] * len(idle.samples))
        beside = measure_live(runner, file, contexts, 1 if quick else 6, 1.0 if quick else 4.0)
        runner.run(check(file, contexts))
    return [
        Figure("rotation on an idle machine: 20 MB/s / ours, time of a MB", Limit("≤", 1), idle, reference),
        Figure("p99 of turns at 500/s: beside rotation / without", Limit("≤", 2), beside["beside"], beside["alone"]),
    ]


async def fill(file: Path) -> list[SwisperContext]:
    async with PipelineSessionManager.open(f"sqlite:///{file}", encryption_key=KEYS) as sessions:
        contexts = [context_of(MESSAGES) for _ in range(SESSIONS)]
        for context in contexts:
            await sessions.save(context)
        await sessions.session_store._checkpointer.settle()
    return contexts


async def rotate(file: Path, number: int) -> float:
    """Nanoseconds for each MB that is stored."""
    store = SQLiteSessionStore(file)
    keyring = Keyring(KEYS if number % 2 else KEYS[::-1])
    start, size = perf_counter_ns(), 0
    for session in (await store.sessions()).sessions:
        left = await seal_anew(store, keyring, session.session_id)
        assert set(left) == {0}
    await store.aclose()
    taken = perf_counter_ns() - start
    store = SQLiteSessionStore(file)
    for session in (await store.sessions()).sessions:
        size += sum(len(body.body) for body in await store.bodies(session.session_id))
    await store.aclose()
    return taken / size * 1e6


def measure_live(
    runner: asyncio.Runner, file: Path, contexts: Sequence[SwisperContext], rounds: int, seconds: float
) -> dict[str, Costs]:
    numbers = count(FIRST_NUMBER)
    manager = PipelineSessionManager.open(f"sqlite:///{file}", encryption_key=KEYS)

    def alone() -> float:
        return runner.run(live(manager, contexts, numbers, seconds))

    def beside() -> float:
        with rotating(file):
            return alone()

    samples = interleave({"alone": alone, "beside": beside}, rounds)
    runner.run(manager.aclose())
    return {name: Costs(name, "ns", of) for name, of in samples.items()}


@contextmanager
def rotating(file: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "benches.rotate", str(file), *KEYS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"round\n"
        yield
        child.stdin.close()
        assert child.wait() == 0


async def live(manager: Manager, contexts: Sequence[SwisperContext], numbers: Iterator[int], seconds: float) -> float:
    """The p99 of turns, each counted from the moment when it was due."""
    loop, taken = asyncio.get_running_loop(), list[float]()

    async def turn(context: SwisperContext, due: float) -> None:
        add_turn(context, next(numbers))
        await manager.save(context)
        taken.append((loop.time() - due) * 1e9)

    start, tasks = loop.time(), set[asyncio.Task[Any]]()
    for number, context in zip(range(int(seconds * RATE)), cycle(contexts), strict=False):
        due = start + number / RATE
        await asyncio.sleep(max(due - loop.time(), 0))
        tasks.add(task := asyncio.create_task(turn(context, due)))
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return quantiles(taken, n=100)[98]


async def check(file: Path, contexts: Sequence[SwisperContext]) -> None:
    """All turns are there again."""
    async with PipelineSessionManager.open(f"sqlite:///{file}", encryption_key=KEYS) as sessions:
        for context in contexts:
            found = await sessions.load_session_context(context.session_id)
            assert found is not None
            assert (found.version, found.performance_metrics) == (context.version, context.performance_metrics)
            assert found.conversation_history == context.conversation_history
