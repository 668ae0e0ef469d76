"""Connections end with their event loop; the store goes on in the next one."""

from __future__ import annotations

import asyncio
import gc

import asyncpg
import pytest
from tests.stores.postgres.schemas import execute

from swisper_ctx import Message, OutcomeUnknownError, StoreError, SwisperContext
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing.changes import grow

pytestmark = pytest.mark.servers
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'swisper_ctx'"


async def assert_disconnected(url: str) -> None:
    for _ in range(500):
        if (await execute(url, CONNECTED))[0][0] == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("connections are left")


def test_a_store_outlives_its_event_loop(url: str) -> None:
    store = PostgresSessionStore(url)
    for versions in (1, 2, 3):
        assert asyncio.run(grow(store, "s", versions)).version == versions
        # Anything left open would be told of here.
        gc.collect()
        asyncio.run(assert_disconnected(url))
    asyncio.run(store.aclose())


def test_a_loop_that_ends_under_a_save(url: str) -> None:
    store = PostgresSessionStore(url)
    context = SwisperContext(session_id="s", user_id="u")
    asyncio.run(store.save_session(context))

    async def leave() -> None:
        context.conversation_history.append(Message("user", "hello"))
        saving = asyncio.ensure_future(store.save_session(context))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del saving

    asyncio.run(leave())
    gc.collect()
    for _ in range(3):
        try:
            asyncio.run(store.save_session(context))
            break
        except OutcomeUnknownError:
            continue
    loaded = asyncio.run(store.load_session("s"))
    assert loaded is not None
    assert len(loaded.conversation_history) == 1
    asyncio.run(store.aclose())


def test_two_event_loops_at_the_same_time_are_refused(url: str) -> None:
    store = PostgresSessionStore(url)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(grow(store, "s", 1))
        with pytest.raises(StoreError, match="another event loop"):
            other.run(store.read("s"))
        assert one.run(store.read("s"))
    assert asyncio.run(store.etags(["s"]))
    asyncio.run(store.aclose())


async def test_a_pool_of_the_caller_has_its_connections_back(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=0, max_size=4) as pool:
        store = PostgresSessionStore(pool=pool)
        await asyncio.gather(grow(store, "s", 2), grow(store, "t", 2))
        await store.aclose()
        assert pool.get_size() == pool.get_idle_size()
