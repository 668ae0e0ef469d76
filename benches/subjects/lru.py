"""The LRU beside that of cachebox: 100,000 entries, asked for by a zipf distribution."""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Callable
from functools import cache
from itertools import accumulate, cycle
from random import Random
from time import perf_counter_ns
from typing import Any

import cachebox
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc

import swisper_ctx

ENTRIES = 100_000
LOOKUPS, PUTS = 50_000, 20_000
LIMITS = {"hit": 1.25, "miss": 1.7, "put with eviction": 1.6}
Make = Callable[[], Any]

MAKERS: dict[str, Make] = {
    "cachebox.LRUCache": lambda: cachebox.LRUCache(ENTRIES),
    "swisper_ctx.LRUCache": lambda: swisper_ctx.LRUCache(max_entries=ENTRIES),
}


def figures(quick: bool) -> list[Figure]:
    keys = [f"session-{number:08}" for number in range(ENTRIES)]
    asked = zipf(keys, LOOKUPS)
    found = []
    for what, way_of in {"hit": hits, "miss": misses, "put with eviction": puts}.items():
        ways = {name: way_of(filled(make, keys), asked) for name, make in MAKERS.items()}
        with without_gc():
            samples = interleave(ways, 10 if quick else 60)
        peer, ours = (Costs(name, "ns", of) for name, of in samples.items())
        found.append(Figure(f"LRU of 100,000 entries: {what}", Limit("≥", LIMITS[what]), peer, ours))
    return found


def zipf(keys: list[str], count: int) -> list[str]:
    """Keys of which the nth is asked for 1/n as often as the first; which key is the nth has nothing to do with age."""
    random = Random(5)
    order = random.sample(keys, len(keys))
    bounds = list(accumulate(1 / rank for rank in range(1, len(keys) + 1)))
    return [order[bisect(bounds, random.random() * bounds[-1], hi=len(keys) - 1)] for _ in range(count)]


def filled(make: Make, keys: list[str]) -> Any:
    made = make()
    for key in keys:
        made[key] = key
    return made


def hits(lru: Any, asked: list[str]) -> Way:
    def way() -> float:
        get = lru.get
        start = perf_counter_ns()
        deque(map(get, asked), 0)
        elapsed = perf_counter_ns() - start
        assert all(get(key) == key for key in asked[:1_000])
        return elapsed / len(asked)

    return way


def misses(lru: Any, asked: list[str]) -> Way:
    absent = [f"absent-{key}" for key in asked]

    def way() -> float:
        get = lru.get
        start = perf_counter_ns()
        deque(map(get, absent), 0)
        elapsed = perf_counter_ns() - start
        assert all(get(key) is None for key in absent[:1_000])
        return elapsed / len(absent)

    return way


def puts(lru: Any, _asked: list[str]) -> Way:
    """Keys that are not there, each of which drives the oldest out; they live on, so no string is made or freed."""
    keys = new_keys()
    batches = cycle([keys[start : start + PUTS] for start in range(0, len(keys), PUTS)])

    def way() -> float:
        batch = next(batches)
        assert batch[0] not in lru
        start = perf_counter_ns()
        for key in batch:
            lru[key] = key
        elapsed = perf_counter_ns() - start
        assert len(lru) == ENTRIES
        assert all(key in lru for key in batch)
        return elapsed / PUTS

    return way


@cache
def new_keys() -> list[str]:
    return [f"new-{number:012}" for number in range(2 * ENTRIES)]
