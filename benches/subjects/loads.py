"""`loads` against the fastest of the generic decoders."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc
from benches.peers.codecs import DECODERS, ENCODERS, OURS, citm, floats, integers, message, messages, non_ascii

LIMIT = Limit("≥", 1)


def figures(quick: bool) -> list[Figure]:
    rounds = 10 if quick else 100
    with without_gc():
        return [
            versus("1,000 messages", messages(), rounds),
            versus("1,000 messages in Latin-1", non_ascii("ä"), rounds),
            versus("5,000 ints", integers(), rounds),
            versus("5,000 floats", floats(), rounds),
            versus("citm", citm(), rounds),
            versus("one small message", message(7), rounds, times=200),
        ]


def versus(name: str, value: Any, rounds: int, times: int = 1) -> Figure:
    text = ENCODERS["orjson"](value)
    assert all(decode(text) == json.loads(text) for decode in DECODERS.values())
    samples = interleave({library: timed(decode, text, times) for library, decode in DECODERS.items()}, rounds)
    costs = {library: Costs(library, "ns", each) for library, each in samples.items()}
    fastest = min((each for library, each in costs.items() if library != OURS), key=lambda each: each.middle)
    return Figure(f"loads, {name}: {fastest.name} (the fastest) / ours", LIMIT, fastest, costs[OURS])


def timed(decode: Callable[[bytes], Any], text: bytes, times: int) -> Way:
    def way() -> float:
        start = perf_counter_ns()
        for _ in range(times):
            decode(text)
        return (perf_counter_ns() - start) / times

    return way
