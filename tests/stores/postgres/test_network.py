"""The network between the store and its server fails: what is answered is so, in time, and nothing is written twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.servers.proxy import BlackHole, Cut, Delay, FaultProxy, Garbage, HoldReplies, Mode, Pass, Refuse
from tests.stores.postgres.locks import assert_whole
from tests.stores.postgres.schemas import execute

from swisper_ctx import Message, OutcomeUnknownError, StoreUnavailableError, SwisperContext
from swisper_ctx.stores.postgres import PostgresSessionStore

pytestmark = pytest.mark.servers
TIMEOUT = 0.4
VERSION = "SELECT version FROM session_etags WHERE session_id = 's'"
WRITTEN = "SELECT count(*) FROM context_frames WHERE session_id = 's'"


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(url) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: FaultProxy) -> AsyncIterator[PostgresSessionStore]:
    store = PostgresSessionStore(proxy.url, acquire_timeout=TIMEOUT, command_timeout=TIMEOUT)
    yield store
    await proxy.switch(Pass())
    await store.aclose()


@pytest.fixture
async def context(store: PostgresSessionStore) -> SwisperContext:
    context = SwisperContext(session_id="s", user_id="u")
    await store.save_session(context)
    return context


async def say(store: PostgresSessionStore, context: SwisperContext) -> str:
    """Save one message more; the name of the error, if there is one."""
    context.conversation_history.append(Message("user", "hello"))
    try:
        await store.save_session(context)
    except (StoreUnavailableError, OutcomeUnknownError) as error:
        return type(error).__name__
    return "saved"


async def moved_on(url: str, version: int) -> None:
    """Wait until the server has written the next version."""
    for _ in range(5_000):
        if (await execute(url, VERSION))[0][0] != version:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("nothing was written")


async def assert_once(store: PostgresSessionStore, url: str, context: SwisperContext) -> None:
    """Each message of the context is stored once."""
    loaded = await store.load_session("s")
    assert loaded is not None
    assert [message.message_id for message in loaded.conversation_history] == [
        message.message_id for message in context.conversation_history
    ]
    assert loaded.version == context.version
    await assert_whole(url)


async def test_an_answer_that_is_lost_with_its_connection_is_found(
    store: PostgresSessionStore, proxy: FaultProxy, url: str, context: SwisperContext
) -> None:
    # Else its statement is yet to be prepared.
    assert await say(store, context) == "saved"
    for _ in range(5):
        before = (await execute(url, VERSION))[0][0]
        await proxy.switch(HoldReplies())
        saving = asyncio.ensure_future(say(store, context))
        await moved_on(url, before)
        await proxy.drop()
        await proxy.switch(Pass())
        assert await saving == "saved"
    assert (await execute(url, WRITTEN))[0][0] == 7
    await assert_once(store, url, context)


@pytest.mark.parametrize("mode", [BlackHole(), HoldReplies(), Refuse(), Delay(2 * TIMEOUT)])
async def test_a_network_that_is_gone_is_told_of_in_time(
    store: PostgresSessionStore, proxy: FaultProxy, url: str, context: SwisperContext, mode: Mode
) -> None:
    assert await store.load_session("s")
    await proxy.switch(mode)
    began = time.monotonic()
    assert await say(store, context) == ("StoreUnavailableError" if mode == Refuse() else "OutcomeUnknownError")
    with pytest.raises(StoreUnavailableError):
        await store.load_session("s")
    assert time.monotonic() - began < 3 * TIMEOUT + 1
    assert await say(store, context) in {"OutcomeUnknownError", "StoreUnavailableError"}
    await proxy.switch(Pass())
    await store.save_session(context)
    await assert_once(store, url, context)


async def test_replies_that_are_cut_anywhere(
    store: PostgresSessionStore, proxy: FaultProxy, url: str, context: SwisperContext, effort: int
) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(25 * effort):
        await proxy.switch(Cut(number * 17 % 600))
        saving = asyncio.ensure_future(say(store, context))
        await asyncio.sleep(0.02)
        await proxy.switch(Pass())
        outcomes[await saving] += 1
    await store.save_session(context)
    assert outcomes["saved"] > 0.8 * outcomes.total()
    await assert_once(store, url, context)


async def test_replies_that_are_garbage(
    store: PostgresSessionStore, proxy: FaultProxy, url: str, context: SwisperContext, effort: int
) -> None:
    for seed in range(15 * effort):
        await proxy.switch(Garbage(seed))
        saving = asyncio.ensure_future(say(store, context))
        reading = asyncio.ensure_future(store.read("s"))
        await asyncio.sleep(0.02)
        await proxy.switch(Pass())
        await saving
        (read,) = await asyncio.gather(reading, return_exceptions=True)
        assert isinstance(read, StoreUnavailableError | tuple), repr(read)
    await store.save_session(context)
    await assert_once(store, url, context)


async def test_a_reader_that_is_cancelled_does_not_wait(
    store: PostgresSessionStore, proxy: FaultProxy, context: SwisperContext
) -> None:
    await proxy.switch(BlackHole())
    reading = asyncio.ensure_future(store.read("s"))
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait([reading], timeout=TIMEOUT / 2)
    assert reading.cancelled()


async def test_closing_through_a_black_hole_ends(store: PostgresSessionStore, proxy: FaultProxy) -> None:
    await store.read("s")
    await store.commit([])
    await proxy.switch(BlackHole())
    began = time.monotonic()
    await store.aclose()
    assert time.monotonic() - began < 5 * TIMEOUT + 1
