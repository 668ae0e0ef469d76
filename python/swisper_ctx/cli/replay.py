"""Replaying conversations into a store, all users at once. Run as a module it is the process that the demo kills."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from swisper_ctx import Message, PipelineSessionManager, Product, SwisperContext
from swisper_ctx.cli.conversations import Conversation, JsonObject, Turn, load_source
from swisper_ctx.cli.flights import SEARCHES, products_of

Saved = Callable[[SwisperContext, Turn], None]


def store_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{quote(str(path))}"


def session_name(run: str, user_id: str) -> str:
    """The session of one user in one run of the demo."""
    return f"demo-{run}-{user_id}"


def execution_of(turn: Turn) -> JsonObject:
    """What the pipeline execution of a turn records."""
    tools = [message["name"] for message in turn.messages if message["role"] == "tool"]
    return {
        "pipeline_name": "flight_search" if SEARCHES.intersection(tools) else "customer_service",
        "input": {"turn": turn.number},
        "result": {"messages": len(turn.messages), "tools": tools},
    }


async def replay_turn(sessions: PipelineSessionManager[SwisperContext], context: SwisperContext, turn: Turn) -> None:
    """Take one turn into the context: its messages, its search results, its execution. Nothing is written yet."""
    execution = execution_of(turn)
    async with sessions.pipeline(context, execution["pipeline_name"], input=execution["input"]) as run:
        context.conversation_history.extend(Message(**message) for message in turn.messages)
        context.search_results.extend(Product(**product) for product in products_of([turn]))
        run.result = execution["result"]


async def replay(
    sessions: PipelineSessionManager[SwisperContext], context: SwisperContext, turns: Iterable[Turn], saved: Saved
) -> None:
    """Take and save one turn after the other; `saved` is called when a turn is acknowledged."""
    for turn in turns:
        await replay_turn(sessions, context, turn)
        await sessions.save(context)
        saved(context, turn)


async def replay_all(url: str, run: str, conversations: Iterable[Conversation], saved: Saved) -> None:
    """Replay all conversations at the same time, each into a new session of its own."""
    async with PipelineSessionManager.open(url) as sessions:

        async def one(conversation: Conversation) -> None:
            name = session_name(run, conversation.user_id)
            context = await sessions.create_session(user_id=conversation.user_id, session_id=name)
            await replay(sessions, context, conversation.turns, saved)

        async with asyncio.TaskGroup() as group:
            for conversation in conversations:
                group.create_task(one(conversation))


def acknowledge(context: SwisperContext, turn: Turn) -> None:
    """Tell the recording process about a saved turn, in one write: a line arrives whole or not at all."""
    line = f"{context.session_id} {context.version} {len(context.conversation_history)} {turn.number}\n"
    os.write(sys.stdout.fileno(), line.encode())


def main(url: str, run: str, users: str) -> None:
    """The writer process."""
    asyncio.run(replay_all(url, run, load_source(int(users)).conversations, acknowledge))


if __name__ == "__main__":
    main(*sys.argv[1:])
