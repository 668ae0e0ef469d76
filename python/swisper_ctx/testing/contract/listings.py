"""Deleting and listing sessions."""

from __future__ import annotations

import pytest

from swisper_ctx.errors import StoreError
from swisper_ctx.log import SessionInfo
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import append, committed, creation, grow, moved, new_block
from swisper_ctx.testing.clock import START, ManualClock


class SessionsContract:
    """Deleting and listing sessions."""

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

    @pytest.mark.parametrize("limit", [0, -1, 2**63])
    async def test_a_page_of_a_size_that_there_is_not(self, store: SessionStore, limit: int) -> None:
        with pytest.raises(ValueError, match="limit"):
            await store.sessions(limit=limit)

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

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_page_has_at_least_one_session(self, store: SessionStore, limit: int) -> None:
        await grow(store, "s", 1)
        with pytest.raises(ValueError, match="limit"):
            await store.sessions(limit=limit)
