"""Committing changes, alone and in groups."""

from __future__ import annotations

import asyncio

import pytest

from swisper_ctx.errors import StoreError
from swisper_ctx.log import CommitResult, Etag, Frame, StoredSession
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import append, commit, committed, creation, grow
from swisper_ctx.testing.clock import DAY, START, ManualClock

GROUP_SIZES = [2, 3, 31, 64, 65, 200]


class CommitContract:
    """Committing changes, alone and in groups."""

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

    async def test_which_change_ids_a_session_holds(self, store: SessionStore, clock: ManualClock) -> None:
        first = await committed(store, creation("s", change_id="order-1", expires_at=START + DAY))
        await committed(store, append("s", first))
        await committed(store, creation("t", change_id="order-2"))
        asked = [("s", "order-1"), ("s", "order-2"), ("t", "order-2"), ("none", "order-1")]
        assert [await store.holds(*each) for each in asked] == [True, False, True, False]
        clock.advance(DAY)
        assert [await store.holds(*each) for each in asked] == [False, False, True, False]

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
