"""No session is created where its key was forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from swisper_ctx import PipelineSessionManager, SwisperContext
from swisper_ctx.errors import StoreError
from swisper_ctx.keys import new_key
from swisper_ctx.log import SessionPage
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing.changes import folded
from swisper_ctx.testing.faults import FaultyStore, fails


async def test_no_plaintext_comes_beside_what_is_sealed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with PipelineSessionManager.open(url, encryption_key=new_key()) as sealed:
        context = await sealed.create_session(user_id="u")
        assert await folded(sealed.session_store, context)
    async with PipelineSessionManager.open(url) as plain:
        for _ in range(2):
            with pytest.raises(StoreError, match="are sealed: open it with its keys"):
                await plain.create_session(user_id="u")
        assert len((await plain.sessions()).sessions) == 1


async def test_it_is_asked_until_it_is_known_and_then_no_more() -> None:
    store = FaultyStore(MemorySessionStore())
    context = SwisperContext(user_id="u", metadata={"n": 1})
    store.inject("sessions", fails())
    with pytest.raises(StoreError):
        await store.save_session(context)
    await store.save_session(context)
    store.inject("sessions", fails())
    await store.save_session(SwisperContext(user_id="u"))
    loaded = await store.load_session(context.session_id)
    assert loaded is not None
    assert loaded.metadata == {"n": 1}


class Counting(MemorySessionStore):
    """Counts how often it is asked for its sessions, and answers when `open` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.open = 0, asyncio.Event()

    async def sessions(self, **options: Any) -> SessionPage:
        self.asked += 1
        await self.open.wait()
        return await super().sessions(**options)


async def test_sessions_that_are_created_together_ask_once() -> None:
    store = Counting()
    creating = [asyncio.create_task(store.save_session(SwisperContext(user_id="u"))) for _ in range(5)]
    await asyncio.sleep(0.01)
    # Whoever asked, the others are answered.
    creating[0].cancel()
    store.open.set()
    answers = await asyncio.gather(*creating, return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError] + [type(None)] * 4
    assert store.asked == 1
    assert len((await store.sessions()).sessions) == 4


def test_what_was_asked_in_an_event_loop_that_has_ended_is_asked_anew() -> None:
    store = Counting()

    async def create(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await store.save_session(SwisperContext(user_id="u"))

    with pytest.raises(TimeoutError):
        asyncio.run(create(0.01))
    store.open = asyncio.Event()
    store.open.set()
    asyncio.run(create(5))
    assert store.asked == 2


@pytest.mark.parametrize("key", [None, 5, object(), ""])
def test_what_is_no_key_is_refused_at_once(key: object) -> None:
    with pytest.raises(ValueError, match="key"):
        EncryptedSessionStore(key)  # type: ignore[arg-type]


async def test_an_empty_id_is_refused() -> None:
    async with PipelineSessionManager.open("memory://") as sessions:
        with pytest.raises(StoreError, match="session_id"):
            await sessions.create_session(user_id="u", session_id="")
        context = await sessions.create_session(user_id="u")
        with pytest.raises(StoreError, match="session_id"):
            await sessions.fork(context.session_id, new_session_id="")
        assert len((await sessions.sessions()).sessions) == 1
