"""The server is killed, restarted or refuses: a save is written once, or says that it was not, or perhaps."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.servers.fixtures import MakePostgres
from tests.stores.postgres.locks import assert_whole
from tests.stores.postgres.schemas import execute

from swisper_ctx import Message, OutcomeUnknownError, StoreUnavailableError, SwisperContext
from swisper_ctx.stores.postgres import PostgresSessionStore

pytestmark = pytest.mark.servers
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'swisper_ctx'"


class Talk:
    """Many contexts, each of which says one thing after the other until it is told to stop."""

    def __init__(self, store: PostgresSessionStore, count: int = 20) -> None:
        self.store, self.stopped = store, False
        self.contexts = [SwisperContext(session_id=f"s{number:02}", user_id="u") for number in range(count)]
        self.told: Counter[str] = Counter()

    async def go_on(self, context: SwisperContext) -> None:
        while not self.stopped:
            context.conversation_history.append(Message("user", "hello"))
            try:
                await self.store.save_session(context)
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                self.told[type(error).__name__] += 1
                await asyncio.sleep(0.05)
            else:
                self.told["saved"] += 1

    async def all_have_saved(self) -> None:
        """Wait until each of them has been saved once more."""
        before = [context.version for context in self.contexts]
        for context, version in zip(self.contexts, before, strict=True):
            while context.version == version:  # noqa: ASYNC110 - a save sets no event
                await asyncio.sleep(0.005)

    async def during(self, faults: Callable[[], Coroutine[Any, Any, None]]) -> None:
        talking = [asyncio.ensure_future(self.go_on(context)) for context in self.contexts]
        await faults()
        self.stopped = True
        await asyncio.gather(*talking)

    async def check(self, url: str) -> None:
        """Once all of it is saved, each message is there once."""
        for context in self.contexts:
            await self.store.save_session(context)
        await assert_whole(url)
        for context in self.contexts:
            loaded = await self.store.load_session(context.session_id)
            assert loaded is not None
            assert loaded.version == context.version
            said = [message.message_id for message in context.conversation_history]
            assert [message.message_id for message in loaded.conversation_history] == said


async def test_a_server_that_is_killed_and_restarted(private_postgres: MakePostgres) -> None:
    server = private_postgres()
    store = PostgresSessionStore(server.dsn)
    await store.migrate()
    talk = Talk(store)

    async def faults() -> None:
        for end in (server.kill, server.stop, server.kill):
            await asyncio.sleep(0.2)
            await asyncio.to_thread(end)
            await asyncio.to_thread(server.start)
        await asyncio.sleep(0.2)

    await talk.during(faults)
    await talk.check(server.dsn)
    assert talk.told["saved"] > 100
    await store.aclose()


async def test_connections_that_are_terminated(private_postgres: MakePostgres) -> None:
    server = private_postgres()
    store = PostgresSessionStore(server.dsn)
    await store.migrate()
    talk = Talk(store)

    async def faults() -> None:
        for _ in range(20):
            # However slow the machine is, no save meets two of these: each tries a few times only.
            await talk.all_have_saved()
            await execute(server.dsn, TERMINATE)

    await talk.during(faults)
    # The server can be reached again at once: nobody is told of it.
    assert set(talk.told) == {"saved"}
    await talk.check(server.dsn)
    await store.aclose()


async def ask_on(store: PostgresSessionStore, context: SwisperContext) -> None:
    """Until a new setting has come to the connection."""
    for _ in range(1_000):
        await store.save_session(context)
        context.product_query += "!"


async def test_a_server_that_is_full_or_only_reads(private_postgres: MakePostgres) -> None:
    server = private_postgres(max_connections=8, superuser_reserved_connections=1)
    store = PostgresSessionStore(server.dsn, acquire_timeout=0.5)
    await store.migrate()
    context = SwisperContext(session_id="s", user_id="u")
    await store.save_session(context)
    await execute(server.dsn, "ALTER SYSTEM SET default_transaction_read_only = on")
    await execute(server.dsn, "SELECT pg_reload_conf()")
    context.product_query = "fridge"
    with pytest.raises(StoreUnavailableError, match="25006"):
        await ask_on(store, context)
    assert await store.load_session("s")
    for work in (store.delete(["s"]), store.update("s", lambda context: context.cache_keys.append("x"))):
        with pytest.raises(StoreUnavailableError, match="25006"):
            await work
    await execute(server.dsn, "ALTER SYSTEM RESET default_transaction_read_only")
    await execute(server.dsn, "SELECT pg_reload_conf()")
    while True:
        with contextlib.suppress(StoreUnavailableError):
            await store.save_session(context)
            break
    stores = [PostgresSessionStore(server.dsn, acquire_timeout=0.5) for _ in range(8)]
    found = await asyncio.gather(*(store.etags(["s"]) for store in stores), return_exceptions=True)
    errors = [error for error in found if isinstance(error, BaseException)]
    assert errors
    assert all(isinstance(error, StoreUnavailableError) and "53300" in str(error) for error in errors)
    for each in (store, *stores):
        await each.aclose()
