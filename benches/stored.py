"""A long session as its store gives it: a head and compressed blocks, nothing opened.

What is said in it are the conversations of the demo: how fast text unpacks depends on how much it repeats itself.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from functools import cache
from itertools import cycle, islice
from typing import Any

from benches.conversation import METADATA, TIMESTAMP

from swisper_ctx import MemorySessionStore, Message, SwisperContext
from swisper_ctx.cli.conversations import SAMPLE
from swisper_ctx.log import StoredSession


@cache
def said() -> list[dict[str, Any]]:
    """872 messages of 32 dialogues, a quarter of them with calls of tools."""
    with gzip.open(SAMPLE, "rb") as file:
        return [message for dialogue in json.load(file) for message in dialogue["traj"]]


@cache
def folded(messages: int) -> StoredSession:
    """A session with so many messages, all of them in blocks."""
    return asyncio.run(_folded(messages))


async def _folded(messages: int) -> StoredSession:
    store, context = MemorySessionStore(), SwisperContext(user_id="u-17")
    for fields in islice(cycle(said()), messages):
        context.conversation_history.append(Message(**fields, timestamp=TIMESTAMP, metadata=METADATA))
    await store.save_session(context)
    await store._checkpointer.settle()
    stored = await store.read(context.session_id)
    await store.aclose()
    assert stored is not None
    assert not stored.frames
    assert sum(block.records for block in stored.blocks) == messages
    return stored
