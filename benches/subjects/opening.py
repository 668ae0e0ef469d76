"""Opening a stored session, against decoding its messages."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

import msgspec
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc
from benches.peers.messages import FullStruct
from benches.stored import folded

from swisper_ctx import SwisperContext
from swisper_ctx.stores.loaded import opened

MESSAGES = 10_000
BATCH = 20
"""Openings in one sample; a decode takes so much longer that one is enough."""


def figures(quick: bool) -> list[Figure]:
    stored, decode = folded(MESSAGES), msgspec.json.Decoder(list[FullStruct]).decode
    context = opened(stored, SwisperContext)
    text = msgspec.json.encode(context.conversation_history.to_dicts())
    decoded = decode(text)
    assert len(context.conversation_history) == len(decoded) == MESSAGES
    middle = MESSAGES // 2
    assert opened(stored, SwisperContext).conversation_history[middle].content == decoded[middle].content
    ways = {
        "msgspec typed decode": timed(lambda: decode(text), 1),
        "nothing touched": timed(lambda: opened(stored, SwisperContext), BATCH),
        "one message read": timed(lambda: opened(stored, SwisperContext).conversation_history[middle].content, BATCH),
    }
    with without_gc():
        samples = interleave(ways, 5 if quick else 60)
    costs = {name: Costs(name, "ns", each) for name, each in samples.items()}
    label = f"open a stored session of {MESSAGES:,} messages, {{}}: msgspec typed decode / ours"
    return [
        Figure(label.format(name), Limit("≥", least), costs["msgspec typed decode"], costs[name])
        for name, least in (("nothing touched", 3_000), ("one message read", 100))
    ]


def timed(work: Callable[[], object], times: int) -> Way:
    def way() -> float:
        start = perf_counter_ns()
        for _ in range(times):
            work()
        return (perf_counter_ns() - start) / times

    return way
