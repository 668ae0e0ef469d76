"""Old versions: reading them, what became of them, and how long they are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from swisper_ctx._core import Message
from swisper_ctx.context import SwisperContext, serialize_context
from swisper_ctx.errors import ConflictError, SessionNotFoundError, VersionUnavailableError
from swisper_ctx.log import GRACE_TIME, RETRY_WINDOW, Etag
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import committed, creation, folded, grow, moved, new_block
from swisper_ctx.testing.clock import DAY, MINUTE, START, ManualClock


class VersionContract:
    """Old versions: reading them, what became of them, and how long they are kept."""

    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> SessionStore:
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def keeping(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[SessionStore]:
        """A store that never purges a version."""
        directory = tmp_path / "keeping"
        directory.mkdir()
        store = self.open_store(directory, clock, keep_versions=True)
        yield store
        await store.aclose()

    async def test_each_version_is_read_from_the_newest_head_before_it(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        etags, times = [await committed(store, creation("s", user_id="ann", expires_at=START + DAY))], [START]
        while len(etags) < 7:
            clock.advance(MINUTE)
            etags.append(await grow(store, "s", len(etags) + 1))
            times.append(clock.now)
        whole = await store.read("s")
        assert whole is not None
        assert whole.head is not None
        kept, old, new = new_block("x", 1, 3), new_block("x", 0, 1), new_block("x", 0, 2)
        second = await moved(store, "s", 2, added=[kept, old])
        fifth = await moved(store, "s", 5, added=[new], dropped=[old.block_id])
        for etag, time in zip(etags, times, strict=True):
            found = await store.read_version("s", etag.version)
            assert found is not None
            heads = [(whole.head, ()), (second, (old, kept)), (fifth, (new, kept))]
            assert (found.head, found.blocks) == max(
                (pair for pair in heads if pair[0].base <= etag.version), key=lambda pair: pair[0].base
            )
            assert found.etag == etag
            assert found.frames == tuple(
                frame for frame in whole.frames if found.head and found.head.base < frame.version <= etag.version
            )
            about = (found.user_id, found.epoch, found.created_at, found.updated_at, found.expires_at)
            assert about == ("ann", 0, START, time, START + DAY)

    @pytest.mark.parametrize("version", [-1, 0, 4])
    async def test_a_version_that_never_was(self, store: SessionStore, version: int) -> None:
        assert await store.read_version("s", 1) is None
        await grow(store, "s", 3)
        with pytest.raises(VersionUnavailableError) as caught:
            await store.read_version("s", version)
        assert (caught.value.version, caught.value.oldest, caught.value.newest) == (version, 1, 3)

    async def test_versions_before_the_oldest_head_are_gone(self, store: SessionStore, clock: ManualClock) -> None:
        etags = [await grow(store, "s", version) for version in range(1, 11)]
        block = new_block("", 0, 0)
        head = await moved(store, "s", 8, added=[block])
        # So long that of its frame nothing but the etag is needed.
        clock.advance(RETRY_WINDOW)
        now = await grow(store, "s", 200)
        newest = await moved(store, "s", now.version, added=[new_block("", 0, 0)], dropped=[block.block_id])
        with pytest.raises(VersionUnavailableError) as caught:
            await store.read_version("s", 7)
        assert caught.value.oldest == 8
        oldest, last = await store.read_version("s", 8), await store.read_version("s", 200)
        assert oldest is not None
        assert (oldest.etag, oldest.head, oldest.blocks, oldest.frames) == (etags[7], head, (block,), ())
        assert last is not None
        assert (last.etag, last.head, last.frames) == (now, newest, ())

    async def test_nothing_is_purged_where_versions_are_kept(self, keeping: SessionStore, clock: ManualClock) -> None:
        await grow(keeping, "s", 3)
        block = new_block("", 0, 0)
        await moved(keeping, "s", 3, added=[block])
        for _ in range(2):
            clock.advance(RETRY_WINDOW)
            now = await grow(keeping, "s", 300)
            replacement = new_block("", 0, 0)
            await moved(keeping, "s", now.version, added=[replacement], dropped=[block.block_id])
            block = replacement
        frames = await keeping.frames("s")
        assert [frame.version for frame in frames if frame.body is not None] == list(range(1, 301))
        first, third = await keeping.read_version("s", 2), await keeping.read_version("s", 3)
        assert first is not None
        assert third is not None
        assert (first.blocks, first.frames) == ((), frames[:2])
        assert (len(third.blocks), third.frames) == (1, ())

    async def test_a_context_as_it_was(self, store: SessionStore) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        seen = []
        for number in range(12):
            context.conversation_history.append(Message(role="user", content=f"message {number}"))
            if number % 5 == 3:
                context.conversation_history[0] = context.conversation_history[0].replace(content="reworded")
                del context.conversation_history[1]
            context.metadata["turn"] = number
            await store.save_session(context)
            seen.append(serialize_context(context))
            if number % 4 == 1:
                assert await folded(store, context)
        for was in seen:
            assert serialize_context(await store.at_version("s", was["version"])) == was
        context.product_query = "later"
        await store.save_session(context)
        assert serialize_context(await store.at_version("s", 3, user_id="u")) == seen[2]

    @pytest.mark.parametrize("field", ["product_query", "current_state"])
    async def test_an_old_version_overwrites_nothing_and_merges_with_nothing(
        self, store: SessionStore, field: str
    ) -> None:
        context = SwisperContext(session_id="s", user_id="u", product_query="first")
        await store.save_session(context)
        context.product_query = "second"
        await store.save_session(context)
        old = await store.at_version("s", 1)
        setattr(old, field, "third")
        for _ in range(2):
            with pytest.raises(ConflictError) as caught:
                await store.save_session(old)
            assert caught.value.expected is not None
            assert (caught.value.reason, caught.value.expected.version) == ("past", 1)
            assert (old.version, getattr(old, field)) == (1, "third")
        now = await store.load_session("s")
        assert now is not None
        assert serialize_context(now) == serialize_context(context)
        newest = await store.at_version("s", 2)
        newest.product_query = "third"
        await store.save_session(newest)
        assert newest.version == 3

    @pytest.mark.parametrize("by", ["refresh", "save", "delivery"])
    async def test_an_old_version_that_has_become_the_newest_merges(self, store: SessionStore, by: str) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        await store.save_session(context, change_id="first")
        newest = await store.at_version("s", 1)
        if by == "refresh":
            await store.refresh(newest)
        else:
            newest.metadata["by"] = by
            await store.save_session(newest, change_id="first" if by == "delivery" else None)
        other = await store.load_session("s")
        assert other is not None
        other.current_state = "theirs"
        await store.save_session(other)
        newest.product_query = "ours"
        await store.save_session(newest)
        assert (newest.current_state, newest.product_query) == ("theirs", "ours")

    async def test_what_each_version_changed(self, store: SessionStore, clock: ManualClock) -> None:
        context = SwisperContext(session_id="s", user_id="u", current_state="idle")
        await store.save_session(context, change_id="begin")
        clock.advance(MINUTE)
        context.metadata["a/b"] = 10**5000
        context.conversation_history.append(Message(role="user", content="x"))
        context.conversation_history.append(Message(role="user", content="y"))
        context.transition_to("searching")
        await store.save_session(context)
        first, second = await store.history("s", user_id="u")
        assert (first.version, first.time, first.change_id, first.paths) == (1, START, "begin", ("",))
        assert (second.version, second.time, second.change_id) == (2, START + MINUTE, None)
        assert second.paths is not None
        assert set(second.paths) == {"/metadata/a~1b", "/conversation_history/-", "/current_state"}
        assert len(second.paths) == 3
        frames = await store.frames("s")
        assert [version.size for version in (first, second)] == [len(frame.body or b"") for frame in frames]
        assert await store.history("s", after=1) == (second,)

    async def test_a_purged_version_is_told_without_its_patch(self, store: SessionStore, clock: ManualClock) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        for number in range(140):
            context.metadata["turn"] = number
            await store.save_session(context)
            if number == 2:
                assert await folded(store, context)
                clock.advance(GRACE_TIME)
        await store._checkpointer.settle()
        assert await folded(store, context)
        versions = await store.history("s")
        assert [version.version for version in versions] == list(range(1, 141))
        assert [v.version for v in versions if v.size is None] == [1, 2, 3]
        assert [v.version for v in versions if v.paths is None] == [1, 2, 3]
        assert (await store.at_version("s", 3)).metadata == {"turn": 2}
        with pytest.raises(VersionUnavailableError, match="the oldest is 3"):
            await store.at_version("s", 2)

    async def test_old_versions_are_for_their_user_alone(self, store: SessionStore) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        await store.save_session(context)
        for session_id, user_id, version in (("s", "other", 1), ("s", "other", 99), ("none", None, 1)):
            with pytest.raises(SessionNotFoundError):
                await store.at_version(session_id, version, user_id=user_id)
            with pytest.raises(SessionNotFoundError):
                await store.history(session_id, user_id=user_id)

    @pytest.mark.parametrize("version", [True, 1.0, "1", None, b"1"])
    async def test_a_version_is_a_whole_number(self, store: SessionStore, version: Any) -> None:
        await store.save_session(SwisperContext(session_id="s", user_id="u"))
        for session_id in ("s", "none"):
            with pytest.raises(TypeError, match="version"):
                await store.at_version(session_id, version)
            with pytest.raises(TypeError, match="version"):
                await store.history(session_id, after=version)
            if version is not None:
                with pytest.raises(TypeError, match="version"):
                    await store.fork(session_id, version=version)

    @pytest.mark.parametrize("version", [-(2**80), -(2**63) - 1, -1, 0, 3, 2**62, 2**63 - 1, 2**63, 2**80])
    async def test_versions_that_there_are_not(self, store: SessionStore, version: int) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        await store.save_session(context)
        context.product_query = "second"
        await store.save_session(context)
        known = "the oldest is 1" if version < 1 else f"there is no version {version} yet; the newest is 2"
        for asked in (store.at_version("s", version), store.fork("s", version=version)):
            with pytest.raises(VersionUnavailableError, match=known) as caught:
                await asked
            assert (caught.value.version, caught.value.newest) == (version, 2)
        versions = await store.history("s", after=version)
        assert [info.version for info in versions] == ([1, 2] if version < 1 else [])
        with pytest.raises(SessionNotFoundError):
            await store.at_version("none", version)
        with pytest.raises(SessionNotFoundError):
            await store.history("none", after=version)

    async def test_a_session_created_again_has_no_older_versions(self, store: SessionStore) -> None:
        await grow(store, "s", 9)
        await moved(store, "s", 5)
        await store.delete(["s"])
        etag = await grow(store, "s", 2)
        found = await store.read_version("s", 2)
        assert found is not None
        assert found.etag == etag
        assert await store.read("s", after=Etag(0, bytes(16))) == found._replace(head=None)
        with pytest.raises(VersionUnavailableError):
            await store.read_version("s", 5)
