"""Segments are opened when they are touched, by whichever thread, and not before."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from swisper_ctx import (
    ContextError,
    DecryptionError,
    EncryptedSessionStore,
    MemorySessionStore,
    Message,
    SQLiteSessionStore,
    SwisperContext,
)
from swisper_ctx._core import token
from swisper_ctx.keys import new_key
from swisper_ctx.log import StoredBody
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import folded

KEY = new_key()
MESSAGES = 400


async def stored(inside: SessionStore) -> EncryptedSessionStore:
    """A session of several segments, all of it folded."""
    store, context = EncryptedSessionStore(KEY, inside), SwisperContext(session_id="s", user_id="u")
    context.conversation_history.extend(
        [Message(role="user", content=f"{number} " + "word " * 200) for number in range(MESSAGES)]
    )
    await store.save_session(context)
    assert await folded(store, context)
    return store


async def damaged(inside: MemorySessionStore, at: int) -> None:
    """With one segment that no key opens."""
    whole = await inside.read("s")
    assert whole is not None
    segments = [block for block in whole.blocks if block.records]
    assert len(segments) > 4
    body = segments[at].body
    assert isinstance(body, bytes)
    wrong = body[:-1] + bytes([body[-1] ^ 1])
    assert await inside.replace("s", [(StoredBody("block", segments[at].block_id, body), wrong)]) == 1


async def loaded(store: SessionStore, tail: int | None = None) -> SwisperContext:
    context = await store.load_session("s", tail=tail)
    assert context is not None
    return context


async def test_a_segment_that_nobody_touches_is_not_opened() -> None:
    inside = MemorySessionStore()
    store = await stored(inside)
    await damaged(inside, 0)
    context = await loaded(store)
    assert len(context.conversation_history) == MESSAGES
    assert str(context.conversation_history[-1].content).startswith(f"{MESSAGES - 1} ")
    with pytest.raises(DecryptionError, match=r"segment [0-9a-f]{32} of session s: no key opens it.*1 key tried"):
        _ = context.conversation_history[0]
    context.conversation_history.append(Message(role="user", content="and on"))
    await store.save_session(context)
    assert await folded(store, context)
    again = await loaded(store)
    assert again.conversation_history[-1].content == "and on"
    with pytest.raises(DecryptionError):
        _ = again.conversation_history.to_dicts()


async def test_the_rest_of_a_history_is_opened_when_it_is_touched() -> None:
    inside = MemorySessionStore()
    store = await stored(inside)
    whole = (await loaded(store)).conversation_history
    context = await loaded(store, tail=20)
    await context.load_history()
    assert context.conversation_history == whole
    await damaged(inside, 1)
    context = await loaded(store, tail=20)
    assert context.conversation_history[-20:] == whole[-20:]
    await context.load_history()
    assert context.conversation_history[0] == whole[0]
    with pytest.raises(DecryptionError):
        _ = context.conversation_history.select("content")


async def test_threads_that_open_the_same_segments_wait_for_nobody() -> None:
    store = await stored(MemorySessionStore())
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            context = await loaded(store)
            loop = asyncio.get_running_loop()
            sealing = [loop.run_in_executor(pool, sealed_anew, context) for _ in range(4)]
            assert len(context.conversation_history.to_dicts()) == MESSAGES
            assert min(await asyncio.gather(*sealing)) > 4


def sealed_anew(context: SwisperContext) -> int:
    """Every segment under a new id, for which each is opened, without the interpreter lock."""
    position = context._position
    assert position.etag is not None
    _, added, _, _ = position.snapshot.checkpoint("s", "u", 0, 0, position.etag, token(), b"")
    return len(added)


@pytest.mark.parametrize("value", ["'text'", "7", "x''", "zeroblob(73)"])
async def test_values_of_any_kind_are_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "s.db"
    store = await stored(SQLiteSessionStore(path))
    for table in ("heads", "blocks"):
        with closing(sqlite3.connect(path)) as other, other:
            rows = other.execute(f"SELECT body, id FROM {table}").fetchall()
            other.execute(f"UPDATE {table} SET body = {value}")
        with pytest.raises(ContextError):
            _ = (await loaded(store)).conversation_history.to_dicts()
        with closing(sqlite3.connect(path)) as other, other:
            other.executemany(f"UPDATE {table} SET body = ? WHERE id = ?", rows)
    assert len((await loaded(store)).conversation_history.to_dicts()) == MESSAGES
    await store.aclose()
