"""What every store must do. The tests of a store subclass StoreContract and give it the fixture `store`."""

from __future__ import annotations

import asyncio

import pytest
from tests.stores.changes import (
    DAY,
    START,
    ManualClock,
    append,
    commit,
    committed,
    creation,
    grow,
    moved,
    new_block,
    new_head,
)

from swisper_ctx.errors import StoreError
from swisper_ctx.log import (
    GRACE_TIME,
    GRACE_VERSIONS,
    RETRY_WINDOW,
    Checkpoint,
    CommitResult,
    Etag,
    Frame,
    SessionInfo,
    StoredSession,
)
from swisper_ctx.stores.base import SessionStore

GROUP_SIZES = [2, 3, 31, 64, 65, 200]


class CommitContract:
    async def test_a_created_session_is_read_back_whole(self, store: SessionStore) -> None:
        change = creation("s", user_id="ann", frame=b"hello", change_id="c", messages=3, expires_at=START + 7, epoch=2)
        assert await commit(store, change) == [CommitResult(START)]
        assert await store.read("s") == StoredSession(
            "s",
            "ann",
            change.etag,
            2,
            START,
            START,
            START + 7,
            change.head,
            (),
            (Frame(1, change.etag.token, "c", START, b"hello"),),
        )

    async def test_a_session_is_created_once(self, store: SessionStore) -> None:
        first = creation("s")
        await committed(store, first)
        assert await commit(store, creation("s")) == [CommitResult(None)]
        assert await store.etags(["s"]) == {"s": first.etag}

    async def test_a_creation_without_a_head_fails_alone(self, store: SessionStore) -> None:
        results = await commit(store, creation("a"), creation("b")._replace(head=None), creation("c"))
        assert [result.time for result in results] == [START, None, START]
        assert isinstance(results[1].error, StoreError)
        assert set(await store.etags(["a", "b", "c"])) == {"a", "c"}

    async def test_an_append_moves_the_session(self, store: SessionStore, clock: ManualClock) -> None:
        first = await committed(store, creation("s", messages=1, expires_at=START + DAY))
        clock.advance(5)
        change = append("s", first, frame=b"more", messages=2)
        await committed(store, change)
        stored = await store.read("s")
        assert stored is not None
        assert stored.etag == change.etag
        assert (stored.created_at, stored.updated_at, stored.expires_at) == (START, START + 5, START + DAY)
        assert stored.frames[1] == Frame(2, change.etag.token, None, START + 5, b"more")

    @pytest.mark.parametrize(
        "expected",
        [Etag(2, bytes(16)), Etag(1, b""), Etag(3, b"")],
        ids=["another token", "an older version", "a version to come"],
    )
    async def test_an_append_is_refused_at_any_other_etag(self, store: SessionStore, expected: Etag) -> None:
        now = await grow(store, "s", 2)
        expected = expected if expected.version == 2 else Etag(expected.version, now.token)
        before = await store.read("s")
        assert await commit(store, append("s", expected)) == [CommitResult(None)]
        assert await store.read("s") == before

    async def test_only_a_creation_creates(self, store: SessionStore) -> None:
        assert await commit(store, append("s", Etag(1, bytes(16)))) == [CommitResult(None)]
        assert await store.read("s") is None
        assert await store.frames("s") == ()

    async def test_what_a_change_leaves_open_stays(self, store: SessionStore) -> None:
        first = await committed(store, creation("s", messages=4, expires_at=START + 9))
        second = await committed(store, append("s", first))
        assert await self.line(store) == (4, START + 9)
        third = await committed(store, append("s", second, messages=0, expires_at=START + 10))
        assert await self.line(store) == (0, START + 10)
        await grow(store, "t", 1)
        other = (await store.etags(["t"]))["t"]
        await commit(store, append("s", third, expires_at=START + 11), append("t", other, messages=8))
        assert await self.line(store) == (0, START + 11)

    async def line(self, store: SessionStore) -> tuple[int, int | None]:
        lines = {line.session_id: line for line in (await store.sessions()).sessions}
        return lines["s"].messages, lines["s"].expires_at

    async def test_a_change_id_is_written_once_in_a_session(self, store: SessionStore) -> None:
        first = await committed(store, creation("s", change_id="order-1"))
        second = await committed(store, append("s", first, change_id="order-2"))
        for change_id in ("order-1", "order-2"):
            assert await commit(store, append("s", second, change_id=change_id)) == [CommitResult(None)]
        await committed(store, creation("t", change_id="order-1"))
        await committed(store, append("s", second, change_id="order-3"))

    async def test_a_group_with_a_known_change_id_writes_the_others(self, store: SessionStore) -> None:
        etags = [await committed(store, creation(name, change_id="first")) for name in "abc"]
        group = [
            append(name, etag, change_id="first" if name == "b" else "next")
            for name, etag in zip("abc", etags, strict=True)
        ]
        assert [result.time for result in await store.commit(group)] == [START, None, START]
        assert await store.etags("abc") == {"a": group[0].etag, "b": etags[1], "c": group[2].etag}
        assert len(await store.frames("b")) == 1

    @pytest.mark.parametrize("size", GROUP_SIZES)
    async def test_a_group_is_written_whole(self, store: SessionStore, size: int) -> None:
        names = [f"s{number}" for number in range(size)]
        created = [creation(name) for name in names]
        assert await store.commit(created) == [CommitResult(START)] * size
        group = [append(change.session_id, change.etag, messages=size) for change in created]
        assert await store.commit(group) == [CommitResult(START)] * size
        assert await store.etags(names) == {change.session_id: change.etag for change in group}
        assert [await store.frames(name, after=1) for name in names] == [
            (Frame(2, change.etag.token, None, START, change.frame),) for change in group
        ]

    @pytest.mark.parametrize("size", GROUP_SIZES)
    async def test_refused_changes_leave_the_rest_of_their_group(self, store: SessionStore, size: int) -> None:
        created = [creation(f"s{number}") for number in range(size)]
        await store.commit(created)
        group = [append(change.session_id, change.etag) for change in created]
        refused = {0, size // 2}
        for number in refused:
            group[number] = append(created[number].session_id, Etag(1, bytes(16)))
        group.append(creation("new"))
        results = await store.commit(group)
        assert [result.time is None for result in results] == [number in refused for number in range(size + 1)]
        assert all(result.error is None for result in results)
        etags = await store.etags([change.session_id for change in group])
        assert etags == {
            change.session_id: created[number].etag if number in refused else change.etag
            for number, change in enumerate(group)
        }

    async def test_one_of_many_writers_wins(self, store: SessionStore) -> None:
        first = await committed(store, creation("s"))
        rivals = [append("s", first, frame=f"rival {number}".encode()) for number in range(20)]
        results = await asyncio.gather(*(store.commit([rival]) for rival in rivals))
        (winner,) = [rival for rival, [result] in zip(rivals, results, strict=True) if result.time is not None]
        assert await store.etags(["s"]) == {"s": winner.etag}
        assert [frame.body for frame in await store.frames("s", after=1)] == [winner.frame]

    async def test_nothing_to_commit(self, store: SessionStore) -> None:
        assert await store.commit([]) == []

    @pytest.mark.parametrize("name", ["", "Zürich", "a\0b", "a'b\"c;--", "𝄞" * 200])
    async def test_any_text_is_an_id(self, store: SessionStore, name: str) -> None:
        etag = await committed(store, creation(name, user_id=name, change_id=name, frame=b""))
        stored = await store.read(name)
        assert stored is not None
        assert (stored.session_id, stored.user_id, stored.frames[0].change_id) == (name, name, name)
        assert stored.frames[0].body == b""
        assert await store.etags([name]) == {name: etag}
        assert [line.session_id for line in (await store.sessions(user_id=name)).sessions] == [name]
        assert await store.delete([name]) == 1

    async def test_a_large_frame_comes_back(self, store: SessionStore) -> None:
        frame = bytes(range(256)) * 20_000
        await committed(store, creation("s", frame=frame))
        assert [found.body for found in await store.frames("s")] == [frame]


class ReadContract:
    async def test_etags_of_those_that_exist(self, store: SessionStore) -> None:
        etags = {name: await grow(store, name, 2) for name in "ab"}
        assert await store.etags(["a", "b", "c"]) == etags
        assert await store.etags(["c"]) == {}
        assert await store.etags([]) == {}
        many = [f"m{number}" for number in range(300)]
        created = [creation(name) for name in many]
        await store.commit(created)
        assert len(await store.etags(many)) == 300

    async def test_no_such_session(self, store: SessionStore) -> None:
        assert await store.read("s") is None
        assert await store.read("s", after=Etag(1, bytes(16))) is None
        assert await store.frames("s") == ()

    @pytest.mark.parametrize("after", range(6))
    async def test_the_frames_after_an_etag(self, store: SessionStore, after: int) -> None:
        now = await grow(store, "s", 4)
        await moved(store, "s", 2, added=[new_block("", 0, 0)])
        stored = await store.read("s", after=Etag(after, bytes(16)))
        assert stored is not None
        assert (stored.etag, stored.head, stored.blocks) == (now, None, ())
        assert [frame.version for frame in stored.frames] == [version for version in range(1, 5) if version > after]

    async def test_frames_in_pages(self, store: SessionStore) -> None:
        await grow(store, "s", 5)
        assert [frame.version for frame in await store.frames("s")] == [1, 2, 3, 4, 5]
        assert [frame.version for frame in await store.frames("s", after=1, limit=2)] == [2, 3]
        assert [frame.version for frame in await store.frames("s", after=4, limit=2)] == [5]
        assert await store.frames("s", after=5) == ()

    async def test_a_tail_has_the_last_records_of_each_list(self, store: SessionStore) -> None:
        await grow(store, "s", 2)
        blocks = [new_block("history", number, 10) for number in range(4)]
        others = [new_block("", 0, 0), new_block("large", 0, 0), new_block("results", 0, 7), new_block("results", 1, 3)]
        await moved(store, "s", 1, added=[*reversed(blocks), *others])
        for tail in (0, 1, 10, 11, 25, 40, 100):
            stored = await store.read("s", tail=tail)
            assert stored is not None
            assert [frame.version for frame in stored.frames] == [2]
            for field, total in (("history", 40), ("results", 10)):
                every = [block for block in blocks + others if block.field == field]
                found = [block for block in stored.blocks if block.field == field]
                assert found == every[len(every) - len(found) :]
                assert sum(block.records for block in found) >= min(tail, total)
            assert {block.field for block in stored.blocks} >= {"", "large"}


class CheckpointContract:
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
        await moved(store, "s", 1)
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


class SessionsContract:
    async def test_delete_leaves_nothing(self, store: SessionStore) -> None:
        await grow(store, "s", 3)
        other = await grow(store, "t", 3)
        await moved(store, "s", 2, added=[new_block("", 0, 0)])
        assert await store.delete(["s", "s", "unknown"]) == 1
        assert await store.delete(["s"]) == 0
        assert await store.etags(["s", "t"]) == {"t": other}
        assert (await store.read("s"), await store.frames("s")) == (None, ())
        assert [line.session_id for line in (await store.sessions()).sessions] == ["t"]
        again = await committed(store, creation("s", change_id="c"))
        stored = await store.read("s")
        assert stored is not None
        assert (stored.etag, stored.blocks) == (again, ())
        assert [frame.token for frame in stored.frames] == [again.token]

    async def test_only_what_has_expired_by_now_is_deleted_as_expired(
        self, store: SessionStore, clock: ManualClock
    ) -> None:
        await committed(store, creation("gone", expires_at=START + 10))
        saved = await committed(store, creation("saved again", expires_at=START + 10))
        await committed(store, creation("for ever"))
        clock.advance(10)
        assert {line.session_id for line in (await store.sessions(expired=True)).sessions} == {"gone", "saved again"}
        await committed(store, append("saved again", saved, expires_at=START + 11))
        assert await store.delete(["gone", "saved again", "for ever"], expired=True) == 1
        assert set(await store.etags(["gone", "saved again", "for ever"])) == {"saved again", "for ever"}

    async def test_a_listing_says_what_there_is(self, store: SessionStore, clock: ManualClock) -> None:
        etag = await committed(store, creation("s", user_id="ann", messages=1, expires_at=START + 9))
        clock.advance(3)
        await committed(store, append("s", etag, messages=2))
        page = await store.sessions()
        assert page.sessions == (SessionInfo("s", "ann", 2, 2, START, START + 3, START + 9),)
        assert page.cursor is None

    async def test_pages_newest_first(self, store: SessionStore) -> None:
        names = [f"s{number}" for number in range(7)]
        for name in names:
            await committed(store, creation(name))
        assert await self.walk(store, limit=3) == [["s6", "s5", "s4"], ["s3", "s2", "s1"], ["s0"]]
        assert await self.walk(store, limit=7) == [names[::-1]]
        first = await store.sessions(limit=3)
        await store.delete(["s6", "s4", "s3"])
        await committed(store, creation("new"))
        rest = await store.sessions(limit=3, cursor=first.cursor)
        assert [line.session_id for line in rest.sessions] == ["s2", "s1", "s0"]

    async def test_pages_of_a_user_and_of_the_expired(self, store: SessionStore, clock: ManualClock) -> None:
        for number in range(12):
            expires_at = START + 5 if number % 3 == 0 else START + 50 if number % 3 == 1 else None
            await committed(store, creation(f"s{number}", user_id="ab"[number % 2], expires_at=expires_at))
        clock.advance(5)
        assert await self.walk(store, user_id="a", limit=4) == [["s10", "s8", "s6", "s4"], ["s2", "s0"]]
        assert await self.walk(store, expired=True, limit=3) == [["s9", "s6", "s3"], ["s0"]]
        assert await self.walk(store, user_id="b", expired=True, limit=1) == [["s9"], ["s3"]]
        assert await self.walk(store, user_id="c") == [[]]

    async def walk(
        self, store: SessionStore, *, user_id: str | None = None, expired: bool = False, limit: int = 100
    ) -> list[list[str]]:
        pages, cursor = [], None
        while True:
            page = await store.sessions(user_id=user_id, expired=expired, cursor=cursor, limit=limit)
            pages.append([line.session_id for line in page.sessions])
            cursor = page.cursor
            if cursor is None:
                return pages

    @pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5"])
    async def test_a_foreign_cursor_is_an_error(self, store: SessionStore, cursor: str) -> None:
        with pytest.raises(StoreError, match="cursor"):
            await store.sessions(cursor=cursor)


class ClosingContract:
    async def test_a_closed_store_does_nothing_more(self, store: SessionStore) -> None:
        await grow(store, "s", 2)
        await store.aclose()
        await store.aclose()
        for operation in (
            store.etags(["s"]),
            store.read("s"),
            store.frames("s"),
            store.commit([creation("t")]),
            store.checkpoint(Checkpoint("s", bytes(16), new_head(), (), ())),
            store.delete(["s"]),
            store.sessions(),
        ):
            with pytest.raises(StoreError, match="closed"):
                await operation


class StoreContract(CommitContract, ReadContract, CheckpointContract, SessionsContract, ClosingContract):
    """Everything above, for the fixture `store`, whose clock is the fixture `clock`."""
