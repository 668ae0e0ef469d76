"""Contexts on stores: saving what changed, conflicts, cancelled callers, damaged bytes. The same for every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from swisper_ctx import (
    ConflictError,
    CorruptSessionError,
    EncodeError,
    Message,
    OutcomeUnknownError,
    PipelineExecution,
    PipelineSessionManager,
    RecordList,
    SessionNotFoundError,
    StoreError,
    StoreUnavailableError,
    SwisperContext,
    field,
    serialize_context,
)
from swisper_ctx.log import Change, CommitResult
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.committer import Answered
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.registry import open_store
from swisper_ctx.testing import FaultyStore, ManualClock, fails
from swisper_ctx.testing.clock import DAY


@pytest.fixture(params=["memory", "sqlite", "shelve"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SessionStore]:
    url = "memory://" if request.param == "memory" else f"{request.param}:///{tmp_path}/sessions"
    made = open_store(url)
    yield made
    await made.aclose()


async def new_context(store: SessionStore, **fields: Any) -> SwisperContext:
    context = SwisperContext(user_id="u", **fields)
    await store.save_session(context)
    return context


async def stored(store: SessionStore, session_id: str) -> dict[str, Any]:
    context = await store.load_session(session_id)
    assert context is not None
    return serialize_context(context)


def say(context: SwisperContext, text: str) -> None:
    context.conversation_history.append(Message(role="user", content=text))


async def test_a_saved_session_comes_back_as_it_was(store: SessionStore) -> None:
    context = await new_context(store, product_query="fridge", soft_preferences={"noise": [1, 1.0, True, None, 10**40]})
    say(context, "a quiet one \0 under 900 francs: Zürich 🧊")
    context.metadata["deep"] = {"a": {"b": []}}
    await store.save_session(context)
    assert context.version == 2
    assert await stored(store, context.session_id) == serialize_context(context)


async def test_nothing_changed_is_nothing_written(store: SessionStore) -> None:
    context = await new_context(store)
    assert list(context.buffer_store) == []
    await store.save_session(context)
    loaded = await store.load_session(context.session_id)
    assert loaded is not None
    assert len(loaded.conversation_history) == 0
    await store.save_session(loaded)
    assert (context.version, loaded.version) == (1, 1)


async def test_a_user_sees_only_sessions_of_his_own(store: SessionStore) -> None:
    context = await new_context(store)
    assert await store.load_session(context.session_id, user_id="u") is not None
    assert await store.load_session(context.session_id, user_id="other") is None
    assert await store.load_session("none") is None


async def test_creating_a_session_twice_is_a_conflict(store: SessionStore) -> None:
    await new_context(store, session_id="s")
    with pytest.raises(ConflictError, match="exists already"):
        await new_context(store, session_id="s")


async def test_a_deleted_session_takes_no_more_saves(store: SessionStore) -> None:
    context = await new_context(store)
    assert await store.delete_session(context.session_id)
    assert not await store.delete_session(context.session_id)
    say(context, "late")
    with pytest.raises(ConflictError, match="gone"):
        await store.save_session(context)
    again = SwisperContext(session_id=context.session_id, user_id="u")
    await store.save_session(again)
    with pytest.raises(ConflictError, match="no longer kept"):
        await store.save_session(context)


async def test_saves_of_one_context_queue_and_each_has_what_was_there_when_it_was_called(store: SessionStore) -> None:
    context = await new_context(store)
    saves = []
    for number in range(20):
        say(context, str(number))
        context.metadata["last"] = number
        saves.append(asyncio.create_task(store.save_session(context)))
        await asyncio.sleep(0)
    say(context, "unsaved")
    await asyncio.gather(*saves)
    loaded = await store.load_session(context.session_id)
    assert loaded is not None
    assert [m.content for m in loaded.conversation_history] == [str(n) for n in range(20)]
    assert context.version == loaded.version == 21
    await store.save_session(context)
    assert (await stored(store, context.session_id))["conversation_history"][-1]["content"] == "unsaved"


async def test_a_failed_save_gives_back_its_edits_and_those_behind_it(store: SessionStore) -> None:
    context = await new_context(store)
    other = await store.load_session(context.session_id)
    assert other is not None
    other.product_query = "other"
    await store.save_session(other)
    say(context, "one")
    context.product_query = "ours"
    first = asyncio.create_task(store.save_session(context))
    await asyncio.sleep(0)
    say(context, "two")
    second = asyncio.create_task(store.save_session(context))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [ConflictError, ConflictError]
    assert [m.content for m in context.conversation_history] == ["one", "two"]
    fresh = SwisperContext(user_id="u")
    fresh.conversation_history.extend(context.conversation_history)
    await store.save_session(fresh)
    assert len((await stored(store, fresh.session_id))["conversation_history"]) == 2


async def test_a_value_that_json_cannot_hold_leaves_the_context_usable(store: SessionStore) -> None:
    context = await new_context(store)
    say(context, "kept")
    context.metadata["bad"] = {"when": (1, 2)}
    with pytest.raises(EncodeError) as caught:
        await store.save_session(context)
    assert caught.value.pointer == "/metadata/bad/when"
    context.metadata["bad"] = [1, 2]
    await store.save_session(context)
    assert await stored(store, context.session_id) == serialize_context(context)


async def test_a_cancelled_caller_does_not_cancel_the_write(store: SessionStore) -> None:
    """Cancelled after every number of steps of the event loop that a save takes; on a slow disk these are many."""
    context = await new_context(store)
    cancelled = 0
    for turn, steps in enumerate([*range(100), *(2**n for n in range(7, 20))]):
        say(context, f"message {turn}")
        before = context.version
        save = asyncio.create_task(store.save_session(context))
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = save.done()
        save.cancel()
        await asyncio.gather(save, return_exceptions=True)
        cancelled += not finished
        await store._committer.drain()
        assert context.version == before + (steps > 0), "it began when it was called, or never did"
        await store.save_session(context)
        assert await stored(store, context.session_id) == serialize_context(context)
        if finished:
            break
    assert finished
    assert cancelled > 1
    contents = [m["content"] for m in (await stored(store, context.session_id))["conversation_history"]]
    assert contents == [f"message {n}" for n in range(turn + 1)]


async def test_one_record_is_appended_without_loading_also_beside_other_writers(store: SessionStore) -> None:
    context = await new_context(store)
    executions = [PipelineExecution(pipeline_name=f"p{n}") for n in range(8)]
    await asyncio.gather(*(store.append_record(context.session_id, "pipeline_executions", e) for e in executions))
    loaded = await store.load_session(context.session_id)
    assert loaded is not None
    assert {e.pipeline_name for e in loaded.pipeline_executions} == {f"p{n}" for n in range(8)}
    with pytest.raises(SessionNotFoundError):
        await store.append_record("none", "pipeline_executions", executions[0])


async def test_names_that_no_store_takes_are_refused(store: SessionStore) -> None:
    sessions: PipelineSessionManager[SwisperContext] = PipelineSessionManager(store)
    wrong: list[Any] = ["x" * 256, "é" * 128, "a\0b", "\ud800", 5, b"s"]
    for name in wrong:
        with pytest.raises(StoreError, match="session_id"):
            await sessions.create_session(user_id="u", session_id=name)
        with pytest.raises(StoreError, match="user_id"):
            await sessions.create_session(user_id=name)
    with pytest.raises(StoreError, match="user_id"):
        await sessions.create_session(user_id=None)  # type: ignore[arg-type]
    context = await new_context(store)
    say(context, "x")
    for name in ("", *wrong):
        with pytest.raises(StoreError, match="change_id"):
            await store.save_session(context, change_id=name)
    for kind in ("é" * 127, "x" * 255):
        await sessions.create_session(user_id=kind, session_id=kind)
        assert await sessions.load_session_context(kind, user_id=kind) is not None
    await store.save_session(context, change_id="job-7")
    say(context, "y")
    with pytest.raises(ConflictError, match="change_id"):
        await store.save_session(context, change_id="job-7")


class Shop(SwisperContext):
    cart: list[str] = field(default_factory=list)
    notes: RecordList[Message] = field(default_factory=lambda: RecordList(Message))


async def test_fields_that_a_class_does_not_know_survive_its_saves(store: SessionStore) -> None:
    shop = Shop(user_id="u", cart=["milk"])
    shop.notes.append(Message(role="note", content="n"))
    await store.save_session(shop)
    plain = await store.load_session(shop.session_id)
    assert plain is not None
    say(plain, "hello")
    await store.save_session(plain)
    again = await store.load_session(shop.session_id, context_class=Shop)
    assert again is not None
    assert (again.cart, [n.content for n in again.notes]) == (["milk"], ["n"])
    again.notes.append(Message(role="note", content="more"))
    await store.save_session(again)
    assert len((await stored(store, shop.session_id))["notes"]) == 2


async def test_a_field_declared_later_is_added_when_it_is_used(store: SessionStore) -> None:
    plain = await new_context(store)
    shop = await store.load_session(plain.session_id, context_class=Shop)
    assert shop is not None
    assert shop.cart == []
    shop.cart.append("milk")
    shop.notes.append(Message(role="note", content="n"))
    await store.save_session(shop)
    again = await store.load_session(plain.session_id, context_class=Shop)
    assert again is not None
    assert serialize_context(again) == serialize_context(shop)


async def test_damaged_bytes_name_their_session_and_hurt_no_other(tmp_path: Path) -> None:
    store = MemorySessionStore()
    good, bad = await new_context(store), await new_context(store)
    for context in (good, bad):
        say(context, "x")
        await store.save_session(context)
    read = store.read

    async def damaged(session_id: str, **options: Any) -> Any:
        found = await read(session_id, **options)
        if found is None or session_id == good.session_id:
            return found
        last = found.frames[-1]
        assert last.body is not None
        return found._replace(frames=(*found.frames[:-1], last._replace(body=last.body[:-1] + b"?")))

    store.read = damaged  # type: ignore[method-assign]
    with pytest.raises(CorruptSessionError, match="frame 2") as caught:
        await store.load_session(bad.session_id)
    assert caught.value.session_id == bad.session_id
    assert await store.load_session(good.session_id) is not None


async def test_a_save_on_a_closed_store_raises_and_keeps_the_edits(store: SessionStore) -> None:
    context = await new_context(store)
    say(context, "saved")
    await store.save_session(context)
    await store.aclose()
    for _ in range(2):
        say(context, "unsaved")
        with pytest.raises(StoreError):
            await store.save_session(context)
    assert context.version == 2
    assert [m.content for m in context.conversation_history] == ["saved", "unsaved", "unsaved"]
    another = MemorySessionStore()
    fresh = SwisperContext(user_id="u", conversation_history=context.conversation_history)
    await another.save_session(fresh)
    assert len((await stored(another, fresh.session_id))["conversation_history"]) == 3


@pytest.mark.parametrize("later", [StoreError("closed"), ConflictError("overlap")])
async def test_what_becomes_of_a_lost_answer_is_told_to_the_next_save_also_at_once(later: StoreError) -> None:
    class Breaking(MemorySessionStore):
        broken: Exception | None = None

        def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
            if self.broken is not None:
                raise self.broken
            super().begin_commit(changes, answered)

    store = Breaking()
    context = await new_context(store)
    say(context, "x")
    store.broken = OutcomeUnknownError("lost")
    with pytest.raises(OutcomeUnknownError):
        await store.save_session(context)
    store.broken = later
    with pytest.raises(type(later)):
        await store.save_session(context)
    store.broken = None
    await store.save_session(context)
    assert await stored(store, context.session_id) == serialize_context(context)
    assert context.version == 2


@pytest.mark.parametrize("error", [StoreUnavailableError("down"), ValueError("a defect of the driver")])
async def test_a_failing_store_stops_no_queue(error: Exception) -> None:
    store = FaultyStore(MemorySessionStore())
    contexts = [await new_context(store) for _ in range(3)]
    for context in contexts:
        say(context, "x")
    # The first goes alone, the others together.
    store.inject("commit", fails(error), fails(error))
    results = await asyncio.gather(*map(store.save_session, contexts), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailableError) for result in results)
    await asyncio.gather(*map(store.save_session, contexts))
    for context in contexts:
        assert await stored(store, context.session_id) == serialize_context(context)


async def test_a_change_that_cannot_be_made_fails_alone() -> None:
    class Picky(FaultyStore):
        async def commit(self, changes: Any) -> list[CommitResult]:
            results = await super().commit([c for c in changes if c.session_id != "bad"])
            return [CommitResult(None, StoreError("no")) if c.session_id == "bad" else results.pop(0) for c in changes]

    store = Picky(MemorySessionStore())
    results = await asyncio.gather(
        *(new_context(store, session_id=name) for name in ("a", "bad", "b")), return_exceptions=True
    )
    assert isinstance(results[1], StoreError)
    assert await store.load_session("a") is not None
    assert await store.load_session("b") is not None


async def test_each_group_has_one_change_of_a_session() -> None:
    groups: list[list[str]] = []

    class Watched(FaultyStore):
        async def commit(self, changes: Any) -> list[CommitResult]:
            groups.append([change.session_id for change in changes])
            await asyncio.sleep(0)
            return await super().commit(changes)

    store = Watched(MemorySessionStore())
    contexts = [await new_context(store, session_id=name) for name in "abc"]
    groups.clear()
    saves = []
    for _ in range(4):
        for context in contexts:
            say(context, "x")
            saves.append(asyncio.create_task(store.save_session(context)))
        await asyncio.sleep(0)
    await asyncio.gather(*saves)
    assert all(len(group) == len(set(group)) for group in groups)
    assert max(map(len, groups)) == 3
    assert len(groups) <= 5


def test_another_event_loop_may_follow_but_not_join() -> None:
    store = MemorySessionStore()
    context = asyncio.run(new_context(store))
    say(context, "x")
    asyncio.run(store.save_session(context))
    assert context.version == 2


async def test_each_version_has_a_frame_and_a_token_of_its_own(store: SessionStore) -> None:
    context = await new_context(store)
    for number in range(3):
        say(context, str(number))
        await store.save_session(context)
    frames = await store.frames(context.session_id)
    assert [frame.version for frame in frames] == [1, 2, 3, 4]
    assert len({frame.token for frame in frames}) == 4


async def test_the_change_ids_that_a_context_has_written_are_remembered_for_a_day() -> None:
    clock = ManualClock()
    store = MemorySessionStore(clock=clock)
    context = SwisperContext(session_id="s", user_id="u")
    await store.save_session(context, change_id="first")
    written = context._position.written
    for number in range(100):
        clock.advance(DAY // 24)
        context.metadata["turn"] = number
        await store.save_session(context, change_id=f"turn-{number}")
    assert context._position.written is written, "a copy for each save would cost more with each"
    assert list(written or ()) == [f"turn-{number}" for number in range(75, 100)]


async def test_a_copy_of_a_context_has_written_no_more_than_the_context_had() -> None:
    store = MemorySessionStore()
    context = SwisperContext(session_id="s", user_id="u")
    await store.save_session(context, change_id="first")
    copy = SwisperContext._at(context._position.copy())
    context.product_query = "fridge"
    await store.save_session(context, change_id="second")
    copy.product_query = "fridge, delivered again"
    await store.save_session(copy, change_id="second")
    assert (copy.product_query, copy.version) == ("fridge", 2)
    copy.product_query = "stove"
    with pytest.raises(ConflictError, match="change_id"):
        await store.save_session(copy, change_id="first")
