"""Sealing anew: beside turns, after a death in the middle, and what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from swisper_ctx import EncryptedSessionStore, Keyring, Message, SQLiteSessionStore, SwisperContext, serialize_context
from swisper_ctx.keys import new_key
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.stores.rotation import PLAIN, UNKNOWN, left, seal_anew
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.testing.changes import append, committed, folded, grow

OLD, NEW = new_key(), new_key()

CHILD = """
import asyncio, os, signal, sys
from swisper_ctx import Keyring, SQLiteSessionStore
from swisper_ctx.stores.rotation import seal_anew

def failpoint(name):
    global left
    left -= name == point
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = SQLiteSessionStore(path, failpoint=failpoint)
    for session in "abc":
        await seal_anew(store, Keyring([new, old]), session)
    await store.aclose()

path, old, new, point, left = *sys.argv[1:5], int(sys.argv[5])
asyncio.run(main())
"""


@pytest.fixture(params=["memory", "sqlite", "shelve", pytest.param("postgres", marks=pytest.mark.servers)])
def inside(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    if request.param == "postgres":
        return PostgresSessionStore(request.getfixturevalue("postgres_tables"))
    if request.param == "memory":
        return MemorySessionStore()
    return (SQLiteSessionStore if request.param == "sqlite" else ShelveSessionStore)(tmp_path / "sessions")


async def filled(store: SessionStore, names: str = "abc") -> dict[str, SwisperContext]:
    contexts = {name: SwisperContext(session_id=name, user_id="u") for name in names}
    for context in contexts.values():
        for number in range(3):
            said = [os.urandom(500).hex() for _ in range(60)]
            context.conversation_history.extend([Message(role="user", content=text) for text in said])
            context.metadata["number"] = number
            await store.save_session(context)
            if number < 2:
                assert await folded(store, context)
    return contexts


async def check(store: SessionStore, keys: list[str], contexts: dict[str, SwisperContext]) -> None:
    opened = EncryptedSessionStore(keys, store)
    for name, context in contexts.items():
        found = await opened.load_session(name)
        assert found is not None
        assert serialize_context(found) == serialize_context(context)
        assert (await opened.at_version(name, 1)).version == 1


async def test_everything_goes_under_the_first_key(inside: SessionStore) -> None:
    contexts = await filled(EncryptedSessionStore(OLD, inside))
    keyring, before = Keyring([NEW, OLD]), await inside.bodies("a")
    assert await left(inside, keyring, "a") == {1: len(before)}
    for name in contexts:
        assert await seal_anew(inside, keyring, name) == {0: len(before)}
        await check(inside, [NEW, OLD], contexts)
    after = await inside.bodies("a")
    assert [body[:2] for body in after] == [body[:2] for body in before]
    assert not {body.body for body in after} & {body.body for body in before}
    assert await seal_anew(inside, keyring, "a") == {0: len(before)}
    assert await inside.bodies("a") == after
    await check(inside, [NEW], contexts)
    await inside.aclose()


async def test_a_plaintext_store_is_sealed_when_that_is_asked_for(inside: SessionStore) -> None:
    contexts, keyring = await filled(inside), Keyring(NEW)
    count = len(await inside.bodies("a"))
    assert await seal_anew(inside, keyring, "a") == {PLAIN: count}
    for name in contexts:
        assert await seal_anew(inside, keyring, name, plaintext=True) == {0: count}
    await check(inside, [NEW], contexts)
    await inside.aclose()


async def test_what_no_key_opens_is_left_and_told(inside: SessionStore) -> None:
    contexts = await filled(EncryptedSessionStore(OLD, inside), "a")
    count = len(await inside.bodies("a"))
    assert await seal_anew(inside, Keyring(NEW), "a", plaintext=True) == {UNKNOWN: count}
    await check(inside, [OLD], contexts)
    await inside.aclose()


async def test_turns_and_checkpoints_go_on_beside_it(inside: SessionStore) -> None:
    old_writer, new_writer = EncryptedSessionStore([OLD, NEW], inside), EncryptedSessionStore([NEW, OLD], inside)
    contexts = await filled(old_writer, "ab")
    writers = {"a": old_writer, "b": new_writer}
    done = asyncio.Event()

    async def talk(name: str) -> None:
        for number in range(60):
            contexts[name].metadata["number"] = number
            contexts[name].conversation_history.append(Message(role="user", content=f"turn {number}"))
            await writers[name].save_session(contexts[name])
            if number % 20 == 10:
                await folded(writers[name], contexts[name])
            await asyncio.sleep(0)

    async def rotate() -> None:
        while not done.is_set():
            for name in contexts:
                await seal_anew(inside, Keyring([NEW, OLD]), name)
            await asyncio.sleep(0)

    rotating = asyncio.create_task(rotate())
    await asyncio.gather(*map(talk, contexts))
    done.set()
    await rotating
    await check(inside, [OLD, NEW], contexts)
    for name in contexts:
        assert set(await seal_anew(inside, Keyring([NEW, OLD]), name)) == {0}
    await check(inside, [NEW], contexts)
    await inside.aclose()


@pytest.mark.parametrize("point", ["replace.begin", "replace.applied", "replace.done"])
async def test_after_a_death_everything_is_readable_and_the_next_one_goes_on(tmp_path: Path, point: str) -> None:
    path = tmp_path / "sessions.db"
    store = SQLiteSessionStore(path)
    contexts = await filled(EncryptedSessionStore(OLD, store))
    await store.aclose()
    deaths = 0
    # At the second batch, so that each goes on by one.
    command = [sys.executable, "-c", CHILD, str(path), OLD, NEW, point, "2"]
    while True:
        child = await asyncio.create_subprocess_exec(*command)
        code = await child.wait()
        store = SQLiteSessionStore(path)
        await check(store, [NEW, OLD], contexts)
        await store.aclose()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        deaths += 1
    assert deaths > 2
    store = SQLiteSessionStore(path)
    await check(store, [NEW], contexts)
    await store.aclose()


async def test_a_file_tells_whether_others_write_into_it(tmp_path: Path) -> None:
    store, other = SQLiteSessionStore(tmp_path / "s.db"), SQLiteSessionStore(tmp_path / "s.db")
    etag = await grow(store, "s", 2)
    assert not await store.has_other_writers()
    await committed(store, append("s", etag))
    assert not await store.has_other_writers()
    await grow(other, "s", 5)
    assert await store.has_other_writers()
    assert not await store.has_other_writers()
    await store.aclose()
    await other.aclose()


async def test_nothing_of_the_plaintext_stays_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store, reader = SQLiteSessionStore(path), SQLiteSessionStore(path)
    context = SwisperContext(session_id="s", user_id="u", metadata={"note": "canary-7b1f"})
    await store.save_session(context)
    await reader.etags(["s"])  # the WAL is not removed as long as somebody has the file open
    assert holding(tmp_path, b"canary-7b1f")
    await seal_anew(store, Keyring(NEW), "s", plaintext=True)
    await store.aclose()
    assert not holding(tmp_path, b"canary-7b1f")
    await reader.aclose()


def holding(directory: Path, text: bytes) -> list[str]:
    """The files that hold it."""
    return [file.name for file in directory.iterdir() if text in file.read_bytes()]
