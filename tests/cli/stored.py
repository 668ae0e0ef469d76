"""Real stores for the commands to look at, and the commands run over them."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner, Result

from swisper_ctx import Message, PipelineSessionManager, Product, SwisperContext
from swisper_ctx.cli.commands import commands
from swisper_ctx.stores.checkpointer import Checkpointer

CANARY = "canary-7f3a"
LONG = 400


def run(path: Path, *arguments: str) -> Result:
    """A command over the SQLite file, in this process."""
    return CliRunner().invoke(commands, arguments, env={"SWISPER_STORE": str(path)}, catch_exceptions=False)


def run_process(path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command over the SQLite file, in a process of its own."""
    command = [sys.executable, "-m", "swisper_ctx.cli", *arguments]
    environment = os.environ | {"SWISPER_STORE": str(path)} | environment
    return subprocess.run(command, env=environment, capture_output=True, check=False)


def objects(result: Result) -> list[dict[str, Any]]:
    """The JSON lines of a result."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def fill(path: Path) -> None:
    """Two sessions: `short` of 3 versions, whose content holds the canary, and `long` with several segments."""
    # `long` is left with a checkpoint due, as a process leaves it that ends too soon.
    with patch.object(Checkpointer, "consider"):
        asyncio.run(_fill(path))


async def _fill(path: Path) -> None:
    async with PipelineSessionManager.open(f"sqlite:///{path}") as sessions:
        context = await sessions.create_session(user_id="u-1", session_id="long")
        context.conversation_history.extend(
            Message(role="user", content=f"{number} " + os.urandom(500).hex()) for number in range(LONG)
        )
        await sessions.save(context)
        context = await sessions.create_session(user_id="u-2", session_id="short", product_query=CANARY)
        await _talk(sessions, context)


async def _talk(sessions: PipelineSessionManager[SwisperContext], context: SwisperContext) -> None:
    context.conversation_history.append(Message(role="user", content=f"a {CANARY}\n\x1b[31mred\x1b[0m"))
    context.conversation_history.append(Message(role="assistant", content=[{"type": "text", "text": CANARY}]))
    context.search_results.append(Product(product_id="p-1", name=CANARY))
    async with sessions.pipeline(context, "search", input=CANARY) as search:
        search.result = {"found": CANARY}
    await sessions.save(context, change_id="first")
    context.soft_preferences["noise"] = CANARY
    context.metadata["größe"] = 10**5000
    await sessions.save(context)


def talk(path: Path, session_id: str) -> None:
    """One more turn of a session."""

    async def turn() -> None:
        url = f"sqlite:///{path}"
        async with PipelineSessionManager.open(url) as sessions, sessions.session(session_id) as context:
            context.conversation_history.append(Message(role="user", content="one more"))
            context.product_query = "another"

    asyncio.run(turn())


def change(path: Path, statement: str) -> int:
    """Do to the file what no store would; how many rows it met."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(statement).rowcount
    finally:
        connection.close()


def flip(path: Path, table: str, where: str) -> None:
    """Flip the bits of a byte in the middle of those rows' bodies."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            rows = connection.execute(f"SELECT id, body FROM {table} WHERE {where}").fetchall()
            assert rows
            for row, body in rows:
                middle = len(body) // 2
                damaged = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
                connection.execute(f"UPDATE {table} SET body = ? WHERE id = ?", (damaged, row))
    finally:
        connection.close()


def of_session(session_id: str) -> str:
    """The condition for rows of that session."""
    return f"session = (SELECT key FROM sessions WHERE session_id = '{session_id}')"
