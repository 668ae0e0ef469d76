"""Whatever the file does to a group of saves, each is told in time, none is half there, and the next one works."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import time
from base64 import b85encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from swisper_ctx import (
    Message,
    OutcomeUnknownError,
    PipelineExecution,
    StoreUnavailableError,
    SwisperContext,
    serialize_context,
)
from swisper_ctx.stores.creating import check_clear
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing.changes import folded

TIMEOUT = 1.0
LARGE = 30_000


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteSessionStore]:
    store = SQLiteSessionStore(path, timeout=TIMEOUT)
    yield store
    await store.aclose()


async def pragma(store: SQLiteSessionStore, statement: str) -> Any:
    return await store._writer.run(lambda connection, _: connection.execute(f"PRAGMA {statement}").fetchone())


@asynccontextmanager
async def locked(store: SQLiteSessionStore, path: Path) -> AsyncIterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@asynccontextmanager
async def full(store: SQLiteSessionStore, path: Path) -> AsyncIterator[None]:
    """Room for the first save of a group, and not for the second."""
    (pages,) = await pragma(store, "page_count")
    await pragma(store, f"max_page_count = {pages + LARGE * 3 // 2 // 1024}")
    yield
    await pragma(store, "max_page_count = 1000000")


@asynccontextmanager
async def read_only(store: SQLiteSessionStore, path: Path) -> AsyncIterator[None]:
    await pragma(store, "query_only = ON")
    yield
    await pragma(store, "query_only = OFF")


@asynccontextmanager
async def failing(store: SQLiteSessionStore, path: Path) -> AsyncIterator[None]:
    """The disk gives an error in the middle of what is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = path.with_name(f"{path.name}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + LARGE * 3 // 2, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


Trouble = Callable[[SQLiteSessionStore, Path], AbstractAsyncContextManager[None]]
TROUBLES: list[tuple[Trouble, type[StoreUnavailableError]]] = [
    (locked, StoreUnavailableError),
    (full, StoreUnavailableError),
    (read_only, StoreUnavailableError),
    (failing, OutcomeUnknownError),
]


def say(context: SwisperContext) -> None:
    """A message that takes LARGE bytes, compressed."""
    context.conversation_history.append(Message(role="user", content=b85encode(os.urandom(LARGE)).decode()))


async def begun(store: SQLiteSessionStore, count: int) -> list[SwisperContext]:
    # Asked by each of the creations it would part them, and the saves after them are a group as they were.
    await check_clear(store)
    contexts = [SwisperContext(session_id=f"s{number}", user_id="u") for number in range(count)]
    await asyncio.gather(*map(store.save_session, contexts))
    return contexts


async def stored(path: Path) -> dict[str, dict[str, Any]]:
    """What another process finds in the file."""
    store = SQLiteSessionStore(path)
    page = await store.sessions()
    contexts = [await store.load_session(line.session_id) for line in page.sessions]
    await store.aclose()
    return {context.session_id: serialize_context(context) for context in contexts if context is not None}


def rows(path: Path) -> list[tuple[int, ...]]:
    """How many rows there are of each kind; none without its session."""
    tables = ("sessions", "heads", "blocks", "frames")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [database.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]


@pytest.mark.parametrize(("trouble", "error"), TROUBLES)
@pytest.mark.parametrize("count", [1, 3])
async def test_a_group_of_saves(
    store: SQLiteSessionStore, path: Path, trouble: Trouble, error: type[StoreUnavailableError], count: int
) -> None:
    contexts = await begun(store, count)
    before, counted = await stored(path), rows(path)
    for context in contexts:
        say(context)
        if count == 1:
            say(context)
    async with trouble(store, path):
        began = time.monotonic()
        answers = await asyncio.gather(*map(store.save_session, contexts), return_exceptions=True)
        assert time.monotonic() - began < TIMEOUT * 1.2
        assert [type(answer) for answer in answers] == [error] * count
        loaded = await store.load_session("s0")
        assert loaded is not None
        assert serialize_context(loaded) == before["s0"]
    assert (await stored(path), rows(path)) == (before, counted)
    await asyncio.gather(*map(store.save_session, contexts))
    assert await stored(path) == {context.session_id: serialize_context(context) for context in contexts}
    assert [context.version for context in contexts] == [2] * count


async def seconds(saving: Awaitable[None]) -> tuple[float, BaseException | None]:
    """How long a save took, and what it raised."""
    began, error = time.monotonic(), None
    try:
        await saving
    except StoreUnavailableError as failure:
        error = failure
    return time.monotonic() - began, error


async def test_each_save_that_waits_behind_a_group_has_a_deadline_of_its_own(
    store: SQLiteSessionStore, path: Path
) -> None:
    contexts = await begun(store, 9)
    saves = []
    async with locked(store, path):
        for context in contexts:
            say(context)
            saves.append(asyncio.create_task(seconds(store.save_session(context))))
            await asyncio.sleep(TIMEOUT / 5)
        # By now the first ones have failed, and the last of them wait in their third group.
        answers = await asyncio.gather(*saves[:5])
    assert [type(error) for _, error in answers] == [StoreUnavailableError] * 5
    assert all(TIMEOUT * 0.9 < took < TIMEOUT * 1.2 for took, _ in answers), answers
    answers = await asyncio.gather(*saves[5:])
    assert [error for _, error in answers] == [None] * 4
    await asyncio.gather(*map(store.save_session, contexts))
    assert [context.version for context in contexts] == [2] * 9
    assert await stored(path) == {context.session_id: serialize_context(context) for context in contexts}


async def test_records_that_wait_behind_a_group_have_deadlines_too(store: SQLiteSessionStore, path: Path) -> None:
    (context, other) = await begun(store, 2)
    say(context)
    async with locked(store, path):
        saving = asyncio.create_task(seconds(store.save_session(context)))
        await asyncio.sleep(TIMEOUT / 2)
        record = PipelineExecution(pipeline_name="p")
        took, error = await seconds(store.append_record(other.session_id, "pipeline_executions", record))
        assert (await saving)[0] < TIMEOUT * 1.2
    assert TIMEOUT * 0.9 < took < TIMEOUT * 1.2
    assert isinstance(error, StoreUnavailableError)


async def test_a_save_that_is_put_off_is_not_told_as_failed(store: SQLiteSessionStore, path: Path) -> None:
    contexts = await begun(store, 3)
    told: list[str] = []
    store.on_event = lambda name, _: told.append(name)
    async with locked(store, path):
        saves = []
        for context in contexts:
            say(context)
            saves.append(asyncio.create_task(seconds(store.save_session(context))))
            await asyncio.sleep(TIMEOUT * 0.4)
        await asyncio.gather(*saves[:2])
    await saves[2]
    assert sorted(told) == ["session_failed", "session_failed", "session_saved"]


async def test_a_save_behind_a_checkpoint_ends_in_time(store: SQLiteSessionStore, path: Path) -> None:
    (one, two) = await begun(store, 2)
    async with locked(store, path):
        say(one)
        say(two)
        first = asyncio.create_task(seconds(store.save_session(one)))
        await asyncio.sleep(TIMEOUT / 10)
        second = asyncio.create_task(seconds(store.save_session(two)))
        await asyncio.sleep(TIMEOUT / 2)
        folding = asyncio.create_task(folded(store, await store.load_session("s0") or one))
        assert (await first)[0] < TIMEOUT * 1.2
        assert (await second)[0] < TIMEOUT * 1.2
        with pytest.raises(StoreUnavailableError):
            await folding


@pytest.mark.parametrize(("trouble", "error"), TROUBLES)
async def test_a_checkpoint(
    store: SQLiteSessionStore, path: Path, trouble: Trouble, error: type[StoreUnavailableError]
) -> None:
    (context,) = await begun(store, 1)
    say(context)
    say(context)
    await store.save_session(context)
    counted = rows(path)
    async with trouble(store, path):
        began = time.monotonic()
        with pytest.raises(error):
            await folded(store, context)
        assert time.monotonic() - began < TIMEOUT * 1.2
    assert rows(path) == counted
    assert await stored(path) == {"s0": serialize_context(context)}
    assert await folded(store, context)
    assert await stored(path) == {"s0": serialize_context(context)}


async def test_a_new_session_in_a_full_file_is_not_there(store: SQLiteSessionStore, path: Path) -> None:
    await begun(store, 1)
    new = SwisperContext(session_id="new", user_id="u")
    say(new)
    say(new)
    async with full(store, path):
        with pytest.raises(StoreUnavailableError, match="full"):
            await store.save_session(new)
        assert set(await stored(path)) == {"s0"}
    await store.save_session(new)
    assert (await stored(path))["new"] == serialize_context(new)


async def test_an_open_reader_delays_nobody(store: SQLiteSessionStore, path: Path) -> None:
    contexts = await begun(store, 3)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        seen = other.execute("SELECT count(*) FROM frames").fetchone()
        began = time.monotonic()
        for context in contexts:
            say(context)
        await asyncio.gather(*map(store.save_session, contexts))
        assert await folded(store, contexts[0])
        assert await store.delete_session("s2")
        assert time.monotonic() - began < TIMEOUT
        assert other.execute("SELECT count(*) FROM frames").fetchone() == seen
    assert await stored(path) == {context.session_id: serialize_context(context) for context in contexts[:2]}
