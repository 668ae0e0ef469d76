"""Several ways of doing the same, measured in turns: what disturbs the machine disturbs all of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random

Way = Callable[[], float]
"""Does a batch of operations and gives the cost of one; what it prepares is not in it."""


def interleave(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    """The costs of each way, after one round that does not count.

    Each round has an order of its own: what a way finds in the caches and in the allocator was left by another.
    """
    costs: dict[str, list[float]] = {name: [] for name in ways}
    orders = Random(rounds)
    for _ in range(rounds + 1):
        for name in orders.sample(list(ways), len(ways)):
            costs[name].append(ways[name]())
    return {name: samples[1:] for name, samples in costs.items()}


@contextmanager
def frozen() -> Iterator[None]:
    """What is there now is not looked through meanwhile, as in a service that freezes what it has imported.

    To look through the modules of a few drivers takes 15 to 50 ms, in which nothing else is done.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def without_gc() -> Iterator[None]:
    """No collection of garbage in between, so that none falls on one way alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
