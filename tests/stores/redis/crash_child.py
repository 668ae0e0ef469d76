"""Turns of some sessions over SQLite and Redis until it is killed; says what was acknowledged.

    python crash_child.py PATH URL [COUNT]

With COUNT it kills itself when so many groups were durable, before Redis hears of the last.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

from swisper_ctx import Message, SwisperContext
from swisper_ctx.stores.redis import RedisCache
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing.changes import folded

NAMES = ["a", "b", "c"]


class Deadly:
    """A failpoint at which the process dies."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, name: str) -> None:
        if name == "redis.append":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def say(*words: object) -> None:
    # One write is one line, also at the moment of death.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def turn(cache: RedisCache, name: str) -> None:
    context = await cache.load_session(name) or SwisperContext(session_id=name, user_id="u")
    text = f"{os.getpid()} {len(context.conversation_history)}"
    context.conversation_history.append(Message("user", text))
    say("begin", name, len(context.conversation_history), text)
    await cache.save_session(context)
    say("done", name, len(context.conversation_history), text)
    if random.random() < 0.1:
        await folded(cache, context)


async def main(path: str, url: str, count: int) -> None:
    cache = RedisCache(url, SQLiteSessionStore(path, failpoint=Deadly(count)))
    while True:
        await asyncio.gather(*(turn(cache, name) for name in NAMES))


if __name__ == "__main__":
    path, url, count = (*sys.argv[1:], "0")[:3]
    asyncio.run(main(path, url, int(count)))
