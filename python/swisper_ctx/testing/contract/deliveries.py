"""A change is written once: when its answer was lost, when its caller was cancelled, when it is delivered twice."""

from __future__ import annotations

import asyncio

import pytest

from swisper_ctx._core import Message
from swisper_ctx.context import SwisperContext, serialize_context
from swisper_ctx.errors import ConflictError, OutcomeUnknownError, StoreUnavailableError
from swisper_ctx.log import GRACE_TIME, GRACE_VERSIONS, RETRY_WINDOW
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import folded
from swisper_ctx.testing.clock import ManualClock
from swisper_ctx.testing.contract.merging import asks, begun, loaded, says
from swisper_ctx.testing.faults import FaultyStore, Hang, fails, loses, passes


async def contents(store: SessionStore) -> list[str]:
    """What was said after the first five messages."""
    return [str(message.content) for message in (await loaded(store)).conversation_history][5:]


async def grown(store: SessionStore, turns: int, name: str = "other") -> None:
    """Somebody else saves so many turns, and folds them."""
    context = await loaded(store)
    for number in range(turns):
        says(f"{name} {number}")(context)
        await store.save_session(context)
    assert await folded(store, context)


class DeliveryContract:
    """A change is written once: when its answer was lost, when its caller was cancelled, when it is delivered twice."""

    async def test_a_lost_save_is_found_behind_checkpoints_and_foreign_turns(self, store: SessionStore) -> None:
        faulty = FaultyStore(store)
        await begun(store)
        context = await loaded(faulty)
        says("ours")(context)
        faulty.inject("commit", loses())
        with pytest.raises(OutcomeUnknownError):
            await faulty.save_session(context)
        for name in ("a", "b", "c"):
            await grown(store, 2, name)
        says("later")(context)
        await faulty.save_session(context)
        said = await contents(store)
        assert said == ["ours", *(f"{name} {n}" for name in "abc" for n in range(2)), "later"]
        assert serialize_context(await loaded(store)) == serialize_context(context)

    async def test_a_cancelled_save_that_was_written_is_not_written_again(self, store: SessionStore) -> None:
        faulty = FaultyStore(store)
        await begun(store)
        context = await loaded(faulty)
        hang = Hang()
        faulty.inject("commit", hang)
        says("ours")(context)
        save = asyncio.ensure_future(faulty.save_session(context))
        await hang.reached.wait()
        save.cancel()
        await asyncio.gather(save, return_exceptions=True)
        retry = asyncio.ensure_future(faulty.save_session(context))
        hang.release()
        await retry
        for name in ("a", "b"):
            await grown(store, 1, name)
            await faulty.refresh(context)
        assert await contents(store) == ["ours", "a 0", "b 0"]
        assert serialize_context(await loaded(store)) == serialize_context(context)

    async def test_a_merge_whose_answers_are_lost_is_written_once(self, store: SessionStore) -> None:
        faulty = FaultyStore(store)
        await begun(store)
        context = await loaded(faulty)
        await grown(store, 2, "a")
        says("ours")(context)
        faulty.inject("commit", fails(OutcomeUnknownError("lost before")), passes, loses())
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError):
                await faulty.save_session(context)
        await grown(store, 2, "b")
        await faulty.refresh(context)
        assert await contents(store) == ["a 0", "a 1", "ours", "b 0", "b 1"]
        assert serialize_context(await loaded(store)) == serialize_context(context)

    async def test_a_merge_that_cannot_read_what_others_saved_can_be_tried_again(self, store: SessionStore) -> None:
        faulty = FaultyStore(store)
        await begun(store)
        context = await loaded(faulty)
        await grown(store, 1, "a")
        says("ours")(context)
        faulty.inject("read", fails())
        with pytest.raises(StoreUnavailableError):
            await faulty.save_session(context)
        await faulty.save_session(context)
        assert await contents(store) == ["a 0", "ours"]

    async def test_nobody_knows_when_the_frames_cannot_tell(self, store: SessionStore, clock: ManualClock) -> None:
        faulty = FaultyStore(store)
        await begun(store)
        context, waiting = await loaded(faulty), await loaded(store)
        says("ours")(context)
        faulty.inject("commit", loses())
        with pytest.raises(OutcomeUnknownError):
            await faulty.save_session(context)
        await grown(store, 1)
        clock.advance(max(GRACE_TIME, RETRY_WINDOW))
        await grown(store, GRACE_VERSIONS)
        for attempt in (faulty.save_session, faulty.refresh):
            with pytest.raises(OutcomeUnknownError):
                await attempt(context)
        says("never sent")(waiting)
        with pytest.raises(ConflictError) as caught:
            await store.save_session(waiting)
        assert caught.value.reason == "too_old"
        assert (await contents(store)).count("ours") == 1

    async def test_a_session_deleted_meanwhile_leaves_a_lost_save_unknown(self, store: SessionStore) -> None:
        faulty = FaultyStore(store)
        await begun(store)
        context, other = await loaded(faulty), await loaded(faulty)
        says("ours")(context)
        faulty.inject("commit", loses())
        with pytest.raises(OutcomeUnknownError):
            await faulty.save_session(context)
        await store.delete_session("s")
        with pytest.raises(OutcomeUnknownError):
            await faulty.save_session(context)
        says("other")(other)
        with pytest.raises(ConflictError) as caught:
            await faulty.save_session(other)
        assert (caught.value.reason, caught.value.actual) == ("gone", None)

    async def test_a_change_delivered_twice_is_written_once(self, store: SessionStore) -> None:
        await begun(store)
        early = await loaded(store)
        history = early.conversation_history
        for context in (await loaded(store), early, await loaded(store)):
            says("job")(context)
            await store.save_session(context, change_id="job-7")
            assert serialize_context(await loaded(store)) == serialize_context(context)
        assert history is early.conversation_history
        assert await contents(store) == ["job"]
        await grown(store, 2)
        late = await loaded(store)
        says("job")(late)
        await store.save_session(late, change_id="job-7")
        assert await contents(store) == ["job", "other 0", "other 1"]
        says("next")(late)
        await store.save_session(late)
        assert serialize_context(await loaded(store)) == serialize_context(late)

    async def test_a_change_delivered_again_where_it_does_not_merge_is_written(self, store: SessionStore) -> None:
        ours = await begun(store)
        asks("job")(ours)
        await store.save_session(ours, change_id="job-7")
        again = await loaded(store)
        asks("meanwhile")(ours)
        await store.save_session(ours)
        asks("job, the second time")(again)
        await store.save_session(again, change_id="job-7")
        assert (again.product_query, again.version) == ("meanwhile", 3)
        for context in (SwisperContext(session_id="s", user_id="u"), SwisperContext(session_id="t", user_id="u")):
            await store.save_session(context, change_id="job-7")
            assert context.version == {"s": 3, "t": 1}[context.session_id]

    async def test_edits_that_are_not_part_of_a_change_are_not_lost_with_it(self, store: SessionStore) -> None:
        ours = await begun(store)
        says("job")(ours)
        await store.save_session(ours, change_id="job-7")
        again = await loaded(store)
        says("another")(ours)
        says("job again")(again)
        save = asyncio.ensure_future(store.save_session(again, change_id="job-7"))
        await asyncio.sleep(0)
        says("behind it")(again)
        queued = await loaded(store)
        says("job again")(queued)
        first = asyncio.ensure_future(store.save_session(queued, change_id="job-7"))
        await asyncio.sleep(0)
        says("queued")(queued)
        second = store.save_session(queued)
        for attempt in (save, second, first, store.save_session(ours, change_id="job-7")):
            with pytest.raises(ConflictError) as caught:
                await attempt
            assert caught.value.reason == "change_id"
        assert [m.content for m in again.conversation_history][6:] == ["job again", "behind it"]
        await store.save_session(ours)
        assert await contents(store) == ["job", "another"]

    async def test_edits_after_a_lost_change_are_saved_behind_it(self, store: SessionStore) -> None:
        faulty = FaultyStore(store)
        await begun(store)
        context = await loaded(faulty)
        says("job")(context)
        faulty.inject("commit", loses())
        with pytest.raises(OutcomeUnknownError):
            await faulty.save_session(context, change_id="job-7")
        says("later")(context)
        await faulty.save_session(context, change_id="job-7")
        assert await contents(store) == ["job", "later"]
        assert [frame.change_id for frame in await store.frames("s")] == [None, "job-7", None]

    async def test_update_applies_a_change_of_one_id_once(self, store: SessionStore) -> None:
        faulty = FaultyStore(store)
        await begun(store)
        applied = 0

        async def job(context: SwisperContext) -> None:
            nonlocal applied
            applied += 1
            await asyncio.sleep(0)
            context.conversation_history.append(Message("user", "job"))

        faulty.inject("commit", loses(), fails(OutcomeUnknownError("lost")))
        updates = [faulty.update("s", job, change_id="job-7") for _ in range(4)]
        for context in [*(await asyncio.gather(*updates)), await faulty.update("s", job, change_id="job-7")]:
            assert [message.content for message in context.conversation_history][5:] == ["job"]
        assert applied <= 4
        assert await contents(store) == ["job"]
