"""A turn in the process: added to the context, taken from it as a patch; with a short and a long history."""

from __future__ import annotations

import json
from time import perf_counter_ns

from benches.conversation import FIRST_NUMBER, add_turn, context_of, operations
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc

from swisper_ctx import SwisperContext

CONTEXTS, TURNS = 8, 9
"""In a batch: so many fresh contexts, each of which grows from 10 messages to 30. In a long one a segment is sealed."""

LIMITS = {1_000: None, 100_000: Limit("≤", 1.15), 1_000_000: Limit("≤", 1.25)}


def figures(quick: bool) -> list[Figure]:
    sizes = [size for size in LIMITS if not quick or size < 1_000_000]
    ways = {"10": timed(None), **{str(size): timed(stored(size)) for size in sizes}}
    with without_gc():
        samples = interleave(ways, 40 if quick else 200)
    costs = {int(size): Costs(f"{int(size):,} messages", "ns", of) for size, of in samples.items()}
    return [
        Figure(f"turn in the process: {size:,} messages / 10", LIMITS[size], costs[size], costs[10]) for size in sizes
    ]


def timed(large: SwisperContext | None) -> Way:
    """Turns in `large`, or else in fresh contexts."""

    kept: list[SwisperContext] = []

    def way() -> float:
        elapsed = 0
        for _ in range(CONTEXTS):
            # Also where it is not used: every way finds the caches and the allocator alike.
            fresh = stored(10)
            kept.append(fresh)
            context = large or fresh
            take_turns(context, 1)
            before = len(context.conversation_history)
            start = perf_counter_ns()
            patch = take_turns(context, TURNS)
            elapsed += perf_counter_ns() - start
            check(context, patch, before + 2 * TURNS)
        return elapsed / (CONTEXTS * TURNS)

    return way


def stored(messages: int) -> SwisperContext:
    """A context as it is after a save."""
    context = context_of(messages)
    context._freeze()
    return context


def take_turns(context: SwisperContext, turns: int) -> bytes:
    patch = b""
    for number in range(FIRST_NUMBER + 1, FIRST_NUMBER + 1 + turns):
        add_turn(context, number)
        delta = context._freeze()
        assert delta is not None
        patch = delta.patch()
    return patch


def check(context: SwisperContext, patch: bytes, messages: int) -> None:
    """Every turn is in the snapshot, and the last patch says what the last turn did."""
    assert context._position.snapshot.count("conversation_history") == messages
    assert json.loads(patch) == operations(FIRST_NUMBER + TURNS)
