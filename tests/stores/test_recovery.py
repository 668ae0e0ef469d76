"""A recovery that dies halfway, and damage that only one kind of store can have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stores.memory_bodies import bodies, remove_body, replace_body

from swisper_ctx import Message, SwisperContext, serialize_context
from swisper_ctx.errors import CorruptSessionError, StoreError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.recovery import is_quarantine, quarantine_ids
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.stores.shelve.file import SessionFile
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.changes import folded


class Stop:
    """A failpoint that raises at one place, while it is armed."""

    def __init__(self, place: str) -> None:
        self.place, self.armed = place, False

    def __call__(self, name: str) -> None:
        if self.armed and name == self.place:
            raise InterruptedError


async def damaged(store: SessionStore) -> SwisperContext:
    """A session whose frame 2 was lost, so that version 1 is the last good one."""
    context = SwisperContext(session_id="s", user_id="u")
    for number in range(3):
        context.conversation_history.append(Message(role="user", content=f"message {number}"))
        await store.save_session(context)
    return context


def opened(kind: str, path: Path, stop: Stop) -> SessionStore:
    if kind == "memory":
        return MemorySessionStore(failpoint=stop)
    if kind == "sqlite":
        return SQLiteSessionStore(path / "s.db", failpoint=stop)
    return ShelveSessionStore(path / "s", failpoint=stop)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "shelve"])
@pytest.mark.parametrize("place", ["restore.begin", "restore.applied", "restore.done"])
async def test_a_recovery_that_stops_is_all_or_nothing(kind: str, place: str, tmp_path: Path) -> None:
    stop = Stop(place)
    store = opened(kind, tmp_path, stop)
    await damaged(store)
    (frame,) = await store.frames("s", after=1, limit=1)
    assert frame.body is not None
    # By way of the store itself: its own write of a frame that no patch stands in.
    await spoil(store, frame.body)
    before = await store.sessions()
    stop.armed = True
    with pytest.raises(InterruptedError):
        await store.recover("s")
    stop.armed = False
    if place == "restore.done":
        assert len((await store.sessions()).sessions) == 2
    else:
        assert await store.sessions() == before
        assert (await store.recover("s")).version == 1
    assert (await store.recover("s")).bad_blocks == ()
    loaded = await store.load_session("s")
    assert loaded is not None
    assert len(loaded.conversation_history) == 1
    await store.aclose()


async def spoil(store: SessionStore, body: bytes) -> None:
    """Flip the last byte of a frame, past the store."""
    wrong = body[:-1] + bytes([body[-1] ^ 1])
    if isinstance(store, MemorySessionStore):
        session = store._sessions["s"]
        session.frames[:] = [f._replace(body=wrong) if f.body == body else f for f in session.frames]
    elif isinstance(store, SQLiteSessionStore):
        await store._writer.run(
            lambda connection, _: connection.execute("UPDATE frames SET body = ? WHERE body = ?", (wrong, body))
        )
    elif isinstance(store, ShelveSessionStore):
        await store._thread.run(lambda file, _: raw_flip(file, "s\0frame/2"))


def raw_flip(file: SessionFile, key: str) -> None:
    """Flip the last byte of a value in the file itself, so that its checksum fails."""
    database = file.shelf._database
    value = database[key.encode()]
    database[key.encode()] = value[:-1] + bytes([value[-1] ^ 1])


@pytest.mark.parametrize("part", ["log", "frame/2", "head", "block"])
async def test_a_shelf_is_recovered_from_values_that_fail_their_checksum(part: str, tmp_path: Path) -> None:
    store = ShelveSessionStore(tmp_path / "s")
    context = await damaged(store)
    assert await folded(store, context)
    context.product_query = "after"
    await store.save_session(context)

    def spoiled(file: SessionFile, _: float) -> None:
        for each in file.shelf.parts("s"):
            if each.startswith(part):
                raw_flip(file, f"s\0{each}")

    await store._thread.run(spoiled)
    report = await store.recover("s")
    assert report.quarantine_id is not None
    assert (report.version, report.restored) == (4, 5)
    assert (await store.recover("s")).bad_blocks == ()
    loaded = await store.load_session("s")
    assert loaded is not None
    about = {"version": 0, "updated_at": None}
    assert serialize_context(loaded) | about == serialize_context(context) | about
    kept = await store.remains(report.quarantine_id)
    assert kept is not None
    assert kept.problems
    await store.aclose()


async def test_a_row_of_a_shelf_that_cannot_be_read_is_beyond_recovery(tmp_path: Path) -> None:
    store = ShelveSessionStore(tmp_path / "s")
    await damaged(store)
    await store._thread.run(lambda file, _: raw_flip(file, "s\0session"))
    await store.aclose()
    store = ShelveSessionStore(tmp_path / "s")
    with pytest.raises(CorruptSessionError):
        await store.recover("s")
    await store.aclose()


@given(st.data())
def test_whatever_is_damaged_the_session_goes_on_from_something_that_was(data: st.DataObject) -> None:
    asyncio.run(damage_and_recover(data.draw))


async def damage_and_recover(draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
    store, seen = MemorySessionStore(), [list[str | None]()]
    context = SwisperContext(session_id="s", user_id="u")
    for number in range(draw(st.integers(1, 8))):
        context.conversation_history.append(Message(role="user", content="text " * draw(st.sampled_from([1, 9000]))))
        context.metadata["turn"] = number
        await store.save_session(context)
        seen.append([record.message_id for record in context.conversation_history])
        if draw(st.booleans()):
            assert await folded(store, context)
    rows = bodies(store)
    for body in draw(st.lists(st.sampled_from(rows), min_size=1, max_size=4, unique=True)):
        if draw(st.booleans()):
            remove_body(store, body)
        else:
            replace_body(store, body, body[:-1] + bytes([body[-1] ^ 1]))
    report = await store.recover("s")
    if not report.bad_blocks:
        # An old head or block that is gone is like one that was purged.
        assert (report.version, report.complete) == (report.newest, True)
    assert (await store.recover("s")).bad_blocks == ()
    loaded = await store.load_session("s")
    assert loaded is not None
    found = [record.message_id for record in loaded.conversation_history]
    if report.complete:
        assert found == seen[report.version]
        assert loaded.metadata == ({"turn": report.version - 1} if report.version else {})
    else:
        # In their order, each at most once, and none that the version did not have.
        remaining = iter(seen[report.version])
        assert all(message_id in remaining for message_id in found)
    loaded.product_query = "goes on"
    await store.save_session(loaded)
    assert loaded.version == report.newest + (2 if report.bad_blocks else 1)


def test_which_ids_are_of_quarantine() -> None:
    assert all(map(is_quarantine, quarantine_ids("s")))
    assert not any(map(is_quarantine, ["s", "s~quarantine-", "s~quarantine-9", "s~quarantine-1x", "~quarantine-1-s"]))


class WithoutRecovery(FaultyStore):
    """A store that implements neither of the two operations."""

    remains, restore = SessionStore.remains, SessionStore.restore


async def test_a_store_that_cannot_recover_says_so() -> None:
    store = WithoutRecovery(MemorySessionStore())
    await damaged(store)
    with pytest.raises(StoreError, match="WithoutRecovery recovers no sessions"):
        await store.recover("s")
