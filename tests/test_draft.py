"""Answers that come in pieces: one record at the end, whatever ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import pytest

from swisper_ctx import EncodeError, Message, SwisperContext
from swisper_ctx.stores.memory import MemorySessionStore


def broken_off(context: SwisperContext, text: str, error: BaseException, **fields: Any) -> None:
    """A draft whose block raises after this text."""
    with context.draft("assistant", **fields) as draft:
        draft.write(text)
        raise error


def test_it_is_one_record_at_the_end() -> None:
    context = SwisperContext()
    before = datetime.now(UTC)
    with context.draft("assistant", name="bot", metadata={"model": "m"}) as draft:
        assert draft.text == ""
        for piece in ("Two ", "fridges", " 🧊"):
            draft.write(piece)
        assert draft.text == "Two fridges 🧊"
        assert len(context.conversation_history) == 0
        draft.write(".")
    (message,) = context.conversation_history
    assert (message.role, message.content, message.name) == ("assistant", "Two fridges 🧊.", "bot")
    assert (message.metadata, message.message_id) == ({"model": "m"}, draft.message_id)
    assert message.timestamp is not None
    assert before <= message.timestamp <= datetime.now(UTC)


def test_an_empty_one_that_ends_well_is_a_record_too() -> None:
    context = SwisperContext()
    with context.draft("assistant", tool_calls=[{"id": "c"}]):
        pass
    assert context.chat() == [{"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]}]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("metadata", [None, {"model": "m"}])
def test_an_exception_leaves_a_partial_record_and_goes_on(
    kind: type[BaseException], metadata: dict[str, str] | None
) -> None:
    context = SwisperContext()
    with pytest.raises(kind):
        broken_off(context, "Two fri", kind(), metadata=metadata)
    (message,) = context.conversation_history
    assert (message.content, message.metadata) == ("Two fri", {**(metadata or {}), "partial": True})
    assert metadata in (None, {"model": "m"})


def test_an_exception_before_anything_was_written_leaves_nothing() -> None:
    context = SwisperContext()
    with pytest.raises(ZeroDivisionError):
        broken_off(context, "", ZeroDivisionError())
    assert len(context.conversation_history) == 0


def test_what_a_message_cannot_hold_is_refused_at_once() -> None:
    context = SwisperContext()
    with pytest.raises(EncodeError):
        context.draft("assistant", metadata={"a": {1, 2}})
    with context.draft("assistant") as draft:
        draft.write("a")
        with pytest.raises(EncodeError):
            draft.write("\ud800")
        with pytest.raises(TypeError, match="a str was expected, not NoneType"):
            draft.write(None)  # type: ignore[arg-type]
        draft.write("b")
    assert context.conversation_history[0].content == "ab"


def test_a_record_that_grew_too_large_does_not_hide_what_ended_the_block() -> None:
    context = SwisperContext()
    with pytest.raises(asyncio.CancelledError) as caught:
        broken_off(context, "x" * (16 * 1024 * 1024 + 1), asyncio.CancelledError())
    assert "the draft was lost" in caught.value.__notes__[0]
    with pytest.raises(EncodeError, match="16 MiB"), context.draft("assistant") as draft:
        draft.write("x" * (16 * 1024 * 1024 + 1))
    assert len(context.conversation_history) == 0


def test_it_is_written_to_in_its_block_and_used_once() -> None:
    draft = SwisperContext().draft("assistant")
    with pytest.raises(ValueError, match="inside its with block"):
        draft.write("a")
    with draft:
        pass
    with pytest.raises(ValueError, match="inside its with block"):
        draft.write("a")
    with pytest.raises(ValueError, match="used once"), draft:
        pass


def test_messages_that_come_meanwhile_stand_before_it() -> None:
    context = SwisperContext()
    with context.draft("assistant") as draft:
        draft.write("a")
        context.conversation_history.append(Message("user", "wait"))
    assert [message.role for message in context.conversation_history] == ["user", "assistant"]


async def answer(context: SwisperContext, store: MemorySessionStore) -> AsyncGenerator[str]:
    """A stream as an application writes it: the save at the end is handed over before its first await."""
    try:
        with context.draft("assistant") as draft:
            for piece in ("one ", "two ", "three"):
                draft.write(piece)
                yield piece
                await asyncio.sleep(0)
    finally:
        await store.save_session(context)


async def saved(store: MemorySessionStore, context: SwisperContext) -> list[tuple[object, object]]:
    await store._committer.drain()
    found = await store.load_session(context.session_id)
    assert found is not None
    return [(message.content, message.metadata) for message in found.conversation_history]


async def test_a_task_that_is_cancelled_while_it_streams_has_saved_what_came() -> None:
    store, context = MemorySessionStore(), SwisperContext(user_id="u")
    await store.save_session(context)
    came = asyncio.Event()

    async def stream() -> None:
        async for _ in answer(context, store):
            came.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stream())
    await came.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)  # the event loop closes the generator that was left behind
    assert await saved(store, context) == [("one ", {"partial": True})]


async def test_a_generator_that_is_closed_has_saved_what_came() -> None:
    store, context = MemorySessionStore(), SwisperContext(user_id="u")
    await store.save_session(context)
    stream = answer(context, store)
    assert [await anext(stream), await anext(stream)] == ["one ", "two "]
    await stream.aclose()
    assert await saved(store, context) == [("one two ", {"partial": True})]
