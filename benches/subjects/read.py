"""Reading what was said: every field of every message, or two fields of all, in memory and from stored blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter_ns
from typing import Any

import msgspec
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc
from benches.peers.messages import FIELDS, FullStruct
from benches.stored import folded

from swisper_ctx import Message, RecordList, SwisperContext
from swisper_ctx.log import StoredSession
from swisper_ctx.stores.loaded import opened

MESSAGES = 2_000
LIMITS = {"all, resident": 0.95, "all, compressed": 0.75, "two, resident": 2.0, "two, compressed": 1.3}
NAMES = {"all": "every field", "two": "role and content"}

Decode = Callable[[bytes], list[FullStruct]]


def figures(quick: bool) -> list[Figure]:
    stored, decode = folded(MESSAGES), msgspec.json.Decoder(list[FullStruct]).decode
    resident = history(stored)
    text = msgspec.json.encode(resident.to_dicts())
    check(stored, resident, decode(text))
    ways = {
        "all, msgspec": timed(lambda: read_all(decode(text))),
        "all, resident": timed(lambda: read_all(resident)),
        "all, compressed": timed(lambda: read_all(history(stored))),
        "two, msgspec": timed(lambda: read_two(decode(text))),
        "two, resident": timed(lambda: resident.select("role", "content")),
        "two, compressed": timed(lambda: history(stored).select("role", "content")),
    }
    with without_gc():
        samples = interleave(ways, 30 if quick else 300)
    costs = {name: Costs(name, "ns", each) for name, each in samples.items()}
    return [figure(name, costs) for name in LIMITS]


def figure(name: str, costs: dict[str, Costs]) -> Figure:
    fields, where = name.split(", ")
    label = f"read {NAMES[fields]} of {MESSAGES:,} messages: msgspec typed decode and reads / ours, {where}"
    return Figure(label, Limit("≥", LIMITS[name]), costs[f"{fields}, msgspec"], costs[name])


def history(stored: StoredSession) -> RecordList[Message]:
    """As it is after a load: not one of its segments is open."""
    return opened(stored, SwisperContext).conversation_history


def timed(read: Callable[[], object]) -> Way:
    def way() -> float:
        start = perf_counter_ns()
        read()
        return (perf_counter_ns() - start) / MESSAGES

    return way


def read_all(messages: Iterable[Message | FullStruct]) -> Any:
    last: Any = None
    for message in messages:
        last = (
            message.message_id,
            message.role,
            message.content,
            message.timestamp,
            message.name,
            message.tool_calls,
            message.tool_call_id,
            message.metadata,
        )
    return last


def read_two(messages: Iterable[FullStruct]) -> list[tuple[Any, Any]]:
    return [(message.role, message.content) for message in messages]


def check(stored: StoredSession, resident: RecordList[Message], decoded: Sequence[FullStruct]) -> None:
    """All of them read the same."""
    for own in (resident, history(stored)):
        assert len(own) == len(decoded) == MESSAGES
        for message, peer in zip(own, decoded, strict=True):
            assert [getattr(message, name) for name in FIELDS] == [getattr(peer, name) for name in FIELDS]
    assert resident.select("role", "content") == history(stored).select("role", "content") == read_two(decoded)
    assert read_all(resident) == read_all(decoded)
