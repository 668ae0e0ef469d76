"""A copy of a context stands at the same place of the log, with unsaved edits of its own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.edits import edit
from tests.replay import Follower
from tests.stores.test_tail import LENGTH, long_session, tail_of
from tests.values import identical, objects

from swisper_ctx import (
    ConflictError,
    ContextError,
    EncodeError,
    MemorySessionStore,
    Message,
    NotLoadedError,
    Patch,
    SwisperContext,
    apply_patch,
    deserialize_context,
    serialize_context,
)

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
both = pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
Copied = Callable[[Any], Any]


class Visit(SwisperContext):
    seen_at: datetime | None = None


async def saved(store: MemorySessionStore, **fields: Any) -> Visit:
    context = Visit(user_id="u", **fields)
    await store.save_session(context)
    return context


async def stored(store: MemorySessionStore, session_id: str) -> dict[str, Any]:
    found = await store.load_session(session_id, context_class=Visit)
    assert found is not None
    return serialize_context(found)


@both
async def test_edits_of_one_are_not_edits_of_the_other(copied: Copied) -> None:
    store = MemorySessionStore()
    context = await saved(store, metadata={"a": {"b": [1]}}, seen_at=NOON)
    context.metadata["a"]["b"].append(2)
    context.conversation_history.append(Message("user", "unsaved"))
    before = serialize_context(context)
    other = copied(context)
    assert type(other) is Visit
    assert other.etag == context.etag
    assert identical(serialize_context(other), before)
    other.metadata["a"]["b"].append(3)
    other.seen_at = None
    other.conversation_history.clear()
    assert identical(serialize_context(context), before)
    context.metadata.clear()
    assert other.metadata == {"a": {"b": [1, 2, 3]}}


@both
async def test_both_are_saved_like_contexts_of_two_processes(copied: Copied) -> None:
    store = MemorySessionStore()
    context = await saved(store)
    context.product_query = "fridge"
    other = copied(context)
    await store.save_session(context)
    other.product_query = "oven"
    with pytest.raises(ConflictError):
        await store.save_session(other)
    other = copied(context)
    other.conversation_history.append(Message("user", "from the copy"))
    context.conversation_history.append(Message("user", "from the other"))
    await store.save_session(context)
    await store.save_session(other)
    assert [message.content for message in other.conversation_history] == ["from the other", "from the copy"]
    assert await stored(store, context.session_id) == serialize_context(other)


@given(start=objects, data=st.data())
def test_a_copy_saves_what_the_original_would_have_saved(start: dict[str, Any], data: st.DataObject) -> None:
    messages = [{"message_id": str(number)} for number in range(4)]
    context = SwisperContext(metadata=start, conversation_history=messages)  # type: ignore[arg-type]
    follower = Follower(context)
    if data.draw(st.booleans()):
        follower.follow()
    edit(context.metadata, data)
    records = [message.to_dict() for message in context.conversation_history]
    for _ in range(data.draw(st.integers(0, 3))):
        edit_records(records, data)
        context.conversation_history[:] = records
    other = copy.copy(context)
    text, wanted = follower.text, serialize_context(context)
    follower.follow()
    follower.context, follower.text = other, text
    follower.follow()
    assert identical(serialize_context(other), wanted)


def edit_records(records: list[dict[str, Any]], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(records)))
    records[at : at + data.draw(st.integers(0, 2))] = data.draw(st.lists(objects, max_size=2))


@both
async def test_one_that_was_never_saved_is_one_session_still(copied: Copied) -> None:
    store = MemorySessionStore()
    context = deserialize_context({"user_id": "u", "not_declared": [1], "metadata": {"a": 1}})
    other = copied(context)
    assert (other.session_id, other.user_id, other.etag) == (context.session_id, "u", None)
    await store.save_session(other)
    assert (await stored(store, other.session_id))["not_declared"] == [1]
    with pytest.raises(ConflictError) as caught:
        await store.save_session(context)
    assert caught.value.reason == "exists"


@both
async def test_while_a_save_is_on_its_way_there_is_no_place_to_stand_at(copied: Copied) -> None:
    store = MemorySessionStore()
    context = await saved(store)
    context.product_query = "fridge"
    saving = store.save_session(context)
    saving.send(None)
    with pytest.raises(ContextError, match="on its way"):
        copied(context)
    saving.close()


@both
async def test_records_left_in_the_store_are_fetched_by_each(copied: Copied) -> None:
    store = MemorySessionStore()
    whole = await long_session(store)
    context = await tail_of(store, whole, 10)
    context.conversation_history.append(Message("user", "unsaved"))
    other = copied(context)
    with pytest.raises(NotLoadedError):
        _ = other.conversation_history[0]
    await other.load_history()
    assert other.conversation_history[0] == whole.conversation_history[0]
    assert len(other.conversation_history) == LENGTH + 2
    await context.load_history()
    await store.save_session(other)
    assert (await stored(store, whole.session_id))["conversation_history"][-1]["content"] == "unsaved"


@both
def test_what_cannot_be_saved_cannot_be_copied(copied: Copied) -> None:
    with pytest.raises(EncodeError, match="at /metadata/a"):
        copied(SwisperContext(metadata={"a": {1}}))


async def test_a_pydantic_model_is_copied_with_its_contexts() -> None:
    class Turn(BaseModel):
        context: Visit

    turn = Turn(context=await saved(MemorySessionStore(), metadata={"a": 1}))
    other = turn.model_copy(deep=True)
    other.context.metadata["a"] = 2
    assert turn.context.metadata == {"a": 1}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_with_what_to_do_instead(protocol: int) -> None:
    with pytest.raises(TypeError, match="cannot be pickled: load the session"):
        pickle.dumps(SwisperContext(), protocol)


async def test_fields_that_no_class_declares_are_patched_and_shown_as_they_are_stored() -> None:
    store = MemorySessionStore()
    patch = Patch([{"op": "replace", "path": "/own", "value": 2}])
    context = apply_patch(deserialize_context({"own": 1}, Visit), patch)
    await store.save_session(context)
    assert (await stored(store, context.session_id))["own"] == 2
    theirs = await store.load_session(context.session_id, context_class=Visit)
    assert theirs is not None
    await store.save_session(apply_patch(theirs, Patch([{"op": "replace", "path": "/own", "value": 3}])))
    await store.refresh(context)
    assert serialize_context(context)["own"] == 3


class Served(SwisperContext):
    """Has things that are not saved."""

    __slots__ = ("__secret", "client", "unset")

    @property
    def secret(self: Any) -> list[int]:
        secret: list[int] = self.__secret
        return secret

    @secret.setter
    def secret(self: Any, secret: list[int]) -> None:
        self.__secret = secret


@both
async def test_slots_come_along(copied: Copied) -> None:
    context: Any = Served(user_id="u", metadata={"n": 1})
    context.client = context.secret = [1]
    other = copied(context)
    assert (other.client, other.secret, other.metadata) == ([1], [1], {"n": 1})
    assert other.client is other.secret
    assert (other.client is context.client) == (copied is copy.copy)
    assert not hasattr(other, "unset")
