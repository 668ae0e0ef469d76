"""Two writers of one session: what merges, and what is a conflict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from swisper_ctx._core import Message, PipelineExecution
from swisper_ctx.context import SwisperContext, serialize_context
from swisper_ctx.errors import ConflictError, InvalidTransitionError, SessionNotFoundError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import folded

Edit = Callable[[SwisperContext], object]

TIME = datetime(2026, 1, 1, tzinfo=UTC)
CALL: dict[str, Any] = {"tool_calls": [{"id": "c1", "type": "function"}]}
ALLOWED = {"idle": ["searching", "buying"], "searching": ["buying"]}


def says(content: str, **more: Any) -> Edit:
    """Append a message of this id and content."""
    more = {"role": "user", **more}
    return lambda context: context.conversation_history.append(
        Message(content=content, message_id=content, timestamp=TIME, **more)
    )


def inserts(context: SwisperContext) -> None:
    """Put a message before all others."""
    context.conversation_history.insert(0, Message("user", "first"))


def rewords(index: int) -> Edit:
    """Change the content of a message."""

    def edit(context: SwisperContext) -> None:
        context.conversation_history[index] = context.conversation_history[index].replace(content="reworded")

    return edit


def forgets(context: SwisperContext) -> None:
    """Delete the third message."""
    del context.conversation_history[2]


def puts(field: str, key: str, value: Any) -> Edit:
    """Set a key of a dict."""
    return lambda context: getattr(context, field).update({key: value})


def counts(context: SwisperContext) -> None:
    """Add one to a counter."""
    context.performance_metrics["turns"] += 1


def goes(state: str) -> Edit:
    """Change the state, as the table allows it."""
    return lambda context: context.transition_to(state, ALLOWED)


def asks(query: str) -> Edit:
    """Set a field of text."""
    return lambda context: setattr(context, "product_query", query)


def withdraws(context: SwisperContext) -> None:
    """Take back a consent."""
    context.consent_status["memory"] = False


MERGING = {
    "two messages": (says("a"), says("b")),
    "a message and a field": (says("a"), asks("b")),
    "keys that look like indexes": (puts("metadata", "-", 1), puts("metadata", "0", 2)),
    "keys of a small dict": (puts("performance_metrics", "a", 1), puts("performance_metrics", "b", 2)),
    "constraints": (lambda c: c.hard_constraints.append("a"), lambda c: c.hard_constraints.append("b")),
    "an edit and another list": (rewords(3), lambda c: c.pipeline_executions.append(PipelineExecution("p"))),
    "a removal and a state": (forgets, goes("buying")),
}

CONFLICTING = {
    "equal counters": (counts, counts, "overlap", "/performance_metrics/turns"),
    "one key": (puts("metadata", "-", 1), puts("metadata", "-", 2), "overlap", "/metadata/-"),
    "an insertion and an edit": (inserts, rewords(3), "overlap", "/conversation_history"),
    "an edit and a message": (rewords(0), says("b"), "overlap", "/conversation_history"),
    "consent and a message": (withdraws, says("b"), "barrier", "/consent_status"),
    "a message and consent": (says("a"), withdraws, "barrier", "/consent_status"),
    "retention and a field": (
        lambda c: setattr(c, "data_retention_policy", "none"),
        asks("b"),
        "barrier",
        "/data_retention_policy",
    ),
    "two transitions": (goes("searching"), goes("buying"), "overlap", "/current_state"),
    "a message inside a call": (says("a", role="assistant", **CALL), says("b"), "tool_calls", "/conversation_history"),
}


async def begun(store: SessionStore) -> SwisperContext:
    """A session of five messages and some more, saved."""
    context = SwisperContext(session_id="s", user_id="u", performance_metrics={"turns": 7, "ms": 1.5})
    context.consent_status, context.metadata = {"memory": True}, {"about": {"x": [1]}}
    context.hard_constraints = ["quiet"]
    for number in range(5):
        says(str(number))(context)
    await store.save_session(context)
    return context


async def loaded(store: SessionStore, tail: int | None = None) -> SwisperContext:
    """The session of `begun`, as it is now."""
    context = await store.load_session("s", tail=tail)
    assert context is not None
    return context


class MergeContract:
    """Two writers of one session: what merges, and what is a conflict."""

    @pytest.mark.parametrize("case", MERGING)
    async def test_both_changes_are_there(self, store: SessionStore, case: str) -> None:
        first, second = MERGING[case]
        ours = await begun(store)
        theirs = await loaded(store)
        expected = await loaded(store)
        containers = {name: getattr(ours, name) for name in ("conversation_history", "metadata", "hard_constraints")}
        for context in (theirs, expected):
            first(context)
        await store.save_session(theirs)
        for context in (ours, expected):
            second(context)
        await store.save_session(ours)
        assert ours.version == 3
        assert await self.shown(store) == serialize_context(ours)
        now, then = serialize_context(ours), serialize_context(expected)
        for name in ("updated_at", "version", "pipeline_executions"):
            del now[name], then[name]
        assert now == then
        assert all(getattr(ours, name) is container for name, container in containers.items())
        containers["conversation_history"].append(Message("user", "later"))
        await store.save_session(ours)
        assert await self.shown(store) == serialize_context(ours)

    async def shown(self, store: SessionStore) -> dict[str, Any]:
        return serialize_context(await loaded(store))

    @pytest.mark.parametrize("case", CONFLICTING)
    async def test_what_is_at_odds_is_a_conflict_and_changes_nothing(self, store: SessionStore, case: str) -> None:
        first, second, reason, path = CONFLICTING[case]
        ours = await begun(store)
        theirs = await loaded(store)
        first(theirs)
        await store.save_session(theirs)
        second(ours)
        edited = serialize_context(ours)
        for attempt in (store.save_session, store.refresh, store.save_session):
            with pytest.raises(ConflictError) as caught:
                await attempt(ours)
            error = caught.value
            assert (error.reason, error.paths) == (reason, (path,))
            assert (error.expected and error.expected.version, error.actual) == (1, theirs._position.etag)
            assert serialize_context(ours) == edited
        assert await self.shown(store) == serialize_context(theirs)

    async def test_a_conflict_is_done_again_by_update(self, store: SessionStore) -> None:
        await begun(store)

        async def count(context: SwisperContext) -> None:
            await asyncio.sleep(0)
            counts(context)

        updated = await asyncio.gather(*(store.update("s", count, attempts=50) for _ in range(10)))
        assert sorted(context.performance_metrics["turns"] for context in updated) == list(range(8, 18))
        assert (await loaded(store)).performance_metrics["turns"] == 17
        with pytest.raises(SessionNotFoundError):
            await store.update("none", count)
        with pytest.raises(SessionNotFoundError):
            await store.update("s", count, user_id="other")

    async def test_update_gives_up_with_the_last_conflict(self, store: SessionStore) -> None:
        await begun(store)
        calls = 0

        async def outrun(context: SwisperContext) -> None:
            nonlocal calls
            calls += 1
            await store.update("s", counts)
            counts(context)

        with pytest.raises(ConflictError) as caught:
            await store.update("s", outrun, attempts=3)
        assert (calls, caught.value.actual and caught.value.actual.version) == (3, 4)
        assert (await loaded(store)).performance_metrics["turns"] == 10

    async def test_an_illegal_transition_is_seen_when_the_change_is_made_again(self, store: SessionStore) -> None:
        await begun(store)
        waiting = [lambda: store.update("s", goes("buying"))]

        async def search(context: SwisperContext) -> None:
            while waiting:
                await waiting.pop()()
            context.transition_to("searching", ALLOWED)

        with pytest.raises(InvalidTransitionError):
            await store.update("s", search)
        assert (await loaded(store)).current_state == "buying"

    async def test_a_message_waits_for_the_end_of_the_call(self, store: SessionStore) -> None:
        ours = await begun(store)
        theirs = await loaded(store)
        says("call", role="assistant", **CALL)(theirs)
        await store.save_session(theirs)
        says("ours")(ours)
        with pytest.raises(ConflictError):
            await store.save_session(ours)
        says("answer", role="tool", tool_call_id="c1")(theirs)
        await store.save_session(theirs)
        await store.save_session(ours)
        assert [m.content for m in (await loaded(store)).conversation_history][5:] == ["call", "answer", "ours"]

    async def test_refresh_shows_theirs_under_what_is_unsaved(self, store: SessionStore) -> None:
        ours = await begun(store)
        history, about = ours.conversation_history, ours.metadata["about"]
        says("unsaved")(ours)
        theirs = await loaded(store)
        says("theirs")(theirs)
        theirs.metadata["about"]["y"] = 2
        theirs.product_query = "theirs"
        await store.save_session(theirs)
        await store.refresh(ours)
        assert [message.content for message in history][5:] == ["theirs", "unsaved"]
        assert (about, ours.product_query, ours.version) == ({"x": [1], "y": 2}, "theirs", 2)
        await store.refresh(ours)
        await store.save_session(ours)
        assert ours.version == 3
        assert await self.shown(store) == serialize_context(ours)
        await store.delete_session("s")
        for context in (ours, SwisperContext(session_id="s", user_id="u")):
            with pytest.raises(SessionNotFoundError):
                await store.refresh(context)

    async def test_saves_in_the_queue_merge_one_after_the_other(self, store: SessionStore) -> None:
        ours = await begun(store)
        theirs = await loaded(store)
        for number in range(3):
            says(f"theirs {number}")(theirs)
            await store.save_session(theirs)
        saves = []
        for number in range(4):
            says(f"ours {number}")(ours)
            ours.metadata["last"] = number
            saves.append(asyncio.ensure_future(store.save_session(ours)))
            await asyncio.sleep(0)
        says("unsaved")(ours)
        saves.append(asyncio.ensure_future(store.refresh(ours)))
        await asyncio.gather(*saves)
        assert ours.version == 8
        now = await loaded(store)
        expected = [f"theirs {n}" for n in range(3)] + [f"ours {n}" for n in range(4)]
        assert [m.content for m in now.conversation_history][5:] == expected
        assert [m.content for m in ours.conversation_history][5:] == [*expected, "unsaved"]
        for number in range(4):
            assert (await store.at_version("s", 5 + number)).metadata["last"] == number

    async def test_tasks_with_contexts_of_their_own_all_come_through(self, store: SessionStore) -> None:
        await begun(store)

        async def talk(name: int) -> None:
            context = await loaded(store)
            for number in range(10):
                says(f"{name} {number}")(context)
                await store.save_session(context)
                await asyncio.sleep(0)

        await asyncio.gather(*(talk(name) for name in range(5)))
        said = [str(m.message_id) for m in (await loaded(store)).conversation_history][5:]
        assert sorted(said) == sorted(f"{name} {number}" for name in range(5) for number in range(10))
        for name in range(5):
            own = [one for one in said if one.startswith(f"{name} ")]
            assert own == [f"{name} {number}" for number in range(10)]

    async def test_a_record_saved_alone_merges_and_leaves_the_edits(self, store: SessionStore) -> None:
        ours = await begun(store)
        theirs = await loaded(store)
        says("theirs")(theirs)
        theirs.pipeline_executions.append(PipelineExecution(pipeline_name="theirs"))
        await store.save_session(theirs)
        says("unsaved")(ours)
        await store.save_record(ours, "pipeline_executions", PipelineExecution(pipeline_name="ours"))
        now = await loaded(store)
        assert [run.pipeline_name for run in now.pipeline_executions] == ["theirs", "ours"]
        assert len(now.conversation_history) == 6
        await store.save_session(ours)
        assert await self.shown(store) == serialize_context(ours)

    async def test_a_cancelled_save_merges_all_the_same(self, store: SessionStore) -> None:
        """Cancelled after every number of steps of the event loop that a merge takes."""
        await begun(store)
        for steps in range(1_000):
            ours, theirs = await loaded(store), await loaded(store)
            says(f"theirs {steps}")(theirs)
            await store.save_session(theirs)
            says(f"ours {steps}")(ours)
            save = asyncio.ensure_future(store.save_session(ours))
            for _ in range(steps):
                await asyncio.sleep(0)
            finished = save.done()
            save.cancel()
            await asyncio.gather(save, return_exceptions=True)
            await store.refresh(ours)
            await store.save_session(ours)
            assert await self.shown(store) == serialize_context(ours)
            if finished:
                break
        assert finished
        assert steps > 1
        said = [m.content for m in (await loaded(store)).conversation_history][5:]
        assert said == [f"{who} {step}" for step in range(steps + 1) for who in ("theirs", "ours")]

    async def test_records_left_in_the_store_are_fetched_where_theirs_were_edited(self, store: SessionStore) -> None:
        context = await begun(store)
        for number in range(800):
            says(f"{number} {number * 7919:050}")(context)
        await store.save_session(context)
        assert await folded(store, context)
        refreshed, saved = [await loaded(store, tail=2) for _ in range(2)]
        rewords(1)(context)
        await store.save_session(context)
        says("unsaved")(refreshed)
        with pytest.raises(ConflictError):
            await store.refresh(refreshed)
        saved.product_query = "ours"
        await store.save_session(saved)
        assert saved.conversation_history[1].content == "reworded"
        assert await self.shown(store) == serialize_context(saved)

    async def test_a_session_created_again_gives_and_takes_nothing_old(self, store: SessionStore) -> None:
        old = await begun(store)
        says("old secret")(old)
        await store.save_session(old)
        await store.delete_session("s")
        new = await begun(store)
        says("new")(new)
        await store.save_session(new)
        assert new.version == old.version
        for attempt in (store.save_session, store.refresh):
            says("late")(old)
            with pytest.raises(ConflictError) as caught:
                await attempt(old)
            assert caught.value.reason == "too_old"
        for edit in (asks("x"), asks("y")):
            edit(new)
            await store.save_session(new)
        assert "old secret" not in str(await self.shown(store))
        assert await self.shown(store) == serialize_context(new)
        assert b"old secret" not in b"".join(frame.body or b"" for frame in await store.frames("s"))
