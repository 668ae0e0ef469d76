"""`dumps` against the fastest of the generic encoders.

Each gets objects of its own: orjson leaves a `__dict__` in dataclasses and a UTF-8 copy in strings, which others would
then find there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any

from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc
from benches.peers.codecs import (
    ENCODERS,
    OURS,
    Encode,
    PlainMessage,
    SlottedMessage,
    citm,
    floats,
    integers,
    message,
    messages,
    non_ascii,
)

from swisper_ctx._core import choose_kernels, read_directly

NO_DATACLASSES = "ssrjson"
Make = Callable[[], Any]


def plain() -> list[PlainMessage]:
    return [PlainMessage(**each) for each in messages()]


def slotted() -> list[SlottedMessage]:
    return [SlottedMessage(**each) for each in messages()]


def figures(quick: bool) -> list[Figure]:
    rounds = 10 if quick else 100
    with without_gc():
        found = messages_with(choose_kernels("vbmi2"), (1.1, 1.8, 5), rounds)
        read_directly(False)
        try:
            found += versus("dataclasses, by public functions", plain, 1.25, rounds, without=NO_DATACLASSES)
        finally:
            read_directly(True)
        try:
            found += messages_with(choose_kernels("avx2"), (0.9, 1.1, 4), rounds)
        finally:
            choose_kernels("vbmi2")
        found += fresh("Latin-1", "ä", rounds) + fresh("others", "€", rounds)
        found += versus("5,000 ints", integers, 1, rounds)
        found += versus("5,000 floats", floats, 1, rounds)
        found += versus("citm", citm, 1, rounds)
        found += versus("one small message", lambda: message(7), 1.3, rounds, times=200)
    return found


def messages_with(level: str, limits: Iterable[float], rounds: int) -> list[Figure]:
    """The same messages as dicts and as dataclasses, with kernels up to this level."""
    kinds: dict[str, tuple[Make, str]] = {
        "dicts": (messages, ""),
        "dataclasses": (plain, NO_DATACLASSES),
        "slots dataclasses": (slotted, NO_DATACLASSES),
    }
    return [
        figure
        for (kind, (make, without)), limit in zip(kinds.items(), limits, strict=True)
        for figure in versus(f"1,000 messages as {kind}, {level}", make, limit, rounds, without=without)
    ]


def versus(name: str, make: Make, limit: float, rounds: int, without: str = "", times: int = 1) -> list[Figure]:
    """How long the fastest of the others takes, divided by ours."""
    encoders = {library: encode for library, encode in ENCODERS.items() if library != without}
    given = {library: make() for library in encoders}
    expected = json.loads(ENCODERS["orjson"](make()))
    assert all(json.loads(encode(given[library])) == expected for library, encode in encoders.items())
    ways = {library: timed(encode, given[library], times) for library, encode in encoders.items()}
    samples = interleave(ways, rounds)
    costs = {library: Costs(library, "ns", each) for library, each in samples.items()}
    fastest = min((each for library, each in costs.items() if library != OURS), key=lambda each: each.middle)
    return [Figure(f"dumps, {name}: {fastest.name} (the fastest) / ours", Limit("≥", limit), fastest, costs[OURS])]


def timed(encode: Encode, given: Any, times: int) -> Way:
    def way() -> float:
        start = perf_counter_ns()
        for _ in range(times):
            encode(given)
        return (perf_counter_ns() - start) / times

    return way


def fresh(name: str, replaced: str, rounds: int) -> list[Figure]:
    """Strings that were never encoded before: each time new ones."""
    text = json.dumps(non_ascii(replaced))
    expected = json.loads(text)
    assert all(json.loads(encode(json.loads(text))) == expected for encode in ENCODERS.values())

    def way_of(encode: Encode) -> Way:
        def way() -> float:
            given = json.loads(text)
            start = perf_counter_ns()
            encode(given)
            return perf_counter_ns() - start

        return way

    samples = interleave({library: way_of(encode) for library, encode in ENCODERS.items()}, rounds)
    costs = {library: Costs(library, "ns", each) for library, each in samples.items()}
    label = f"dumps, fresh strings that are not ASCII ({name}), first encode"
    return [
        Figure(f"{label}: {peer} / ours", Limit("≥", limit), costs[peer], costs[OURS])
        for peer, limit in {"orjson": 1.5, "ssrjson": 1.0}.items()
    ]
