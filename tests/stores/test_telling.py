"""What a store tells of its writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swisper_ctx import (
    ConflictError,
    Message,
    OutcomeUnknownError,
    PipelineSessionManager,
    StoreUnavailableError,
)
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.faults import fails

Told = list[tuple[str, dict[str, Any]]]


def listener() -> tuple[Told, Any]:
    told: Told = []
    return told, lambda name, details: told.append((name, details))


async def test_a_refused_save_and_a_failed_one_are_told_apart() -> None:
    told, on_event = listener()
    store = FaultyStore(MemorySessionStore())
    sessions = PipelineSessionManager(store, on_event=on_event)
    context = await sessions.create_session(user_id="u", session_id="s")
    other = await sessions.load_session_context("s")
    assert other is not None
    for one in (other, context):
        one.product_query = "x"
    await sessions.save(other)
    with pytest.raises(ConflictError):
        await sessions.save(context)
    assert told[-2:] == [
        ("session_refused", {"session_id": "s", "version": 2}),
        ("session_conflict", {"session_id": "s", "version": 1, "reason": "overlap"}),
    ]
    store.inject("commit", fails())
    other.product_query = "y"
    with pytest.raises(StoreUnavailableError):
        await sessions.save(other)
    assert told[-1] == ("session_failed", {"session_id": "s", "version": 3, "error": "StoreUnavailableError"})
    store.inject("commit", fails(RuntimeError("a bug")))
    with pytest.raises(OutcomeUnknownError):
        await sessions.save(other)
    assert told[-1] == ("session_failed", {"session_id": "s", "version": 3, "error": "RuntimeError"})
    await sessions.save(other)
    name, details = told[-1]
    assert (name, set(details), details["version"]) == ("session_saved", {"session_id", "version", "bytes"}, 3)


async def test_a_merge_is_told() -> None:
    told, on_event = listener()
    sessions = PipelineSessionManager(MemorySessionStore(), on_event=on_event)
    context = await sessions.create_session(user_id="u", session_id="s")
    await sessions.update("s", lambda other: other.conversation_history.append(Message("user", "x")))
    context.conversation_history.append(Message("user", "y"))
    await sessions.save(context)
    assert [(name, details["version"]) for name, details in told[-3:]] == [
        ("session_refused", 2),
        ("session_merged", 2),
        ("session_saved", 3),
    ]
    assert told[-2][1] == {"session_id": "s", "version": 2, "frames": 1}


async def test_a_checkpoint_is_told(tmp_path: Path) -> None:
    told, on_event = listener()
    async with PipelineSessionManager.open(f"sqlite:///{tmp_path}/s.db", on_event=on_event) as sessions:
        context = await sessions.create_session(user_id="u")
        for number in range(300):
            context.conversation_history.append(Message("user", f"{number}"))
            await sessions.save(context)
        await sessions.session_store._checkpointer.settle()
    details = [details for name, details in told if name == "checkpoint_written"]
    assert details
    assert all(one["session_id"] == context.session_id and one["blocks"] > 0 and one["bytes"] > 0 for one in details)
