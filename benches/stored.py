"""A long session as its store gives it: a head and compressed blocks, nothing opened."""

from __future__ import annotations

import asyncio

from benches.conversation import context_of

from swisper_ctx import MemorySessionStore
from swisper_ctx.log import StoredSession


def folded(messages: int) -> StoredSession:
    """A session with so many messages, all of them in blocks."""
    return asyncio.run(_folded(messages))


async def _folded(messages: int) -> StoredSession:
    store, context = MemorySessionStore(), context_of(messages)
    await store.save_session(context)
    await store._checkpointer.settle()
    stored = await store.read(context.session_id)
    await store.aclose()
    assert stored is not None
    assert not stored.frames
    assert sum(block.records for block in stored.blocks) == messages
    return stored
