"""A save that is merged again and again: others are faster each time."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest

from swisper_ctx import ConflictError, EncodeError, Message, StoreUnavailableError, SwisperContext
from swisper_ctx.stores.conflicts import MERGES
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.faults import Call, Fault, fails


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


async def merged(store: FaultyStore, theirs: dict[str, Any], unsaved: dict[str, Any], *after: Fault) -> SwisperContext:
    """A context whose save, of `mine`, was merged with `theirs`, while it went on to edit the same field."""
    context, truth = SwisperContext(session_id="s", user_id="u", soft_preferences={"a": {"n": 1}}), store.store
    await store.save_session(context)
    other = await truth.load_session("s")
    assert other is not None

    async def fault(call: Call) -> Any:
        context.soft_preferences.update(unsaved)
        other.soft_preferences.update(theirs)
        other.metadata["theirs"] = True
        await truth.save_session(other)
        return await call()

    store.inject("commit", fault, *after)
    context.soft_preferences["mine"] = 1
    with pytest.raises(StoreUnavailableError) if after else nullcontext():
        await store.save_session(context)
    return context


async def preferences(store: FaultyStore) -> dict[str, Any]:
    loaded = await store.load_session("s")
    assert loaded is not None
    assert loaded.metadata == {"theirs": True}
    return loaded.soft_preferences


async def test_a_merge_goes_by_what_the_save_was_frozen_with() -> None:
    store = FaultyStore(MemorySessionStore())
    context = await merged(store, {"theirs": 2}, {"later": (3,)})
    assert await preferences(store) == {"a": {"n": 1}, "mine": 1, "theirs": 2}
    assert context.soft_preferences == {"a": {"n": 1}, "mine": 1, "later": (3,)}
    with pytest.raises(EncodeError):
        await store.save_session(context)
    with pytest.raises(EncodeError):
        copy.copy(context)
    held = context.soft_preferences
    held["later"] = [3]
    await store.save_session(context)
    assert await preferences(store) == context.soft_preferences == {"a": {"n": 1}, "mine": 1, "theirs": 2, "later": [3]}
    assert context.soft_preferences is held


async def test_what_was_at_odds_with_a_merge_is_a_conflict_of_the_next_save() -> None:
    store = FaultyStore(MemorySessionStore())
    context = await merged(store, {"x": 2}, {"x": (3,)})
    context.soft_preferences["x"] = 3
    for attempt in (store.save_session, store.save_session):
        with pytest.raises(ConflictError) as caught:
            await attempt(context)
        assert (caught.value.reason, caught.value.paths) == ("overlap", ("/soft_preferences/x",))
    assert await preferences(store) == {"a": {"n": 1}, "mine": 1, "x": 2}
    # Nothing is at odds any more.
    del context.soft_preferences["x"]
    await store.save_session(context)
    assert await preferences(store) == context.soft_preferences == {"a": {"n": 1}, "mine": 1, "x": 2}


async def test_a_refresh_merges_what_was_left_aside() -> None:
    store = FaultyStore(MemorySessionStore())
    context = await merged(store, {"theirs": 2}, {"later": (3,)})
    other = await store.load_session("s")
    assert other is not None
    other.soft_preferences["a"]["n"] = 4
    await store.save_session(other)
    with pytest.raises(EncodeError):
        await store.refresh(context)
    context.soft_preferences["later"] = 3
    await store.refresh(context)
    assert context.soft_preferences == {"a": {"n": 4}, "mine": 1, "theirs": 2, "later": 3}
    await store.save_session(context)
    assert await preferences(store) == context.soft_preferences


async def test_a_save_that_fails_after_its_merge_takes_nothing_back() -> None:
    store = FaultyStore(MemorySessionStore())
    context = await merged(store, {"theirs": 2}, {"later": (3,)}, fails())
    context.soft_preferences["later"] = 3
    with pytest.raises(ConflictError):
        await store.save_session(context)
    assert await preferences(store) == {"a": {"n": 1}, "theirs": 2}


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
