"""Cleaning up one file from two processes while a third party saves, and by clocks that differ."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from swisper_ctx.context import SwisperContext
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.cache import SessionCache
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing import FaultyStore, Hang, ManualClock
from swisper_ctx.testing.clock import MINUTE, START

CLEANER = """
import asyncio, sys
from swisper_ctx.stores.sqlite import SQLiteSessionStore

async def main():
    store, deleted = SQLiteSessionStore(sys.argv[1], timeout=30.0), 0
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(10):
        deleted += await store.cleanup_expired_sessions()
        await asyncio.sleep(0.02)
    print(deleted)
    await store.aclose()

asyncio.run(main())
"""
EXPIRED, ALIVE = 400, 40
SHORT, LONG = 50_000, 60 * MINUTE


async def test_two_processes_clean_up_beside_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SQLiteSessionStore(path, timeout=30.0)
    expiring = [SwisperContext(session_id=f"old{n}", user_id="u") for n in range(EXPIRED)]
    alive = [SwisperContext(session_id=f"new{n}", user_id="u") for n in range(ALIVE)]
    await asyncio.gather(*(store.save_session(context, ttl=SHORT) for context in expiring))
    await asyncio.gather(*(store.save_session(context, ttl=LONG) for context in alive))
    await asyncio.sleep(SHORT / 1e6)
    cleaners = [cleaner_of(path) for _ in range(2)]
    answers = [asyncio.to_thread(cleaner.communicate, "go\n") for cleaner in cleaners]
    finished = asyncio.gather(*answers)
    turns = 0
    while not finished.done() or turns == 0:
        turns += 1
        for context in alive:
            context.metadata["turn"] = turns
        await asyncio.gather(*(store.save_session(context, ttl=LONG) for context in alive))
        await asyncio.sleep(0)
    deleted = [int(answer) for answer, _ in await finished]
    assert [cleaner.returncode for cleaner in cleaners] == [0, 0]
    assert sum(deleted) == EXPIRED
    found = [await store.load_session(context.session_id) for context in alive]
    assert [context and context.metadata for context in found] == [{"turn": turns}] * ALIVE
    assert len((await store.sessions(limit=1000)).sessions) == ALIVE
    await store.aclose()


async def test_a_session_that_slides_between_listing_and_deletion_stays(tmp_path: Path) -> None:
    """The clock of the cleaner is ahead, so that a session it takes for expired can still be saved."""
    writer_clock = ManualClock()
    cleaner_clock = ManualClock(START + 2 * MINUTE)
    writer = SQLiteSessionStore(tmp_path / "s.db", clock=writer_clock)
    cleaner = FaultyStore(SQLiteSessionStore(tmp_path / "s.db", clock=cleaner_clock))
    kept, gone = (SwisperContext(session_id=name, user_id="u") for name in ("kept", "gone"))
    for context in (kept, gone):
        await writer.save_session(context, ttl=MINUTE)
    hang = Hang()
    cleaner.inject("delete", hang)
    cleanup = asyncio.ensure_future(cleaner.cleanup_expired_sessions())
    await hang.reached.wait()
    kept.product_query = "one more turn"
    await writer.save_session(kept, ttl=60 * MINUTE)
    hang.release()
    assert await cleanup == 1
    assert await names(writer) == ["kept"]
    await cleaner.aclose()
    await writer.aclose()


async def test_a_store_is_told_which_ids_may_be_gone() -> None:
    told: list[str] = []

    class Watching(FaultyStore):
        async def _deleted(self, session_ids: Collection[str]) -> None:
            told.extend(session_ids)

    clock = ManualClock()
    store = Watching(MemorySessionStore(clock=clock))
    for name in ("a", "b"):
        await store.save_session(SwisperContext(session_id=name, user_id="u"), ttl=5)
    await store.save_session(SwisperContext(session_id="c", user_id="u"))
    clock.advance(5)
    assert await store.cleanup_expired_sessions() == 2
    assert sorted(told) == ["a", "b"]
    assert await store.delete_session("c")
    assert sorted(told) == ["a", "b", "c"]


async def test_a_cache_passes_on_which_ids_may_be_gone() -> None:
    inner = SessionCache(MemorySessionStore())
    store = SessionCache(FaultyStore(inner))
    context = SwisperContext(session_id="a", user_id="u")
    await store.save_session(context)
    await inner.load_session("a")
    assert "a" in inner.memory_cache
    await store._deleted(["a"])
    assert "a" not in inner.memory_cache


def cleaner_of(path: Path) -> subprocess.Popen[str]:
    """A process that waits for a line, then cleans up for a while and prints how many it has deleted."""
    command = [sys.executable, "-c", CLEANER, str(path)]
    cleaner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert cleaner.stdout is not None
    assert cleaner.stdout.readline() == "ready\n"
    return cleaner


async def names(store: SessionStore) -> list[str]:
    return [line.session_id for line in (await store.sessions()).sessions]
