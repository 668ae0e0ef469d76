"""Writes turns in a process of its own and counts the bytes: `python -m benches.write_turns DIRECTORY HISTORY ROUNDS`.

Prints as JSON, for turns alone and in groups, the bytes of each that reached the disk and by which the file grew.
Every count begins and ends with the file closed and nothing left to do, so that it has whole checkpoints of the WAL,
and those of the sessions.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from itertools import count, cycle
from pathlib import Path

from benches.conversation import FIRST_NUMBER, add_turn, context_of, texts

from swisper_ctx import PipelineSessionManager, SwisperContext
from swisper_ctx.cli.meter import counter, growth

SESSIONS = 64
ALONE = 16
"""So many of the sessions write alone: it takes longer."""

Manager = PipelineSessionManager[SwisperContext]
Contexts = Sequence[SwisperContext]
Save = Callable[[Manager, Contexts], Awaitable[object]]


async def alone(sessions: Manager, contexts: Contexts) -> None:
    for context in contexts:
        await sessions.save(context)


async def together(sessions: Manager, contexts: Contexts) -> None:
    await asyncio.gather(*map(sessions.save, contexts))


class Writer:
    """Sessions with a history, and the file that they are saved in."""

    def __init__(self, file: Path, history: int) -> None:
        self.file, self.said, self.numbers = file, cycle(texts()), count(FIRST_NUMBER)
        self.contexts = [context_of(history) for _ in range(SESSIONS)]

    async def write(self, contexts: Contexts, rounds: int, save: Save) -> None:
        """A turn of every session in each round."""
        async with PipelineSessionManager.open(f"sqlite:///{self.file}") as sessions:
            for _ in range(rounds):
                for context in contexts:
                    add_turn(context, next(self.numbers), next(self.said), next(self.said))
                await save(sessions, contexts)
            await sessions.session_store._checkpointer.settle()

    async def count(self, contexts: Contexts, rounds: int, save: Save) -> dict[str, float]:
        """The bytes of one turn."""
        written, size = counter("write_bytes"), growth(self.file.parent)
        await self.write(contexts, rounds, save)
        turns = rounds * len(contexts)
        return {
            "written": (counter("write_bytes") - written) / turns,
            "growth": (growth(self.file.parent) - size) / turns,
        }

    async def check(self) -> None:
        """All of it is there again."""
        async with PipelineSessionManager.open(f"sqlite:///{self.file}") as sessions:
            for context in (self.contexts[0], self.contexts[-1]):
                stored = await sessions.load_session_context(context.session_id)
                assert stored is not None
                assert stored.version == context.version
                assert stored.conversation_history == context.conversation_history
                assert stored.performance_metrics == context.performance_metrics


async def main(directory: Path, history: int, rounds: int) -> None:
    writer = Writer(directory / "sessions.db", history)
    # What a new session costs, and the first checkpoint of its history, are behind them when counting begins.
    await writer.write(writer.contexts, 2, together)
    result = {
        "alone": await writer.count(writer.contexts[:ALONE], rounds, alone),
        "groups of 64": await writer.count(writer.contexts, rounds, together),
    }
    await writer.check()
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
