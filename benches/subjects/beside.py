"""Turns of 1 kB while a frame of 16 MiB is on its way to PostgreSQL."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from time import perf_counter_ns

from benches.figure import Costs, Figure, Limit
from benches.offer import percentile
from benches.servers import servers
from benches.subjects.served import Ours

from swisper_ctx import SwisperContext

SESSIONS = 64
FRAME = 16 * 1024 * 1024
QUIET = 0.5
"""Seconds in which nothing but turns is saved, before each large frame."""
APART = 0.1
"""Seconds between the two windows: a save that the large frame holds up belongs to its window alone."""

Window = tuple[int, int]


def figures(quick: bool) -> list[Figure]:
    with servers() as where, asyncio.Runner() as runner:
        ours = Ours(where)
        quiet, beside = runner.run(measured(ours, 1 if quick else 12))
        runner.run(ours.manager.aclose())
    name = f"p99 of a save, {SESSIONS} sessions: while a frame of 16 MiB commits / before it"
    return [Figure(name, Limit("≤", 2), Costs("p99 beside it", "ns", beside), Costs("p99 before it", "ns", quiet))]


async def measured(ours: Ours, rounds: int) -> tuple[list[float], list[float]]:
    """The p99 in each of the quiet windows, and while each of the large frames commits."""
    contexts, (large,) = await ours.begin(SESSIONS), await ours.begin(1)
    large._position.mark = None  # asks for no checkpoint, which would be beside the turns of the next round
    saves, talking = list[Window](), True

    async def talk(context: SwisperContext) -> None:
        while talking:
            begun = perf_counter_ns()
            await ours.turn(context)
            saves.append((begun, perf_counter_ns()))

    tasks = [asyncio.create_task(talk(context)) for context in contexts]
    windows = [await around(ours, large) for _ in range(rounds)]
    talking = False
    await asyncio.gather(*tasks)
    loaded = await ours.store.load_session(large.session_id)
    assert loaded is not None
    assert loaded.metadata == large.metadata
    quiet, beside = ([p99(saves, window) for window in each] for each in zip(*windows, strict=True))
    return quiet, beside


async def around(ours: Ours, large: SwisperContext) -> tuple[Window, Window]:
    """A window without the large frame, and that of its commit."""
    large.metadata["noise"] = ""
    await ours.manager.save(large)
    large.metadata["noise"] = await asyncio.to_thread(lambda: b64encode(os.urandom(FRAME)).decode())
    await asyncio.sleep(QUIET)
    quiet = perf_counter_ns()
    await asyncio.sleep(QUIET)
    quiet_end = perf_counter_ns()
    await asyncio.sleep(APART)
    begun = perf_counter_ns()
    await ours.manager.save(large)
    return (quiet, quiet_end), (begun, perf_counter_ns())


def p99(saves: list[Window], window: Window) -> float:
    """Of those that were under way at some time of the window."""
    return percentile([end - begun for begun, end in saves if begun < window[1] and end > window[0]], 99)
