"""One store in several event loops, at the same time and one after the other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from swisper_ctx import SwisperContext
from swisper_ctx.errors import StoreError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore

OTHERS = "this store is in use by another event loop; open one store in each"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    return MemorySessionStore() if request.param == "memory" else SQLiteSessionStore(tmp_path / "s.db")


async def until_admitted(work: Callable[[], Awaitable[None]]) -> None:
    """Do it, however often another event loop is in the way."""
    while True:
        try:
            return await work()
        except StoreError as error:
            if str(error) != OTHERS:
                raise
            await asyncio.sleep(0.001)


def in_threads(count: int, work: Callable[[int], Awaitable[None]]) -> None:
    """Each in a thread and an event loop of its own, all at once."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            asyncio.run(asyncio.wait_for(work(number), 20))
        except BaseException as error:  # noqa: BLE001 - for the thread of the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []


def test_loops_of_several_threads_take_turns_and_none_waits_for_ever(store: SessionStore) -> None:
    acknowledged = []

    async def create_and_save(number: int) -> None:
        for turn in range(50):
            context = SwisperContext(session_id=f"{number}.{turn}", user_id="u")
            await until_admitted(partial(store.save_session, context))
            context.soft_preferences["n"] = turn
            await until_admitted(partial(store.save_session, context))
            acknowledged.append(context.session_id)

    in_threads(4, create_and_save)
    assert len(acknowledged) == 200
    stored = asyncio.run(store.etags(acknowledged))
    assert {etag.version for etag in stored.values()} == {2}
    assert len(stored) == 200
    asyncio.run(store.aclose())


def test_a_loop_that_is_running_keeps_the_store_also_at_rest(store: SessionStore) -> None:
    context = SwisperContext(user_id="u")

    async def held() -> None:
        await store.save_session(context)
        context.soft_preferences["n"] = 1
        for work in (store.save_session(context), store.aclose()):
            with pytest.raises(StoreError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, work)
        await store.save_session(context)

    asyncio.run(held())
    assert context.version == 2
    asyncio.run(store.aclose())


async def test_a_save_that_is_being_made_is_not_made_a_second_time_meanwhile() -> None:
    """That is an error of who asks, not the end of the process."""
    errors: list[Exception] = []
    context = SwisperContext(user_id="u")

    def clock() -> int:
        if context._position.saves and not errors:
            with pytest.raises(RuntimeError, match="borrowed") as raised:
                context._position.saves[0].change()
            errors.append(raised.value)
        return 1

    store = MemorySessionStore(clock=clock)
    await store.save_session(context)
    assert len(errors) == 1
    assert context.version == 1
    await store.aclose()


FORK = """
import asyncio, os, warnings
from swisper_ctx import MemorySessionStore, SwisperContext

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
store = MemorySessionStore()


async def parent():
    await store.save_session(SwisperContext(user_id="u"))
    child = os.fork()
    if child == 0:
        asyncio.run(store.save_session(SwisperContext(user_id="u")))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


asyncio.run(parent())
"""


def test_a_loop_that_was_running_when_its_process_was_forked_does_not_keep_the_store() -> None:
    child = [sys.executable, "-W", "error", "-c", FORK]
    ended = subprocess.run(child, check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
