"""Forks, and going on from what is left of a damaged session."""

from __future__ import annotations

import asyncio

import pytest

from swisper_ctx._core import Message, PipelineExecution
from swisper_ctx.context import SwisperContext, serialize_context
from swisper_ctx.errors import (
    ConflictError,
    ContextError,
    OutcomeUnknownError,
    SessionNotFoundError,
    StoreError,
    StoreUnavailableError,
    VersionUnavailableError,
)
from swisper_ctx.log import plain_body
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.recovery import QUARANTINES, is_quarantine
from swisper_ctx.testing.changes import folded
from swisper_ctx.testing.clock import DAY, START, ManualClock
from swisper_ctx.testing.faults import FaultyStore, Hang, fails, loses, passes

ABOUT = ("session_id", "created_at", "updated_at", "version", "forked_from")


def content(context: SwisperContext) -> dict[str, object]:
    """What a context holds, without what is of its session alone."""
    return {name: value for name, value in serialize_context(context).items() if name not in ABOUT}


class Weekly(SwisperContext):
    """Kept for a week where the session does not say."""

    data_retention_policy: str = "1w:idle"


class ForkContract:
    """Forks."""

    async def two_versions(self, store: SessionStore, policy: str = "session") -> SwisperContext:
        context = SwisperContext(session_id="s", user_id="ann", data_retention_policy=policy)
        context.conversation_history.append(Message.from_dict({"role": "user", "content": "a", "odd": 1.50}))
        await store.save_session(context)
        assert await folded(store, context)
        context.conversation_history.append(Message(role="assistant", content="b"))
        context.metadata["n"] = 10**30
        await store.save_session(context)
        return context

    async def test_a_fork_has_the_content_and_shares_nothing(self, store: SessionStore, clock: ManualClock) -> None:
        parent = await self.two_versions(store)
        before = await store.read("s")
        clock.advance(5)
        fork = await store.fork("s", user_id="ann")
        assert content(fork) == content(parent)
        assert (fork.user_id, fork.version, len(fork.session_id)) == ("ann", 1, 32)
        assert serialize_context(fork)["forked_from"] == {"session_id": "s", "version": 2}
        assert [record.to_json() for record in fork.conversation_history] == [
            record.to_json() for record in parent.conversation_history
        ]
        assert await store.read("s") == before
        loaded = await store.load_session(fork.session_id)
        assert loaded is not None
        assert content(loaded) == content(parent)
        stored = await store.read(fork.session_id)
        assert stored is not None
        assert before is not None
        assert stored.blocks
        assert not {block.block_id for block in stored.blocks} & {block.block_id for block in before.blocks}
        assert stored.created_at == START + 5
        loaded.product_query = "goes its own way"
        await store.save_session(loaded)
        await store.delete_session("s")
        assert await store.load_session(loaded.session_id) is not None
        again = await store.fork(loaded.session_id)
        assert serialize_context(again)["forked_from"] == {"session_id": loaded.session_id, "version": 2}

    async def test_a_fork_of_an_old_version(self, store: SessionStore) -> None:
        await self.two_versions(store)
        fork = await store.fork("s", version=1, new_session_id="t")
        assert (fork.session_id, len(fork.conversation_history), fork.metadata) == ("t", 1, {})
        assert serialize_context(fork)["forked_from"] == {"session_id": "s", "version": 1}
        with pytest.raises(VersionUnavailableError):
            await store.fork("s", version=3)
        with pytest.raises(ConflictError, match="exists already"):
            await store.fork("s", new_session_id="t")
        assert await store.load_session("t") is not None

    async def test_a_fork_expires_by_its_own_clock(self, store: SessionStore, clock: ManualClock) -> None:
        await self.two_versions(store, "2d")
        clock.advance(DAY)
        fork = await store.fork("s", ttl=5)
        stored = await store.read(fork.session_id)
        assert stored is not None
        assert stored.expires_at == START + 3 * DAY

    async def test_a_session_that_is_not_there_has_no_fork(self, store: SessionStore) -> None:
        await self.two_versions(store)
        for session_id, user_id in (("s", "bob"), ("none", None)):
            with pytest.raises(SessionNotFoundError):
                await store.fork(session_id, user_id=user_id)
        assert len((await store.sessions()).sessions) == 1

    async def test_a_parent_that_is_deleted_meanwhile_takes_its_fork_along(self, store: SessionStore) -> None:
        await self.two_versions(store)
        faulty, hang = FaultyStore(store), Hang()
        faulty.inject("commit", hang)
        forking = asyncio.ensure_future(faulty.fork("s"))
        await hang.reached.wait()
        await store.delete(["s"])
        hang.release()
        with pytest.raises(SessionNotFoundError):
            await forking
        assert (await store.sessions()).sessions == ()

    async def test_a_fork_that_is_cancelled_is_not_left_behind(self, store: SessionStore) -> None:
        await self.two_versions(store)
        for operation, *before in (("read", passes), ("commit",)):
            faulty, hang = FaultyStore(store), Hang()
            faulty.inject(operation, *before, hang)
            forking = asyncio.ensure_future(faulty.fork("s"))
            await hang.reached.wait()
            forking.cancel()
            hang.release()
            with pytest.raises(asyncio.CancelledError):
                await forking
            assert [line.session_id for line in (await store.sessions()).sessions] == ["s"]

    async def test_a_fork_that_fails_is_not_left_behind(self, store: SessionStore) -> None:
        await self.two_versions(store)
        faulty = FaultyStore(store)
        faulty.inject("read", passes, fails())
        with pytest.raises(StoreUnavailableError):
            await faulty.fork("s", new_session_id="t")
        faulty.inject("commit", loses())
        with pytest.raises(OutcomeUnknownError):
            await faulty.fork("s", new_session_id="t")
        assert [line.session_id for line in (await store.sessions()).sessions] == ["s"]
        assert (await faulty.fork("s", new_session_id="t")).version == 1
        faulty.inject("commit", fails(OutcomeUnknownError("lost before")))
        with pytest.raises(OutcomeUnknownError):
            await faulty.fork("s", new_session_id="t")
        assert await store.load_session("t") is not None

    async def test_a_fork_is_there_also_without_its_checkpoint(self, store: SessionStore) -> None:
        parent = await self.two_versions(store)
        faulty = FaultyStore(store)
        faulty.inject("checkpoint", fails())
        fork = await faulty.fork("s")
        assert content(fork) == content(parent)
        assert await store.load_session(fork.session_id) is not None


