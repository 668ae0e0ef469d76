"""An open loop: turns that come at random moments, whether or not those before them are done."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


async def offered(
    turn: Callable[[T], Awaitable[object]], sessions: Sequence[T], rate: float, seconds: float
) -> list[float]:
    """So many turns a second for so long: how many nanoseconds after it was due each was done."""
    late: list[float] = []
    chance, tasks, begun, due = random.Random(7), set[asyncio.Task[None]](), perf_counter(), 0.0

    async def one(session: T, due: float) -> None:
        await turn(session)
        late.append((perf_counter() - begun - due) * 1e9)

    while due < seconds:
        await asyncio.sleep(max(begun + due - perf_counter(), 0))
        while due <= perf_counter() - begun:
            task = asyncio.create_task(one(chance.choice(sessions), due))
            tasks.add(task)
            # The garbage collector would look through a hundred thousand of them.
            task.add_done_callback(tasks.discard)
            due += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    return late


def percentile(times: Sequence[float], percent: float) -> float:
    ordered = sorted(times)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]
