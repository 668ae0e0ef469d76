"""A fork whose parent has become another session, or was recovered, while its content was copied."""

from __future__ import annotations

import asyncio

import pytest
from tests.stores.memory_bodies import bodies, replace_body

from swisper_ctx import SessionNotFoundError, SwisperContext
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore, Hang, ManualClock


async def made(store: MemorySessionStore) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    await store.save_session(context)
    context.product_query = "fridge"
    await store.save_session(context)


@pytest.mark.parametrize("became", ["another", "recovered"])
async def test_the_fork_of_a_session_that_is_no_longer_the_same_is_deleted(became: str) -> None:
    clock = ManualClock()
    store, hang = MemorySessionStore(clock=clock), Hang()
    await made(store)
    faulty = FaultyStore(store)
    faulty.inject("commit", hang)
    forking = asyncio.ensure_future(faulty.fork("s", new_session_id="t"))
    await hang.reached.wait()
    clock.advance(1)
    if became == "another":
        await store.delete(["s"])
        await made(store)
    else:
        (*_, last) = bodies(store)
        replace_body(store, last, b"damaged")
        assert (await store.recover("s")).restored == 3
    hang.release()
    with pytest.raises(SessionNotFoundError):
        await forking
    assert await store.load_session("t") is None
    assert await store.load_session("s") is not None
