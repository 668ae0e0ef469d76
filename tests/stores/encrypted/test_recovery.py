"""A recovery takes no bytes for damaged that a key would open, and nobody's session for another's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from swisper_ctx import Message, SwisperContext
from swisper_ctx.errors import CorruptSessionError, DecryptionError
from swisper_ctx.keys import new_key
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing.changes import folded

OLD, NEW = new_key(), new_key()
TURNS = 5


async def talk(store: SessionStore, turns: int) -> None:
    """So many turns of a session of ann's."""
    context = await store.load_session("s") or SwisperContext(session_id="s", user_id="ann")
    for _ in range(turns):
        context.conversation_history.append(Message(role="user", content="said"))
        await store.save_session(context)


async def turns_of(store: SessionStore, user_id: str = "ann") -> int:
    context = await store.load_session("s", user_id=user_id)
    return -1 if context is None else len(context.conversation_history)


@pytest.mark.parametrize("force", [False, True])
async def test_what_is_sealed_is_not_damaged(force: bool) -> None:
    plain = MemorySessionStore()
    await talk(EncryptedSessionStore(OLD, plain), TURNS)
    with pytest.raises(DecryptionError, match="open the store with its keys"):
        await plain.recover("s", force=force)
    with pytest.raises(CorruptSessionError, match="it is sealed, and no key was given"):
        await plain.load_session("s")
    assert await turns_of(EncryptedSessionStore(OLD, plain)) == TURNS


async def test_what_a_missing_key_would_open_is_not_damaged() -> None:
    plain = MemorySessionStore()
    await talk(EncryptedSessionStore(OLD, plain), TURNS)
    await talk(EncryptedSessionStore([NEW, OLD], plain), 1)
    new = EncryptedSessionStore(NEW, plain)
    with pytest.raises(DecryptionError, match="give all keys of the store"):
        await new.recover("s")
    assert await turns_of(EncryptedSessionStore([NEW, OLD], plain)) == TURNS + 1
    kept = (await new.recover("s", force=True)).quarantine_id
    assert kept is not None
    assert await turns_of(new) == 0
    both = EncryptedSessionStore([NEW, OLD], plain)
    report = await both.recover(kept)
    assert (report.version, report.complete, report.bad_blocks) == (TURNS + 1, True, ())
    assert await turns_of(both) == TURNS + 1


async def test_the_row_does_not_say_whose_a_session_is(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = EncryptedSessionStore(OLD, SQLiteSessionStore(path))
    await talk(store, TURNS)
    context = await store.load_session("s")
    assert context is not None
    assert await folded(store, context)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE sessions SET user_id = 'mallory'")
    for user_id in ("ann", "mallory"):
        with pytest.raises(CorruptSessionError, match="another user"):
            await store.load_session("s", user_id=user_id)
    for force in (False, True):
        with pytest.raises(CorruptSessionError, match="names another user than its heads"):
            await store.recover("s", force=force)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM heads")
    with pytest.raises(CorruptSessionError, match="no head tells whose it is"):
        await store.recover("s")
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE sessions SET user_id = 'ann'")
    assert (await store.recover("s", force=True)).version == TURNS
    assert await turns_of(store) == TURNS
    await store.aclose()
