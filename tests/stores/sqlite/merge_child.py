"""One of several processes that talk into one session; says on standard output what was acknowledged.

python merge_child.py PATH NAME TASKS TURNS
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from typing import Any

from swisper_ctx import Message, SwisperContext
from swisper_ctx.stores.sqlite import SQLiteSessionStore


def say(*what: object) -> None:
    # One write is one line, also at the moment of death.
    os.write(1, (" ".join(map(str, what)) + "\n").encode())


def count(context: SwisperContext) -> None:
    context.performance_metrics["turns"] += 1


async def talk(store: SQLiteSessionStore, name: str, turns: int) -> None:
    """Messages through a context of its own, and a counter that all share."""
    context = await store.load_session("s")
    assert context is not None
    for number in range(turns):
        said = f"{name}:{number}"
        context.conversation_history.append(Message("user", "x" * random.randrange(900), message_id=said))
        if random.random() < 0.2:
            await store.refresh(context)
        await store.save_session(context)
        say("said", said)
        if number % 5 == 4:
            await store.update("s", count, attempts=10_000, change_id=f"{name} counts {number}")
            say("counted", f"{name}:{number}")


async def main(path: str, name: str, tasks: int, turns: int) -> None:
    events: Counter[str] = Counter()

    def on_event(event: str, _: dict[str, Any]) -> None:
        events[event] += 1

    store = SQLiteSessionStore(path, timeout=60)
    store.on_event = on_event
    say("ready")
    sys.stdin.readline()
    await asyncio.gather(*(talk(store, f"{name}.{task}", turns) for task in range(tasks)))
    await store.aclose()
    for event in ("session_merged", "checkpoint_written"):
        say(event, events[event])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
