"""When a session expires, what it is then, and how it is deleted."""

from __future__ import annotations

import asyncio

import pytest

from swisper_ctx._core import PipelineExecution
from swisper_ctx.context import SwisperContext, deserialize_context, serialize_context
from swisper_ctx.errors import ConflictError, OutcomeUnknownError, SessionNotFoundError
from swisper_ctx.log import NEVER, Checkpoint, CommitResult, Etag
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.cleaning import BATCH
from swisper_ctx.testing.changes import append, commit, committed, creation, grow, moved, new_block, new_head
from swisper_ctx.testing.clock import DAY, MINUTE, START, ManualClock
from swisper_ctx.testing.faults import FaultyStore, Hang, loses, passes

HOUR = 60 * MINUTE


class ExpiryContract:
    """When a session expires, what it is then, and how it is deleted."""

    async def test_only_what_has_expired_by_now_is_deleted_as_expired(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        await committed(store, creation("gone", expires_at=START + 10))
        saved = await committed(store, creation("saved again", expires_at=START + 10))
        await committed(store, creation("for ever"))
        clock.advance(9)
        await committed(store, append("saved again", saved, expires_at=START + 11))
        assert (await store.sessions(expired=True)).sessions == ()
        clock.advance(1)
        assert [line.session_id for line in (await store.sessions(expired=True)).sessions] == ["gone"]
        assert await store.delete(["gone", "saved again", "for ever"], expired=True) == 1
        assert set(await store.etags(["gone", "saved again", "for ever"])) == {"saved again", "for ever"}
        assert {line.session_id for line in (await store.sessions()).sessions} == {"saved again", "for ever"}

    async def test_what_has_expired_reads_as_absent(self, store: SessionStore, clock: ManualClock) -> None:
        await grow(store, "kept", 2)
        etag = await committed(store, creation("s", expires_at=START + 10))
        block = new_block("history", 0, 1)
        head = await moved(store, "s", 1, added=[block])
        clock.advance(9)
        assert await store.read("s") is not None
        clock.advance(1)
        assert await store.etags(["s", "kept"]) == await store.etags(["kept"])
        assert await store.read("s") is None
        assert await store.read("s", after=Etag(0, b"")) is None
        assert await store.read("s", tail=1) is None
        assert await store.read_version("s", 1) is None
        assert await store.blocks("s", [block.block_id]) == ()
        assert await store.frames("s") == ()
        assert await commit(store, append("s", etag), append("s", etag, change_id="c")) == [CommitResult(None)] * 2
        assert not await store.checkpoint(Checkpoint("s", head.stamp, new_head(1), (), ()))
        assert await store.load_session("s") is None
        with pytest.raises(SessionNotFoundError):
            await store.at_version("s", 1)
        with pytest.raises(SessionNotFoundError):
            await store.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"))
        assert await store.delete(["s"]) == 1

    async def test_an_expired_session_is_refused_within_a_group(self, store: SessionStore, clock: ManualClock) -> None:
        etags = {name: await committed(store, creation(name, expires_at=START + 10)) for name in "abc"}
        etags["b"] = await committed(store, append("b", etags["b"], expires_at=START + 5))
        clock.advance(5)
        results = await commit(store, *(append(name, etag) for name, etag in etags.items()))
        assert [result.time for result in results] == [START + 5, None, START + 5]

    async def test_a_save_of_an_expired_session_is_a_conflict_and_keeps_the_edits(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        await store.save_session(context, ttl=HOUR)
        clock.advance(HOUR)
        context.product_query = "too late"
        with pytest.raises(ConflictError, match="the session is gone"):
            await store.save_session(context, ttl=HOUR)
        assert context.product_query == "too late"
        assert context.version == 1

    async def test_a_create_takes_the_place_of_what_has_expired(self, store: SessionStore, clock: ManualClock) -> None:
        await committed(store, creation("s", user_id="ann", frame=b"old", change_id="c", expires_at=START + 10))
        await moved(store, "s", 1, added=[new_block("history", 0, 1)])
        assert await commit(store, creation("s")) == [CommitResult(None)]
        clock.advance(10)
        change = creation("s", user_id="bob", frame=b"new", change_id="c")
        other = creation("t")
        assert await commit(store, other, change) == [CommitResult(START + 10)] * 2
        stored = await store.read("s")
        assert stored is not None
        assert (stored.user_id, stored.etag, stored.head, stored.blocks) == ("bob", change.etag, change.head, ())
        assert [frame.body for frame in stored.frames] == [b"new"]
        assert stored.expires_at is None
        assert len((await store.sessions()).sessions) == 2
        await grow(store, "s", 3)

    async def test_never_ends_an_expiry(self, store: SessionStore, clock: ManualClock) -> None:
        etags = [await committed(store, creation(name, expires_at=START + 10)) for name in "ab"]
        group = [append(name, etag, expires_at=NEVER) for name, etag in zip("ab", etags, strict=True)]
        await committed(store, group[0])
        await commit(store, group[1], creation("c", expires_at=NEVER))
        assert [line.expires_at for line in (await store.sessions()).sessions] == [None] * 3
        clock.advance(NEVER // 2)
        assert set(await store.etags("abc")) == set("abc")

    async def expiry(self, store: SessionStore) -> int | None:
        """Of the session `s`."""
        (line,) = (await store.sessions()).sessions
        return line.expires_at

    async def test_a_save_moves_the_expiry_when_it_gains_more_than_a_24th(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        await store.save_session(context, ttl=DAY)
        assert await self.expiry(store) == START + DAY
        clock.advance(HOUR)
        context.product_query = "an hour later"
        await store.save_session(context, ttl=DAY)
        assert await self.expiry(store) == START + DAY
        clock.advance(1)
        await store.save_session(context, ttl=DAY)
        assert await self.expiry(store) == START + DAY, "nothing was written"
        loaded = await store.load_session("s")
        assert loaded is not None
        loaded.product_query = "a moment more"
        await store.save_session(loaded, ttl=DAY)
        assert await self.expiry(store) == START + HOUR + 1 + DAY
        clock.advance(2 * HOUR)
        again = await store.load_session("s")
        assert again is not None
        await store.save_record(again, "pipeline_executions", PipelineExecution(pipeline_name="p"), ttl=DAY)
        assert await self.expiry(store) == START + 3 * HOUR + 1 + DAY

    @pytest.mark.parametrize(
        ("policy", "hours"), [("session", [24, 24, 26]), ("3d:idle", [72, 72, 72, 72, 76]), ("2d", [48] * 4)]
    )
    async def test_a_record_added_without_loading_moves_the_expiry_as_a_save_does(
        self, store: SessionStore, clock: ManualClock, policy: str, hours: list[int]
    ) -> None:
        context = SwisperContext(session_id="s", user_id="u", data_retention_policy=policy)
        await store.save_session(context, ttl=DAY)
        for hour, expected in enumerate(hours):
            clock.now = START + hour * HOUR
            await store.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"), ttl=DAY)
            assert await self.expiry(store) == START + expected * HOUR

    async def test_a_record_added_without_loading_goes_by_the_newest_policy(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        await store.save_session(context, ttl=DAY)
        for hour, policy, expected in [(2, "1w:idle", 7 * DAY), (4, "session", DAY), (6, "indefinite", None)]:
            await store.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"), ttl=DAY)
            await store.refresh(context)
            context.data_retention_policy = policy
            await store.save_session(context, ttl=DAY)
            clock.now = START + (hour + 8) * HOUR
            await store.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"), ttl=DAY)
            assert await self.expiry(store) == (None if expected is None else clock.now + expected)

    async def test_the_policy_of_a_session_says_when_it_expires(self, store: SessionStore, clock: ManualClock) -> None:
        context = SwisperContext(session_id="s", user_id="u", data_retention_policy="2d")
        await store.save_session(context, ttl=DAY)
        assert await self.expiry(store) == START + 2 * DAY
        for policy, expected in [
            ("2d:idle", START + HOUR + 2 * DAY),
            ("indefinite", None),
            ("1w", START + 7 * DAY),
            ("none", START + 4 * HOUR + 15 * MINUTE),
        ]:
            clock.advance(HOUR)
            context.data_retention_policy = policy
            await store.save_session(context, ttl=DAY)
            assert await self.expiry(store) == expected
        clock.advance(10 * MINUTE)
        context.data_retention_policy = "session"
        await store.save_session(context, ttl=MINUTE)
        assert await self.expiry(store) == START + 4 * HOUR + 11 * MINUTE

    async def test_a_period_from_the_creation_does_not_move(self, store: SessionStore, clock: ManualClock) -> None:
        await store.save_session(SwisperContext(session_id="s", user_id="u", data_retention_policy="2d"), ttl=DAY)
        for hour in range(1, 48):
            clock.advance(HOUR)
            context = await store.load_session("s")
            assert context is not None
            context.metadata["hour"] = hour
            await store.save_session(context, ttl=DAY)
            assert await self.expiry(store) == START + 2 * DAY
        clock.advance(HOUR)
        assert await store.load_session("s") is None

    async def test_a_change_delivered_twice_moves_no_expiry(self, store: SessionStore, clock: ManualClock) -> None:
        first = SwisperContext(session_id="s", user_id="u")
        await store.save_session(first, ttl=DAY)
        again = await store.load_session("s")
        assert again is not None
        first.product_query = again.product_query = "job"
        await store.save_session(first, ttl=DAY, change_id="job-7")
        clock.advance(12 * HOUR)
        await store.save_session(again, ttl=DAY, change_id="job-7")
        assert await self.expiry(store) == START + DAY
        again.product_query = "next"
        await store.save_session(again, ttl=DAY)
        assert await self.expiry(store) == clock.now + DAY

    @pytest.mark.parametrize("is_created", [True, False])
    async def test_a_save_found_written_moves_no_expiry(
        self, store: SessionStore, clock: ManualClock, is_created: bool
    ) -> None:
        faulty = FaultyStore(store)
        context = SwisperContext(session_id="s", user_id="u", product_query="first")
        if not is_created:
            await faulty.save_session(context, ttl=DAY)
        context.product_query = "lost"
        faulty.inject("commit", loses())
        with pytest.raises(OutcomeUnknownError):
            await faulty.save_session(context, ttl=DAY)
        clock.advance(12 * HOUR)
        await faulty.save_session(context, ttl=DAY)
        assert await self.expiry(store) == START + DAY
        context.product_query = "next"
        await faulty.save_session(context, ttl=DAY)
        assert await self.expiry(store) == clock.now + DAY

    async def test_a_record_saved_alone_makes_a_session_of_all_that_the_context_has(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        source = {"session_id": "s", "user_id": "u", "data_retention_policy": "2d", "odd": {"a": 1}}
        context = deserialize_context(source)
        await store.save_record(context, "pipeline_executions", PipelineExecution(pipeline_name="p"), ttl=DAY)
        assert await self.expiry(store) == START + 2 * DAY
        loaded = await store.load_session("s")
        assert loaded is not None
        assert serialize_context(loaded) == serialize_context(context)
        assert serialize_context(loaded)["odd"] == {"a": 1}
        assert [run.pipeline_name for run in loaded.pipeline_executions] == ["p"]
        assert loaded.version == 1

    async def test_a_context_from_elsewhere_is_kept_from_its_first_save_on(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        context = SwisperContext(session_id="s", user_id="u", data_retention_policy="7d")
        await store.save_session(context)
        source = serialize_context(context)
        await store.delete_session("s")
        clock.advance(6 * DAY)
        imported = deserialize_context(source)
        await store.save_session(imported)
        assert await self.expiry(store) == START + 13 * DAY
        clock.advance(2 * DAY)
        imported.product_query = "goes on"
        await store.save_session(imported)
        assert await self.expiry(store) == START + 13 * DAY

    async def test_cleanup_deletes_what_has_expired_in_batches(self, store: SessionStore, clock: ManualClock) -> None:
        faulty = FaultyStore(store)
        assert await faulty.cleanup_expired_sessions() == 0
        expired = 2 * BATCH + 1
        for number in range(expired + 3):
            await committed(store, creation(f"s{number}", expires_at=START + (5 if number < expired else 6)))
        clock.advance(5)
        assert await faulty.cleanup_expired_sessions() == expired
        assert faulty.calls.count("delete") == 3
        assert await faulty.cleanup_expired_sessions() == 0
        assert len((await store.sessions()).sessions) == 3

    async def test_cleanup_spares_an_id_that_was_created_again(self, store: SessionStore, clock: ManualClock) -> None:
        faulty, hang = FaultyStore(store), Hang()
        for name in "ab":
            await committed(store, creation(name, expires_at=START + 5))
        clock.advance(5)
        faulty.inject("delete", hang)
        cleanup = asyncio.ensure_future(faulty.cleanup_expired_sessions())
        await hang.reached.wait()
        etag = await committed(store, creation("a", expires_at=clock.now + 5))
        hang.release()
        assert await cleanup == 1
        assert await store.etags("ab") == {"a": etag}

    async def test_two_cleanups_at_once_count_each_session_once(self, store: SessionStore, clock: ManualClock) -> None:
        first, second = FaultyStore(store), FaultyStore(store)
        for number in range(BATCH + 20):
            await committed(store, creation(f"s{number}", expires_at=START + 5))
        clock.advance(5)
        hang = Hang()
        first.inject("delete", passes, hang)
        begun = asyncio.ensure_future(first.cleanup_expired_sessions())
        await hang.reached.wait()
        assert await second.cleanup_expired_sessions() == 20
        hang.release()
        assert await begun == BATCH