class RecoveryContract(ForkContract):
    """Forks, and going on from what is left of a damaged session."""

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        raise NotImplementedError

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        """Take away the row whose body is `old`, past the store."""
        raise NotImplementedError

    async def long(self, store: SessionStore) -> tuple[SwisperContext, list[dict[str, object]]]:
        """A session of several segments: head at 1 and 3, frames to 5. With the content of each version from 0 on."""
        context = SwisperContext(session_id="s", user_id="ann", data_retention_policy="4w")
        seen: list[dict[str, object]] = [{}]
        for number in range(5):
            context.conversation_history.extend(
                Message(role="user", content=f"{number} {n} " + "lorem ipsum " * 60) for n in range(60)
            )
            context.metadata[f"turn {number}"] = number
            await store.save_session(context, ttl=DAY)
            seen.append(content(context))
            if number in {0, 2}:
                assert await folded(store, context)
        return context, seen

    async def body(self, store: SessionStore, kind: str) -> bytes:
        """Of one row of that session."""
        stored = await store.read("s")
        assert stored is not None
        assert stored.head is not None
        if kind == "head":
            return stored.head.body
        if kind.startswith("frame"):
            frames = await store.frames("s")
            (body,) = [frame.body for frame in frames if frame.version == int(kind.split()[1])]
            return plain_body(body)
        blocks = [block for block in stored.blocks if (block.field == "") == (kind == "fields")]
        return plain_body(blocks[len(blocks) // 2].body)

    async def damage(self, store: SessionStore, body: bytes, how: str) -> None:
        if how == "missing":
            await self.raw_delete(store, body)
        else:
            await self.raw_write(store, body, body[:-1] + bytes([body[-1] ^ 1]))

    async def sound(self, store: SessionStore) -> None:
        """Everything of the session can be read, and nothing is found by another recovery."""
        report = await store.recover("s")
        assert (report.bad_blocks, report.quarantine_id, report.restored) == ((), None, None)
        await store.history("s")
        loaded = await store.load_session("s", user_id="ann")
        assert loaded is not None
        loaded.metadata["after"] = 1
        await store.save_session(loaded, ttl=DAY)
        assert await folded(store, loaded)
        again = await store.load_session("s")
        assert again is not None
        assert serialize_context(again) == serialize_context(loaded)

    @pytest.mark.parametrize("how", ["flipped", "missing"])
    @pytest.mark.parametrize("kind", ["head", "fields", "segment", "frame 2", "frame 4", "frame 5"])
    async def test_recovery_goes_on_from_the_last_good_state(self, store: SessionStore, kind: str, how: str) -> None:
        _, seen = await self.long(store)
        before = await store.sessions()
        await self.damage(store, await self.body(store, kind), how)
        dry = await store.recover("s", dry_run=True)
        assert await store.sessions() == before
        report = await store.recover("s")
        assert report._replace(quarantine_id=None, restored=None) == dry
        # An older head, from which all patches are still there, leads past a damaged head or block.
        version = {"frame 4": 3, "frame 5": 4}.get(kind, 5)
        assert (report.version, report.newest, list(report.lost_versions)) == (
            version,
            5,
            list(range(version + 1, 6)),
        )
        assert (report.restored, report.lost_records, report.complete) == (6, 0, True)
        assert report.bad_blocks
        loaded = await store.load_session("s", user_id="ann")
        assert loaded is not None
        assert (content(loaded), loaded.version) == (seen[version], 6)
        await self.sound(store)
        assert report.quarantine_id is not None
        lines = {line.session_id: line for line in (await store.sessions()).sessions}
        assert set(lines) == {"s", report.quarantine_id}
        assert is_quarantine(report.quarantine_id)
        assert lines["s"].expires_at == lines[report.quarantine_id].expires_at == before.sessions[0].expires_at
        kept = await store.remains(report.quarantine_id)
        assert kept is not None
        assert len(kept.heads) + len(kept.blocks) + len(kept.frames) > 5
        assert await store.delete_session("s")
        assert (await store.sessions()).sessions == ()

    @pytest.mark.parametrize("how", ["flipped", "missing"])
    @pytest.mark.parametrize("kind", ["segment", "fields"])
    async def test_what_no_older_head_leads_past_is_left_out(self, store: SessionStore, kind: str, how: str) -> None:
        context, seen = await self.long(store)
        stored = await store.read("s")
        assert stored is not None
        blocks = [block for block in stored.blocks if block.field]
        lost = blocks[len(blocks) // 2].records if kind == "segment" else 0
        bodies = [await self.body(store, each) for each in ("frame 1", "frame 2", kind)]
        for body in bodies:
            await self.damage(store, body, how if body == bodies[-1] else "flipped")
        report = await store.recover("s", force=True)
        assert not report.complete
        loaded = await store.load_session("s")
        assert loaded is not None
        if kind == "fields":
            # The frames after it patch fields that are not there.
            assert report.version == 3
        else:
            assert report.version == 5
            assert loaded.metadata == seen[5]["metadata"]
            assert len(loaded.conversation_history) == 300 - lost
            if how == "flipped":
                assert report.lost_records == lost
        ids = [record.message_id for record in context.conversation_history]
        assert {record.message_id for record in loaded.conversation_history} <= set(ids)
        await self.sound(store)

    async def test_a_sound_session_is_left_alone(self, store: SessionStore) -> None:
        context, _ = await self.long(store)
        before = await store.read("s"), await store.sessions()
        report = await store.recover("s")
        assert (report.version, report.newest, list(report.lost_versions), report.bad_blocks) == (5, 5, [], ())
        assert (await store.read("s"), await store.sessions()) == before
        context.product_query = "goes on"
        await store.save_session(context)

    async def test_a_context_from_before_cannot_be_saved(self, store: SessionStore) -> None:
        context, _ = await self.long(store)
        await self.damage(store, await self.body(store, "head"), "flipped")
        await store.recover("s")
        context.product_query = "late"
        with pytest.raises(ConflictError):
            await store.save_session(context)

    async def test_a_session_of_which_nothing_is_left_begins_anew(self, store: SessionStore) -> None:
        context = SwisperContext(session_id="s", user_id="ann", product_query="x")
        await store.save_session(context)
        await self.damage(store, await self.body(store, "frame 1"), "flipped")
        report = await store.recover("s")
        assert (report.version, list(report.lost_versions), report.restored) == (0, [1], 2)
        loaded = await store.load_session("s")
        assert loaded is not None
        assert (loaded.product_query, loaded.user_id) == ("", "ann")
        await self.sound(store)

    @pytest.mark.parametrize("lost", ["all", "fields"])
    async def test_records_are_appended_to_what_is_left(self, store: SessionStore, lost: str) -> None:
        if lost == "all":
            await store.save_session(SwisperContext(session_id="s", user_id="ann"))
            bodies = [await self.body(store, "frame 1")]
        else:
            await self.long(store)
            bodies = [await self.body(store, each) for each in ("frame 1", "frame 2", "fields")]
        for body in bodies:
            await self.damage(store, body, "flipped")
        await store.recover("s", force=True)
        for name in ("first", "second"):
            await store.append_record("s", "pipeline_executions", PipelineExecution(name))
        loaded = await store.load_session("s")
        assert loaded is not None
        assert [run.pipeline_name for run in loaded.pipeline_executions] == ["first", "second"]
        assert len(loaded.conversation_history) == (0 if lost == "all" else 180)
        await self.sound(store)

    async def test_what_is_left_without_a_policy_is_kept_as_its_class_says(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        await store.save_session(SwisperContext(session_id="s", user_id="ann"), ttl=DAY)
        await self.damage(store, await self.body(store, "frame 1"), "flipped")
        report = await store.recover("s")
        assert report.quarantine_id is not None
        assert await store.delete([report.quarantine_id])

        async def expires_in(days: int) -> bool:
            (line,) = (await store.sessions()).sessions
            found = line.expires_at == clock.now + days * DAY
            clock.advance(DAY // 2)
            return found

        run = PipelineExecution("p")
        clock.advance(DAY // 2)
        await store.append_record("s", "pipeline_executions", run, ttl=DAY)
        assert await expires_in(1)
        context = await store.load_session("s")
        assert context is not None
        context.product_query = "saved"
        await store.save_session(context, ttl=DAY)
        assert await expires_in(1)
        await store.append_record("s", "pipeline_executions", run, ttl=DAY, context_class=Weekly)
        assert await expires_in(7)
        weekly = await store.load_session("s", context_class=Weekly)
        assert weekly is not None
        await store.save_record(weekly, "pipeline_executions", run, ttl=DAY)
        assert await expires_in(7)

    @pytest.mark.parametrize("how", ["flipped", "missing"])
    async def test_what_was_delivered_before_a_recovery_is_not_written_again(
        self, store: SessionStore, how: str
    ) -> None:
        context = SwisperContext(session_id="s", user_id="ann")
        await store.save_session(context)
        names = [f"job {number}" for number in range(4)]

        async def deliver(name: str) -> None:
            say = Message(role="user", content=name)
            await store.update("s", lambda context: context.conversation_history.append(say), change_id=name)

        for name in names:
            await deliver(name)
            if name == "job 1":
                await store.refresh(context)
                assert await folded(store, context)
        # Version 2 is in the head at 3; version 5 is lost.
        bodies = [await self.body(store, "frame 2"), await self.body(store, "frame 5")]
        await self.damage(store, bodies[0], "flipped")
        await self.damage(store, bodies[1], how)
        assert (await store.recover("s", force=True)).version == 4
        for name in names + names:
            await deliver(name)
        loaded = await store.load_session("s")
        assert loaded is not None
        assert [message.content for message in loaded.conversation_history] == names
        assert [version.version for version in await store.history("s")] == list(range(1, 8))
        await self.sound(store)

    async def test_quarantine_deletes_nothing_and_is_bounded(self, store: SessionStore) -> None:
        await self.long(store)
        for number in range(QUARANTINES):
            await self.damage(store, await self.body(store, "head"), "flipped")
            report = await store.recover("s", force=True)
            assert report.restored == 6 + number
        await self.damage(store, await self.body(store, "head"), "flipped")
        with pytest.raises(StoreError, match="too often"):
            await store.recover("s", force=True)
        with pytest.raises(StoreError, match="too often"):
            await store.recover("s~quarantine-1")
        assert len((await store.sessions()).sessions) == QUARANTINES + 1
        assert await store.delete_session("s")
        assert (await store.sessions()).sessions == ()

    async def test_a_session_goes_on_from_what_is_kept_in_quarantine(self, store: SessionStore) -> None:
        _, seen = await self.long(store)
        good = await self.body(store, "frame 4")
        bad = good[:-1] + bytes([good[-1] ^ 1])
        await self.raw_write(store, good, bad)
        kept = (await store.recover("s")).quarantine_id
        assert kept is not None
        between = await store.load_session("s")
        assert between is not None
        assert content(between) == seen[3]
        between.metadata["between"] = 1
        await store.save_session(between)
        await self.raw_write(store, bad, good)
        dry = await store.recover(kept, dry_run=True)
        assert (dry.session_id, dry.version, dry.newest, dry.bad_blocks) == ("s", 5, 5, ())
        report = await store.recover(kept)
        assert report == dry._replace(quarantine_id="s~quarantine-2", restored=8)
        loaded = await store.load_session("s", user_id="ann")
        assert loaded is not None
        assert (content(loaded), loaded.version) == (seen[5], 8)
        await self.sound(store)
        assert {line.session_id for line in (await store.sessions()).sessions} == {"s", kept, "s~quarantine-2"}

    async def test_quarantine_goes_with_a_session_that_expires(self, store: SessionStore, clock: ManualClock) -> None:
        context = SwisperContext(session_id="s", user_id="ann", data_retention_policy="indefinite")
        await store.save_session(context)
        context.product_query = "x"
        await store.save_session(context)
        for number in (2, 4):
            await self.damage(store, await self.body(store, f"frame {number}"), "flipped")
            await store.recover("s")
            loaded = await store.load_session("s")
            assert loaded is not None
            loaded.product_query, loaded.data_retention_policy = "kept no longer", "2d"
            await store.save_session(loaded)
        assert len((await store.sessions()).sessions) == 3
        clock.advance(2 * DAY)
        assert await store.cleanup_expired_sessions() == 3
        assert (await store.sessions()).sessions == ()

    async def test_quarantine_goes_with_a_session_whose_place_is_taken(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        context = SwisperContext(session_id="s", user_id="ann", data_retention_policy="indefinite")
        await store.save_session(context)
        await self.damage(store, await self.body(store, "frame 1"), "flipped")
        await store.recover("s")
        loaded = await store.load_session("s")
        assert loaded is not None
        loaded.data_retention_policy = "2d"
        await store.save_session(loaded)
        clock.advance(2 * DAY)
        await store.save_session(SwisperContext(session_id="s", user_id="bob"))
        assert [(line.session_id, line.user_id) for line in (await store.sessions()).sessions] == [("s", "bob")]

    async def test_no_session_of_somebody_else_lies_where_quarantine_does(self, store: SessionStore) -> None:
        await store.save_session(SwisperContext(session_id="s", user_id="ann"))
        theirs = SwisperContext(session_id="s~quarantine-1", user_id="bob")
        with pytest.raises(StoreError, match="quarantine"):
            await store.save_session(theirs)
        with pytest.raises(StoreError, match="quarantine"):
            await store.fork("s", new_session_id="s~quarantine-1")
        assert [line.session_id for line in (await store.sessions()).sessions] == ["s"]

    async def test_a_save_in_the_middle_of_a_recovery_wins(self, store: SessionStore) -> None:
        context, _ = await self.long(store)
        await self.damage(store, await self.body(store, "frame 2"), "flipped")
        faulty, hang = FaultyStore(store), Hang()
        faulty.inject("restore", hang)
        recovering = asyncio.ensure_future(faulty.recover("s"))
        await hang.reached.wait()
        context.product_query = "in the middle"
        await store.save_session(context)
        hang.release()
        with pytest.raises(ConflictError, match="meanwhile"):
            await recovering
        loaded = await store.load_session("s")
        assert loaded is not None
        assert loaded.product_query == "in the middle"

    async def test_no_session_to_recover(self, store: SessionStore) -> None:
        with pytest.raises(SessionNotFoundError):
            await store.recover("none")
        with pytest.raises(ContextError):
            await store.recover("none", dry_run=True)
