"""Loading the last records of a long history, and the others when they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest

from swisper_ctx import (
    ConflictError,
    Message,
    NotLoadedError,
    PipelineExecution,
    RecordList,
    SwisperContext,
    serialize_context,
)
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore

LENGTH = 1000


@pytest.fixture(params=["memory", "sqlite", "shelve"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SessionStore]:
    made: SessionStore
    if request.param == "memory":
        made = MemorySessionStore()
    elif request.param == "sqlite":
        made = SQLiteSessionStore(tmp_path / "s.db")
    else:
        made = ShelveSessionStore(tmp_path / "s")
    yield made
    await made.aclose()


async def long_session(store: SessionStore) -> SwisperContext:
    """A thousand messages in blocks, and one more in a frame."""
    context = SwisperContext(user_id="u", product_query="fridge")
    await store.save_session(context)
    for number in range(LENGTH):
        say(context, number)
    await store.save_session(context)
    await store._checkpointer.settle()
    say(context, LENGTH)
    await store.save_session(context)
    await store._checkpointer.settle()
    return context


def say(context: SwisperContext, number: int) -> None:
    # Random, or the frames would be so small that no checkpoint is due.
    context.conversation_history.append(Message("user", f"{number} {Random(number).randbytes(250).hex()}"))


async def tail_of(store: SessionStore, whole: SwisperContext, count: int) -> SwisperContext:
    found = await store.load_session(whole.session_id, tail=count)
    assert found is not None
    assert len(found.conversation_history) == LENGTH + 1
    return found


async def test_the_last_records_are_there_and_the_length_is_exact(store: SessionStore) -> None:
    whole = await long_session(store)
    context = await tail_of(store, whole, 20)
    assert context.conversation_history[-20:] == whole.conversation_history[-20:]
    assert context.conversation_history[-1].content == whole.conversation_history[LENGTH].content
    assert context.product_query == "fridge"


async def test_all_is_loaded_where_a_frame_edits_an_early_record(store: SessionStore) -> None:
    whole = await long_session(store)
    history = whole.conversation_history
    history[0] = history[0].replace(content="corrected")
    await store.save_session(whole)
    context = await tail_of(store, whole, 20)
    assert context.conversation_history == history
    await store.append_record(whole.session_id, "pipeline_executions", PipelineExecution(pipeline_name="search"))
    assert [each.pipeline_name for each in (await tail_of(store, whole, 1)).pipeline_executions] == ["search"]


NEEDS_ALL: list[Callable[[RecordList[Message]], object]] = [
    lambda history: history[0],
    lambda history: next(iter(history)),
    lambda history: history[:],
    lambda history: history.index(Message("nobody")),
    lambda history: Message("nobody") in history,
    lambda history: history.select("role"),
    lambda history: history.to_dicts(),
    lambda history: history.reverse(),
    lambda history: history.pop(0),
    # From the end on, where records are there, to those that are not.
    lambda history: history.__delitem__(slice(None, None, -250)),
    lambda history: history.__setitem__(slice(None, None, -250), [Message("user", "x")] * 5),
]


@pytest.mark.parametrize("operation", NEEDS_ALL)
async def test_what_needs_the_others_says_so_and_changes_nothing(
    store: SessionStore, operation: Callable[[RecordList[Message]], object]
) -> None:
    whole = await long_session(store)
    context = await tail_of(store, whole, 5)
    with pytest.raises(NotLoadedError, match="load_history"):
        operation(context.conversation_history)
    await store.save_session(context)
    assert context.version == whole.version
    await context.load_history()
    assert serialize_context(context) == serialize_context(whole)


async def test_turns_and_checkpoints_need_no_more_than_the_tail(store: SessionStore) -> None:
    whole = await long_session(store)
    context = await tail_of(store, whole, 5)
    for number in range(LENGTH + 1, LENGTH + 400):
        say(context, number)
        if number % 2:
            await store.save_session(context)
    await store.save_session(context)
    await store._checkpointer.settle()
    with pytest.raises(NotLoadedError):
        context.conversation_history[0]
    found = await store.load_session(whole.session_id)
    assert found is not None
    assert len(found.conversation_history) == LENGTH + 400
    assert found.conversation_history[0] == whole.conversation_history[0]
    stored = await store.read(whole.session_id)
    assert stored is not None
    assert stored.head is not None
    assert stored.head.base > whole.version
    await context.load_history()
    assert serialize_context(context) == serialize_context(found)


async def test_history_that_was_deleted_meanwhile_is_a_conflict(store: SessionStore) -> None:
    whole = await long_session(store)
    context = await tail_of(store, whole, 5)
    await store.delete_session(whole.session_id)
    with pytest.raises(ConflictError, match="rewritten"):
        await context.load_history()


@pytest.mark.parametrize("tail", [-1, 2**63])
async def test_a_tail_that_no_list_has_is_refused(store: SessionStore, tail: int) -> None:
    with pytest.raises(ValueError, match="tail"):
        await store.load_session("s", tail=tail)


async def test_a_whole_load_has_nothing_to_fetch(store: SessionStore) -> None:
    whole = await long_session(store)
    before = serialize_context(whole)
    await whole.load_history()
    assert serialize_context(whole) == before
