"""Answers to saves that come late: after the session was deleted, or shown with more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest

from swisper_ctx import Message, SessionCache, SwisperContext
from swisper_ctx.errors import OutcomeUnknownError, StoreError
from swisper_ctx.log import Change
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.committer import Answered
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.faults import Call, Hang, loses


@pytest.fixture
def truth() -> MemorySessionStore:
    return MemorySessionStore()


@pytest.fixture
def cache(truth: MemorySessionStore) -> SessionCache:
    return SessionCache(truth)


async def say(store: SessionStore, context: SwisperContext, text: str) -> None:
    context.conversation_history.append(Message("user", text))
    await store.save_session(context)


async def saved(store: SessionStore) -> SwisperContext:
    context = SwisperContext(session_id="s", user_id="u")
    await say(store, context, "first")
    return context


async def texts(store: SessionStore, *, strict: bool = False) -> list[object]:
    context = await store.load_session("s", strict=strict)
    assert context is not None
    return [message.content for message in context.conversation_history]


async def save_around(
    cache: SessionCache, truth: MemorySessionStore, context: SwisperContext, meanwhile: Callable[[], Awaitable[object]]
) -> None:
    """Save a context; `meanwhile` is done after the store has written it and before it answers."""
    begin, written = truth.begin_commit, asyncio.get_running_loop().create_future()

    def begin_commit(changes: Sequence[Change], answered: Answered) -> None:
        begin(changes, lambda *answer: written.set_result(partial(answered, *answer)))

    truth.begin_commit = begin_commit  # type: ignore[method-assign]
    turn = asyncio.ensure_future(say(cache, context, "answered late"))
    give_answer = await written
    del truth.begin_commit
    await meanwhile()
    give_answer()
    await turn


async def test_a_deleted_session_is_not_brought_back(cache: SessionCache, truth: MemorySessionStore) -> None:
    await save_around(cache, truth, await saved(cache), lambda: cache.delete_session("s"))
    assert "s" not in cache.memory_cache
    assert await cache.load_session("s") is None


async def test_a_session_to_be_forgotten_is_not_remembered(cache: SessionCache, truth: MemorySessionStore) -> None:
    async def forget() -> None:
        cache.invalidate("s")

    await save_around(cache, truth, await saved(cache), forget)
    assert "s" not in cache.memory_cache


async def test_what_was_read_meanwhile_stays(cache: SessionCache, truth: MemorySessionStore) -> None:
    seen = list[object]()

    async def read() -> None:
        other = await truth.load_session("s")
        assert other is not None
        await say(truth, other, "from elsewhere")
        seen.extend(await texts(cache, strict=True))

    await save_around(cache, truth, await saved(cache), read)
    assert await texts(cache) == seen == ["first", "answered late", "from elsewhere"]


async def test_a_change_found_written_brings_nothing_back(truth: MemorySessionStore) -> None:
    watched = FaultyStore(truth)
    cache = SessionCache(watched)
    context = await saved(cache)
    watched.inject("commit", loses())
    with pytest.raises(OutcomeUnknownError):
        await say(cache, context, "its answer is lost")
    hang = Hang()

    async def late(call: Call) -> object:
        found = await call()
        await hang(partial(asyncio.sleep, 0))
        return found

    watched.inject("read", late)
    again = asyncio.ensure_future(cache.save_session(context))
    await hang.reached.wait()
    await cache.delete_session("s")
    hang.release()
    await again
    assert "s" not in cache.memory_cache


async def test_nothing_is_kept_of_a_group_that_was_answered_or_did_not_begin(
    cache: SessionCache, truth: MemorySessionStore
) -> None:
    await saved(cache)
    await asyncio.sleep(0)
    assert cache._sent == {}
    await truth.aclose()
    with pytest.raises(StoreError):
        await saved(cache)
    assert cache._sent == {}
