"""What a turn costs as the conversation grows: this store, beside a document rewritten at every turn."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from swisper_ctx import PipelineSessionManager, SwisperContext, serialize_context
from swisper_ctx.cli.conversations import Conversation, Turn
from swisper_ctx.cli.meter import Meter, meter_for
from swisper_ctx.cli.replay import replay_turn, store_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from pathlib import Path


UPSERT = "INSERT INTO documents VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET json = excluded.json"

BEGINNING = 3
"""Turns that are written of every conversation, for what a new and short chat costs."""


class TurnCost(NamedTuple):
    """One durable turn, after which the conversation had so many messages; the first bears the session's creation."""

    messages: int
    written: int
    seconds: float


class Comparison(NamedTuple):
    """The same turns written in both ways, and what the bytes are."""

    counts: str
    ours: list[TurnCost]
    document: list[TurnCost]


def chats_of(conversations: Sequence[Conversation]) -> list[Conversation]:
    """The beginnings of all conversations, without their long system prompt, and then the longest one whole."""
    return [*(Conversation(chat.user_id, tuple(beginning(chat))) for chat in conversations), conversations[0]]


def beginning(chat: Conversation) -> Iterator[Turn]:
    """The first turns of a chat, as an application stores them that keeps its system prompt elsewhere."""
    for turn in chat.turns[:BEGINNING]:
        yield turn._replace(messages=tuple(message for message in turn.messages if message["role"] != "system"))


async def compare_costs(directory: Path, chats: Sequence[Conversation], advance: Callable[[], None]) -> Comparison:
    """Write the chats turn by turn, first through the library, then as documents, each into a file of its own."""
    meter = meter_for(directory)
    ours = await write_log(directory / "log.db", chats, meter, advance)
    return Comparison(meter.counts, ours, await write_documents(directory / "documents.db", chats, meter, advance))


async def write_log(
    path: Path, chats: Sequence[Conversation], meter: Meter, advance: Callable[[], None]
) -> list[TurnCost]:
    """Save each turn."""
    costs: list[TurnCost] = []
    async with PipelineSessionManager.open(store_url(path)) as sessions:
        # The first session creates the file.
        await sessions.create_session(user_id="nobody")
        total = meter.read()
        for chat in chats:
            context = await sessions.create_session(user_id=chat.user_id)
            for turn in chat.turns:
                await replay_turn(sessions, context, turn)
                start = time.perf_counter()
                await sessions.save(context)
                seconds = time.perf_counter() - start
                # From turn to turn without a gap: what the store tidies up beside a turn is part of the price.
                before, total = total, meter.read()
                costs.append(TurnCost(len(context.conversation_history), total - before, seconds))
                advance()
    return costs


async def write_documents(
    path: Path, chats: Sequence[Conversation], meter: Meter, advance: Callable[[], None]
) -> list[TurnCost]:
    """Write the whole context into its row at each turn; the time to encode it is not counted."""
    costs: list[TurnCost] = []
    with closing(open_documents(path, meter)) as database:
        total = meter.read()
        async for context in grow(chats):
            text = json.dumps(serialize_context(context), ensure_ascii=False, separators=(",", ":"))
            start = time.perf_counter()
            database.execute(UPSERT, (context.session_id, text))
            seconds = time.perf_counter() - start
            before, total = total, meter.read()
            costs.append(TurnCost(len(context.conversation_history), total - before, seconds))
            advance()
    return costs


async def grow(chats: Sequence[Conversation]) -> AsyncGenerator[SwisperContext, None]:
    """The context of each chat after each turn, unsaved."""
    async with PipelineSessionManager.open("memory://") as sessions:
        for chat in chats:
            context = SwisperContext(user_id=chat.user_id)
            for turn in chat.turns:
                await replay_turn(sessions, context, turn)
                yield context


def open_documents(path: Path, meter: Meter) -> sqlite3.Connection:
    """A table of documents, as durable as the library's own files."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    if not meter.sees_overwriting:
        database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute("CREATE TABLE documents (id TEXT PRIMARY KEY, json TEXT NOT NULL)")
    return database
