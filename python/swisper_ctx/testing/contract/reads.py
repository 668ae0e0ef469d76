"""Reading sessions, whole and in parts."""

from __future__ import annotations

import pytest

from swisper_ctx.log import Etag
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import creation, grow, moved, new_block


class ReadContract:
    """Reading sessions, whole and in parts."""

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
                given = [block for block in stored.blocks if block.field == field]
                found = [block for block in given if block.body is not None]
                assert found == every[len(every) - len(found) :]
                assert [block._replace(body=None) for block in given] == [b._replace(body=None) for b in every]
                assert min(tail, total) <= sum(block.records for block in found) < tail + 10
                left = [block.block_id for block in given if block.body is None]
                fetched = await store.blocks("s", [*left, bytes(16)])
                assert sorted(fetched) == sorted(every[: len(left)])
                assert await store.blocks("other", left) == ()
            assert {block.field for block in stored.blocks} >= {"", "large"}
