"""A save that is merged again and again: others are faster each time."""

from __future__ import annotations

from typing import Any

import pytest

from swisper_ctx import ConflictError, Message, SwisperContext
from swisper_ctx.stores.conflicts import MERGES
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.faults import Call


async def overtaken(store: FaultyStore, times: int) -> SwisperContext:
    """A context with an edit, whose next saves are each overtaken by somebody else's message."""
    context, truth = SwisperContext(session_id="s", user_id="u"), store.store
    await store.save_session(context)
    other = await truth.load_session("s")
    assert other is not None

    async def fault(call: Call) -> Any:
        other.conversation_history.append(Message(role="user", content="sooner"))
        await truth.save_session(other)
        return await call()

    store.inject("commit", *[fault] * times)
    context.conversation_history.append(Message(role="user", content="later"))
    return context


def said(context: SwisperContext | None) -> list[object]:
    assert context is not None
    return [message.content for message in context.conversation_history]


async def test_a_save_that_is_overtaken_goes_through_in_the_end() -> None:
    store = FaultyStore(MemorySessionStore())
    context = await overtaken(store, 5)
    await store.save_session(context)
    assert said(context) == said(await store.load_session("s")) == ["sooner"] * 5 + ["later"]
    assert store.calls.count("commit") == 1 + 6


async def test_a_save_that_is_overtaken_without_end_gives_up() -> None:
    store = FaultyStore(MemorySessionStore())
    context = await overtaken(store, MERGES + 1)
    with pytest.raises(ConflictError) as caught:
        await store.save_session(context)
    assert caught.value.reason == "busy"
    assert said(await store.load_session("s")) == ["sooner"] * (MERGES + 1)
    await store.save_session(context)
    assert said(context) == said(await store.load_session("s")) == ["sooner"] * (MERGES + 1) + ["later"]
