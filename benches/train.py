"""What the package is mostly asked to do, for the compiler to see: the training of an optimized build.

Each piece runs for as long: none makes another look seldom used. It needs nothing but the package itself, and calls
what an application calls.
"""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from time import monotonic
from typing import Any

from benches.conversation import METADATA, TIMESTAMP, add_turn, answer, context_of, question
from benches.stored import folded, said

from swisper_ctx import (
    LRUCache,
    MemorySessionStore,
    Message,
    PipelineSessionManager,
    SessionCache,
    SQLiteSessionStore,
    SwisperContext,
    apply_patch,
    diff,
    dumps,
    loads,
    serialize_context,
)
from swisper_ctx._core import choose_kernels, read_directly
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.loaded import opened

SECONDS = 0.6
"""For each piece, or once."""
LEVELS = ("baseline", "avx2", "avx512", "vbmi2")
SESSIONS, TURNS = 32, 40
CITM = Path(__file__).parents[1] / "tests" / "data" / "citm_catalog.json.gz"


@dataclass
class Plain:
    message_id: str
    role: str
    content: Any
    metadata: dict[str, Any]


@dataclass(slots=True)
class Slotted:
    message_id: str
    role: str
    content: Any
    metadata: dict[str, Any]


def fields(count: int) -> list[dict[str, Any]]:
    found = zip(range(count), cycle(said()))
    return [{"message_id": str(n), "role": m["role"], "content": m["content"], "metadata": METADATA} for n, m in found]


def records() -> None:
    for given in fields(100):
        message = Message(**given, timestamp=TIMESTAMP)
        Message.from_json(message.to_json())
        Message.from_dict(message.to_dict())
        message.replace(content="short")
        read(message)


def read(message: Message) -> None:
    _ = message.role, message.content, message.message_id, message.timestamp
    _ = message.name, message.tool_calls, message.tool_call_id, message.metadata


def texts() -> None:
    """Whatever processor is here, the kernels of the others are asked too, as far as it has them."""
    messages, catalog = fields(200), loads(gzip.decompress(CITM.read_bytes()))
    plain, slotted = ([kind(**each) for each in messages] for kind in (Plain, Slotted))
    numbers = [[n * 7_919 for n in range(500)], [n / 7 for n in range(500)], ["ä" * n for n in range(50)], ["€7"] * 50]
    for level in LEVELS:
        choose_kernels(level)
        for value in (messages, plain, slotted, *numbers, catalog):
            text = dumps(value)
            for _ in range(5):
                dumps(value)
                loads(text)
        for value in messages * 10:
            loads(dumps(value))
    read_directly(False)
    dumps(plain)
    read_directly(True)


def changes() -> None:
    """Each context against the one before it, each dict too."""
    before = context_of(200)
    for number in range(20):
        after = before.__copy__()
        add_turn(after, number)
        del after.conversation_history[10 + number]
        patch = diff(before, after)
        apply_patch(before, patch)
        old, new = serialize_context(before), serialize_context(after)
        apply_patch(old, diff(old, new))
        diff(dumps(old), dumps(new))
        before = after


def keys() -> None:
    cache = LRUCache[str, int](max_entries=5_000)
    for n in range(50_000):
        key = f"session-{n * n % 7_919}"
        if cache.get(key) is None:
            cache[key] = n


def opening() -> None:
    stored = folded(2_000)
    for _ in range(300):
        context = opened(stored, SwisperContext)
        read(context.conversation_history[-1])
    for _ in range(20):
        context._position.snapshot.to_json()


def reading() -> None:
    history = opened(folded(2_000), SwisperContext).conversation_history
    history.select("role", "content")
    for message in history:
        read(message)


def turns() -> None:
    context = context_of(100)
    for number in range(200):
        add_turn(context, number)
        delta = context._freeze()
        assert delta is not None
        delta.patch()


async def conversations(store: SessionStore) -> None:
    """Turns of many sessions at once, then loads of each, an edit, and two who save the same."""
    async with PipelineSessionManager(SessionCache(store)) as manager:
        contexts = [context_of(20) for _ in range(SESSIONS)]
        for number in range(TURNS):
            for context in contexts:
                add_turn(context, number)
            await asyncio.gather(*map(manager.save, contexts))
        for context in contexts:
            other = await store.load_session(context.session_id)
            assert other is not None
            dumps(other)
            other.conversation_history.append(question())
            add_turn(context, TURNS)
            for each in (other, context):
                await manager.save(each)
            await store.load_session(context.session_id, tail=10)
            context.conversation_history[3:5] = [answer(), question(), answer()]
            await manager.save(context)
            await manager.load_session_context(context.session_id)


def stores() -> None:
    asyncio.run(conversations(MemorySessionStore()))
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(conversations(SQLiteSessionStore(Path(directory) / "sessions.db")))


def main() -> None:
    for piece in (records, turns, changes, opening, reading, keys, stores, texts):
        end = monotonic() + SECONDS
        while monotonic() < end:
            piece()


if __name__ == "__main__":
    main()
