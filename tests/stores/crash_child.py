"""Writes into a store until it is killed; says on standard output what it begins and what was acknowledged.

    python crash_child.py URL [FAILPOINT COUNT]

With a failpoint it kills itself when it comes there for the COUNTth time.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

from tests.stores.crash_log import NAMES, body_of

from swisper_ctx.log import Block, Change, Checkpoint, Etag, Head
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.registry import open_store


class Deadly:
    """A failpoint at which the process dies."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.left = name, count

    def __call__(self, name: str) -> None:
        if name == self.name:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def say(word: str, *what: object) -> None:
    # One write is one line, also at the moment of death.
    os.write(1, (" ".join(map(str, (word, *what))) + "\n").encode())


async def commit(store: SessionStore, changes: list[Change]) -> None:
    etags = [f"{change.session_id}:{change.etag.version}:{change.etag.token.hex()}" for change in changes]
    say("begin", "commit", *etags)
    results = await store.commit(changes)
    assert all(result.time for result in results), results
    say("done", "commit", *etags)


async def checkpoint(store: SessionStore, name: str) -> None:
    stored = await store.read(name)
    assert stored is not None
    assert stored.head is not None
    base = stored.etag.version
    head = Head(base, os.urandom(16), b"head")
    block = Block(os.urandom(16), "state", 0, 0, body_of(name, base))
    dropped = tuple(block.block_id for block in stored.blocks)
    say("begin", "checkpoint", f"{name}:{base}:")
    assert await store.checkpoint(Checkpoint(name, stored.head.stamp, head, (block,), dropped))
    say("done", "checkpoint", f"{name}:{base}:")


async def recreate(store: SessionStore, name: str) -> None:
    say("begin", "delete", f"{name}:0:")
    assert await store.delete([name]) == 1
    say("done", "delete", f"{name}:0:")
    await commit(store, [created(name)])


def created(name: str) -> Change:
    head = Head(0, os.urandom(16), b"head")
    return Change(name, "u", None, Etag(1, os.urandom(16)), body_of(name, 1), head=head)


def next_of(name: str, etag: Etag) -> Change:
    return Change(name, "u", etag, Etag(etag.version + 1, os.urandom(16)), body_of(name, etag.version + 1))


async def main(url: str, failpoint: str, count: int) -> None:
    store = open_store(url, failpoint=Deadly(failpoint, count))
    etags = await store.etags(NAMES)
    missing = [created(name) for name in NAMES if name not in etags]
    if missing:
        await commit(store, missing)
    for turn in range(100_000):
        etags = await store.etags(NAMES)
        group = random.sample(NAMES, random.randint(1, len(NAMES)))
        await commit(store, [next_of(name, etags[name]) for name in group])
        if turn % 3 == 2:
            await checkpoint(store, random.choice(NAMES))
        if turn % 7 == 6:
            await recreate(store, random.choice(NAMES))


if __name__ == "__main__":
    url, failpoint, count = (*sys.argv[1:], "", "0")[:3]
    asyncio.run(main(url, failpoint, int(count)))
