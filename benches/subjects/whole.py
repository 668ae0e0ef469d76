"""The whole context: what a turn costs beside encoding all messages again, and what encoding all of it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import perf_counter_ns

import msgspec
import orjson
import ssrjson
from benches.conversation import FIRST_NUMBER, context_of
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc
from benches.peers.messages import as_dataclass, as_struct
from benches.subjects.turn import stored, take_turns

from swisper_ctx import serialize_context

TURNS = 20
TIMES = 8
"""Encodes in one sample, behind one that does not count: what lies in the caches then is what is being encoded."""
LIMITS = {1_000: (150, 60), 10_000: (1_500, 600)}
ENCODED = {1_000: Limit("≥", 8), 10_000: None}
"""What no cache holds is copied at the speed of memory: there, memcpy is no eight times faster than the peers."""


def figures(quick: bool) -> list[Figure]:
    found = []
    with without_gc():
        for messages, limits in LIMITS.items():
            found += turns(messages, limits, 10 if quick else 60)
        for messages, limit in ENCODED.items():
            found += encodes(messages, limit, 10 if quick else 100)
    return found


def turns(messages: int, limits: tuple[float, float], rounds: int) -> list[Figure]:
    """A turn as it is taken in the process, against encoding the list of messages."""
    history = context_of(messages).conversation_history
    peers = {"dataclasses": [as_dataclass(message) for message in history], "dicts": history.to_dicts()}
    assert orjson.dumps(peers["dicts"]) == orjson.dumps(json.loads(orjson.dumps(peers["dicts"])))
    assert [found["content"] for found in orjson.loads(orjson.dumps(peers["dataclasses"]))] == [
        found["content"] for found in history.to_dicts()
    ]
    ways = {name: timed(lambda peer=peer: orjson.dumps(peer)) for name, peer in peers.items()}  # type: ignore[misc]
    samples = interleave({"a turn": turn_way(messages), **ways}, rounds)
    costs = {name: Costs(name, "ns", each) for name, each in samples.items()}
    label = f"orjson of all {messages:,} messages from {{}} / a turn in the process"
    return [
        Figure(label.format(name), Limit("≥", least), costs[name], costs["a turn"])
        for name, least in zip(peers, limits, strict=True)
    ]


def turn_way(messages: int) -> Way:
    """The context is a fresh one each time, so that its length stays what it says."""

    def way() -> float:
        context = stored(messages)
        take_turns(context, 1)
        start = perf_counter_ns()
        patch = take_turns(context, TURNS)
        elapsed = perf_counter_ns() - start
        assert json.loads(patch)[-1]["value"] == FIRST_NUMBER + TURNS
        assert len(context.conversation_history) == messages + 2 * (TURNS + 1)
        return elapsed / TURNS

    return way


def encodes(messages: int, limit: Limit | None, rounds: int) -> list[Figure]:
    """The whole context as JSON, from lists that are in memory; each peer from what it is best at."""
    context = stored(messages)
    fields = serialize_context(context)
    names = context._position.snapshot.names
    dicts = {name: fields[name] for name in names}
    text = context._position.snapshot.to_json()
    history = context.conversation_history
    structs = {**dicts, "conversation_history": [as_struct(message) for message in history]}
    dataclasses = {**dicts, "conversation_history": [as_dataclass(message) for message in history]}
    encode = msgspec.json.Encoder().encode
    peers: dict[str, Callable[[], bytes]] = {
        "orjson, dicts": lambda: orjson.dumps(dicts),
        "orjson, dataclasses": lambda: orjson.dumps(dataclasses),
        "msgspec, dicts": lambda: encode(dicts),
        "msgspec, structs": lambda: encode(structs),
        "ssrjson, dicts": lambda: ssrjson.dumps_to_bytes(dicts),
    }
    assert json.loads(text) == dicts
    assert peers["orjson, dicts"]() == peers["msgspec, dicts"]() == peers["ssrjson, dicts"]() == text
    assert all(len(json.loads(peer())["conversation_history"]) == messages for peer in peers.values())
    source = bytearray(text)
    work = {**peers, "ours": context._position.snapshot.to_json, "memcpy": lambda: bytes(source)}
    ways = {name: timed(each, TIMES) for name, each in work.items()}
    samples = interleave(ways, rounds)
    costs = {name: Costs(name, "ns", each) for name, each in samples.items()}
    fastest = min(peers, key=lambda name: costs[name].middle)
    label = f"encode a whole context of {messages:,} messages in memory"
    return [
        Figure(f"{label}: {fastest} (the fastest peer) / ours", limit, costs[fastest], costs["ours"]),
        Figure(f"{label}: ours / memcpy", Limit("≤", 1.15), costs["ours"], costs["memcpy"]),
    ]


def timed(work: Callable[[], object], times: int = 1) -> Way:
    def way() -> float:
        if times > 1:
            work()
        start = perf_counter_ns()
        for _ in range(times):
            work()
        return (perf_counter_ns() - start) / times

    return way
