"""kill -9 in the middle of a recovery: all that was stored is still there, and the session goes on."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from tests.stores.crash_log import run_until_killed

from swisper_ctx import Message, SwisperContext
from swisper_ctx.errors import CorruptSessionError
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing.changes import folded

STORED = """
    SELECT 'head', base, stamp, body FROM heads
    UNION ALL SELECT 'block', position, block_id, body FROM blocks
    UNION ALL SELECT 'frame', version, token, body FROM frames
"""


def stored(path: Path) -> Counter[tuple[str, int, bytes, bytes | None]]:
    """Every head, block and frame in the file, of whichever session; the file is sound."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return Counter(database.execute(STORED).fetchall())


async def damaged(path: Path) -> None:
    """A session with a head, blocks and frames, of which that of version 5 has lost its last byte."""
    store = SQLiteSessionStore(path)
    context = SwisperContext(session_id="s", user_id="u")
    for number in range(1, 6):
        context.conversation_history.append(Message(role="user", content=f"message {number}"))
        await store.save_session(context)
        if number == 3:
            assert await folded(store, context)
    await store.aclose()
    with closing(sqlite3.connect(path)) as database, database:
        (body,) = database.execute("SELECT body FROM frames WHERE version = 5").fetchone()
        database.execute("UPDATE frames SET body = ? WHERE version = 5", (body[:-1],))


@pytest.mark.parametrize("place", ["restore.begin", "restore.applied", "restore.done"])
async def test_killed_in_a_recovery(path: Path, place: str) -> None:
    await damaged(path)
    before = stored(path)
    run_until_killed(f"sqlite:///{path}", place, program="recovery_child")
    assert before == stored(path) if place != "restore.done" else before < stored(path)
    store = SQLiteSessionStore(path)
    if place != "restore.done":
        with pytest.raises(CorruptSessionError):
            await store.load_session("s")
        assert (await store.recover("s")).version == 4
    assert (await store.recover("s")).bad_blocks == ()
    loaded = await store.load_session("s")
    assert loaded is not None
    assert [message.content for message in loaded.conversation_history] == [f"message {n}" for n in range(1, 5)]
    await store.aclose()
    assert before < stored(path)
