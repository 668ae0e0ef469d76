from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.stores.changes import ManualClock, append, commit, creation, grow
from tests.stores.contract import StoreContract

from swisper_ctx.errors import StoreError
from swisper_ctx.stores.memory import MemorySessionStore


@pytest.fixture
async def store(clock: ManualClock) -> AsyncIterator[MemorySessionStore]:
    store = MemorySessionStore(clock=clock)
    yield store
    await store.aclose()


class TestMemorySessionStore(StoreContract):
    pass


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
