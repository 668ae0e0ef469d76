from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from tests.stores.memory_bodies import bodies, remove_body, replace_body

from swisper_ctx.errors import StoreError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import ManualClock, StoreContract
from swisper_ctx.testing.changes import append, commit, creation, grow


class TestMemorySessionStore(StoreContract):
    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> MemorySessionStore:
        return MemorySessionStore(keep_versions=keep_versions, clock=clock)

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        assert isinstance(store, MemorySessionStore)
        return bodies(store)

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        assert isinstance(store, MemorySessionStore)
        replace_body(store, old, new)

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        assert isinstance(store, MemorySessionStore)
        remove_body(store, old)


async def test_a_group_that_stops_before_its_end_leaves_nothing() -> None:
    def stop(name: str) -> None:
        if name == "commit.applied" and armed:
            raise InterruptedError

    armed = False
    store = MemorySessionStore(failpoint=stop)
    etag = await grow(store, "s", 1)
    armed = True
    with pytest.raises(InterruptedError):
        await commit(store, append("s", etag), creation("t"))
    armed = False
    assert await store.etags(["s", "t"]) == {"s": etag}
    assert len(await store.frames("s")) == 1


def test_a_url_with_a_place_in_it_is_refused() -> None:
    with pytest.raises(StoreError, match="memory://"):
        MemorySessionStore.from_url("memory:///here")


async def test_a_commit_copies_nothing_of_what_is_kept() -> None:
    store = MemorySessionStore()
    etag = await grow(store, "s", 50_000)
    taken = []
    tracemalloc.start()
    for _ in range(5):
        change = append("s", etag)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        await commit(store, change)
        taken.append(tracemalloc.get_traced_memory()[1] - before)
        etag = change.etag
    tracemalloc.stop()
    # One pointer to each frame would be 400,000 bytes.
    assert min(taken) < 10_000
