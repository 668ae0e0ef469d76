"""The code of the migration page runs, from its top to its end."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

LINES = (Path(__file__).parents[1] / "docs" / "MIGRATION.md").read_text(encoding="utf-8").splitlines()


def script() -> str:
    """Its blocks of code as one script, each line at its own number."""
    inside, kept = False, []
    for line in LINES:
        fence = line.startswith("```")
        kept.append(line if inside and not fence else "")
        inside = line == "```python" if fence else inside
    return "\n".join(kept)


def test_the_code_of_the_page_runs() -> None:
    names: dict[str, Any] = {"__name__": "migration"}
    code = compile(script(), "MIGRATION.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    async def run() -> None:
        await eval(code, names)
        await stream(names)

    asyncio.run(run())


async def stream(names: dict[str, Any]) -> None:
    """The generator of the page, to its end and left in the middle."""

    async def model() -> AsyncIterator[str]:
        for piece in ("two ", "fridges"):
            yield piece

    manager = names["manager"]
    context = await manager.create_session(user_id="u-17")
    assert [piece async for piece in names["answer"](context, model())] == ["two ", "fridges"]
    left = names["answer"](context, model())
    await anext(left)
    await left.aclose()
    stored = await manager.load_session_context(context.session_id)
    assert [message.content for message in stored.conversation_history] == ["two fridges", "two "]
