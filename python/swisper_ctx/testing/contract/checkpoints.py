"""Moving heads, and what the grace period protects."""

from __future__ import annotations

import pytest

from swisper_ctx.errors import StoreError
from swisper_ctx.log import GRACE_TIME, GRACE_VERSIONS, RETRY_WINDOW, Checkpoint, CommitResult, Frame
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import append, commit, committed, creation, grow, moved, new_block, new_head
from swisper_ctx.testing.clock import START, ManualClock


class CheckpointContract:
    """Moving heads, and what the grace period protects."""

    async def test_a_checkpoint_takes_the_place_of_frames(self, store: SessionStore) -> None:
        etag = await grow(store, "s", 4)
        added = [new_block("history", 1, 5), new_block("", 0, 0), new_block("history", 0, 9)]
        head = await moved(store, "s", 3, added=added)
        stored = await store.read("s")
        assert stored is not None
        assert (stored.etag, stored.head) == (etag, head)
        assert stored.blocks == (added[1], added[2], added[0])
        assert [frame.version for frame in stored.frames] == [4]
        assert len(await store.frames("s")) == 4

    async def test_blocks_come_and_go(self, store: SessionStore) -> None:
        await grow(store, "s", 4)
        old, short = new_block("history", 0, 9), new_block("history", 1, 2)
        await moved(store, "s", 2, added=[old, short])
        longer = new_block("history", 1, 4, b"longer")
        head = await moved(store, "s", 4, added=[longer], dropped=[short.block_id])
        stored = await store.read("s")
        assert stored is not None
        assert (stored.head, stored.blocks, stored.frames) == (head, (old, longer), ())

    async def test_a_head_gives_way_to_one_of_its_own_version(self, store: SessionStore) -> None:
        await grow(store, "s", 3)
        first = new_block("", 0, 0)
        await moved(store, "s", 3, added=[first])
        second = new_block("", 0, 0)
        head = await moved(store, "s", 3, added=[second], dropped=[first.block_id])
        stored = await store.read("s")
        assert stored is not None
        assert (stored.head, stored.blocks) == (head, (second,))
        third = new_block("", 0, 0)
        await moved(store, "s", 3, added=[third], dropped=[second.block_id])

    async def test_only_one_follows_a_head(self, store: SessionStore) -> None:
        await grow(store, "s", 3)
        stored = await store.read("s")
        assert stored is not None
        assert stored.head is not None
        head = await moved(store, "s", 2)
        late = Checkpoint("s", stored.head.stamp, new_head(3), (new_block("", 0, 0),), ())
        assert await store.checkpoint(late) is False
        after = await store.read("s")
        assert after is not None
        assert (after.head, after.blocks) == (head, ())

    async def test_a_session_created_again_is_not_the_same(self, store: SessionStore) -> None:
        assert await store.checkpoint(Checkpoint("s", bytes(16), new_head(1), (), ())) is False
        first = creation("s")
        await committed(store, first)
        assert first.head is not None
        await store.delete(["s"])
        await committed(store, creation("s"))
        late = Checkpoint("s", first.head.stamp, new_head(1), (), ())
        assert await store.checkpoint(late) is False

    @pytest.mark.parametrize("base", [1, 4])
    async def test_a_head_stands_between_the_last_one_and_now(self, store: SessionStore, base: int) -> None:
        await grow(store, "s", 3)
        last = await moved(store, "s", 2)
        with pytest.raises(StoreError, match="between"):
            await store.checkpoint(Checkpoint("s", last.stamp, new_head(base), (), ()))

    async def test_a_checkpoint_that_does_not_fit_changes_nothing(self, store: SessionStore) -> None:
        await grow(store, "s", 3)
        block = new_block("", 0, 0)
        last = await moved(store, "s", 2, added=[block])
        before = await store.read("s")
        unknown = Checkpoint("s", last.stamp, new_head(3), (new_block("x", 0, 0),), (bytes(16),))
        same_id = Checkpoint("s", last.stamp, new_head(3), (block._replace(field="x"),), ())
        same_place = Checkpoint("s", last.stamp, new_head(3), (new_block("", 0, 0),), ())
        for checkpoint in (unknown, same_id, same_place):
            with pytest.raises(StoreError):
                await store.checkpoint(checkpoint)
            assert await store.read("s") == before

    async def test_turns_go_on_beside_checkpoints(self, store: SessionStore) -> None:
        etag = await grow(store, "s", 3)
        await moved(store, "s", 3)
        await committed(store, append("s", etag))
        stored = await store.read("s")
        assert stored is not None
        assert [frame.version for frame in stored.frames] == [4]

    @pytest.mark.parametrize(
        ("versions", "time", "purged"),
        [
            (GRACE_VERSIONS, GRACE_TIME, True),
            (GRACE_VERSIONS - 1, GRACE_TIME, False),
            (GRACE_VERSIONS, GRACE_TIME - 1, False),
        ],
    )
    async def test_patches_stay_until_both_versions_and_time_have_passed(
        self, store: SessionStore, clock: ManualClock, versions: int, time: int, purged: bool
    ) -> None:
        await grow(store, "s", 10)
        await moved(store, "s", 8)
        clock.advance(time)
        now = await grow(store, "s", 8 + versions)
        await moved(store, "s", now.version)
        frames = await store.frames("s")
        assert [frame.version for frame in frames] == list(range(1, now.version + 1))
        assert [frame.version for frame in frames if frame.body is None] == (list(range(1, 9)) if purged else [])

    async def test_a_purged_frame_still_refuses_its_change_id_for_a_time(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        first = await committed(store, creation("s", change_id="once"))
        await grow(store, "s", 2)
        await moved(store, "s", 2)
        clock.advance(GRACE_TIME)
        now = await grow(store, "s", 200)
        await moved(store, "s", 150)
        assert await store.frames("s", limit=1) == (Frame(1, first.token, "once", START, None),)
        assert await commit(store, append("s", now, change_id="once")) == [CommitResult(None)]
        clock.advance(RETRY_WINDOW - GRACE_TIME - 1)
        await moved(store, "s", 151)
        assert (await store.frames("s", limit=1))[0].version == 1
        clock.advance(1)
        await moved(store, "s", 152)
        assert (await store.frames("s", limit=1))[0].version == 2
        assert (await commit(store, append("s", now, change_id="once")))[0].time == clock.now

    async def test_purging_leaves_what_is_in_use(self, store: SessionStore, clock: ManualClock) -> None:
        await grow(store, "s", 10)
        kept, dropped = new_block("history", 0, 1), new_block("history", 1, 1)
        await moved(store, "s", 5, added=[kept, dropped])
        for base in (10, 150, 300):
            clock.advance(GRACE_TIME)
            await grow(store, "s", base)
            replacement = new_block("history", 1, base)
            await moved(store, "s", base, added=[replacement], dropped=[dropped.block_id])
            dropped = replacement
        stored = await store.read("s")
        assert stored is not None
        assert stored.blocks == (kept, dropped)
