"""A message: constructed from its fields and encoded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from time import perf_counter_ns
from typing import Any

import msgspec
import orjson
from benches.conversation import MESSAGE_ID, METADATA, QUESTION, TIMESTAMP
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc

import swisper_ctx

BATCH = 2_000
Encode = Callable[[], bytes]


@dataclass
class DataclassMessage:
    message_id: str
    role: str
    content: str
    timestamp: datetime
    metadata: dict[str, Any]


class StructMessage(msgspec.Struct):
    message_id: str
    role: str
    content: str
    timestamp: datetime
    metadata: dict[str, Any]


def ours(count: int) -> bytes:
    text, id_, role, content, time, metadata = b"", MESSAGE_ID, "user", QUESTION, TIMESTAMP, METADATA
    make = swisper_ctx.Message
    for _ in repeat(None, count):
        text = make(message_id=id_, role=role, content=content, timestamp=time, metadata=metadata).to_json()
    return text


def with_orjson(count: int) -> bytes:
    text, id_, role, content, time, metadata = b"", MESSAGE_ID, "user", QUESTION, TIMESTAMP, METADATA
    make, encode = DataclassMessage, orjson.dumps
    for _ in repeat(None, count):
        text = encode(make(message_id=id_, role=role, content=content, timestamp=time, metadata=metadata))
    return text


def with_msgspec(count: int) -> bytes:
    text, id_, role, content, time, metadata = b"", MESSAGE_ID, "user", QUESTION, TIMESTAMP, METADATA
    make, encode = StructMessage, msgspec.json.Encoder().encode
    for _ in repeat(None, count):
        text = encode(make(message_id=id_, role=role, content=content, timestamp=time, metadata=metadata))
    return text


def timed(work: Callable[[int], bytes]) -> Way:
    def way() -> float:
        start = perf_counter_ns()
        work(BATCH)
        return (perf_counter_ns() - start) / BATCH

    return way


def content(text: bytes) -> dict[str, Any]:
    """What the text says, however it writes the time zone."""
    fields: dict[str, Any] = json.loads(text)
    return {**fields, "timestamp": datetime.fromisoformat(fields["timestamp"])}


def figures(quick: bool) -> list[Figure]:
    ways = {"ours": ours, "dataclass + orjson": with_orjson, "msgspec": with_msgspec}
    said = [content(way(1)) for way in ways.values()]
    assert said[0] == said[1] == said[2]
    assert said[0]["content"] == QUESTION
    with without_gc():
        samples = interleave({name: timed(way) for name, way in ways.items()}, 30 if quick else 300)
    costs = {name: Costs(name, "ns", each) for name, each in samples.items()}
    name = "construct and encode a message: {} / ours"
    return [
        Figure(name.format(peer), Limit("≥", least), costs[peer], costs["ours"])
        for peer, least in (("dataclass + orjson", 4.5), ("msgspec", 1.9))
    ]
