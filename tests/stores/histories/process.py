"""One of several processes that write and read the same sessions, and write down what they do as they do it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.stores.histories.history import Operation

from swisper_ctx import Message, OutcomeUnknownError, StoreUnavailableError, SwisperContext
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.cache import SessionCache
from swisper_ctx.stores.registry import open_store

ATTEMPTS = 20
PAUSE = 0.02
UNSURE = (StoreUnavailableError, OutcomeUnknownError)


class Setup(NamedTuple):
    """Which store a process opens. Times are seconds."""

    url: str
    staleness: float | None = None
    """That of a SessionCache in front of it."""
    timeout: float = 0.5

    def open(self) -> SessionStore:
        store = open_store(self.url, acquire_timeout=self.timeout, command_timeout=self.timeout)
        return store if self.staleness is None else SessionCache(store, max_staleness=self.staleness)


class Work(NamedTuple):
    """What a process does: so many writes and reads, several at once, and where it writes them down."""

    name: str
    path: Path
    sessions: tuple[str, ...]
    operations: int
    at_once: int = 2


class Diary:
    """One write is one line, also at the moment of death."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, line: str) -> None:
        os.write(self._file, line.encode() + b"\n")


class Actor:
    """Does one thing after the other."""

    def __init__(self, setup: Setup, work: Work, store: SessionStore, diary: Diary, name: str) -> None:
        self.setup, self.work, self.store, self.diary = setup, work, store, diary
        self.name, self.dice = name, Random(name)
        self.contexts: dict[str, SwisperContext] = {}

    async def write(self) -> None:
        for number in range(self.work.operations):
            session = self.dice.choice(self.work.sessions)
            context = await self._context(session)
            if context is None:
                continue
            one = Operation(f"{self.name}-{number}", session, True, 0, time.monotonic_ns())
            context.conversation_history.append(Message("user", self.dice.randbytes(3_000).hex(), message_id=one.name))
            self.diary.note(one.began())
            if await self._saved(context):
                done = one._replace(returned=time.monotonic_ns(), version=context.version)
                self.diary.note(done.ended())
            else:
                del self.contexts[session]

    async def _saved(self, context: SwisperContext) -> bool:
        for _ in range(ATTEMPTS):
            try:
                await self.store.save_session(context)
            except UNSURE:
                await asyncio.sleep(PAUSE)
            else:
                return True
        return False

    async def _context(self, session: str) -> SwisperContext | None:
        """One that was kept since it was last written, or a new one; None while the store is away."""
        if session not in self.contexts or self.dice.random() < 0.3:
            try:
                context = await self.store.load_session(session)
            except StoreUnavailableError:
                await asyncio.sleep(PAUSE)
                return None
            assert context is not None
            self.contexts[session] = context
        return self.contexts[session]

    async def read(self) -> None:
        for number in range(2 * self.work.operations):
            await asyncio.sleep(self.dice.uniform(0, PAUSE / 2))
            strict = self.setup.staleness is None or self.dice.random() < 0.5
            staleness = 0 if strict or self.setup.staleness is None else int(self.setup.staleness * 1e9)
            session, tail = self.dice.choice(self.work.sessions), self.dice.choice([None, None, 3])
            one = Operation(f"{self.name}-{number}", session, False, staleness, time.monotonic_ns())
            self.diary.note(one.began())
            try:
                context = await self.store.load_session(session, tail=tail, strict=strict)
            except StoreUnavailableError:
                await asyncio.sleep(2 * PAUSE)
                continue
            returned = time.monotonic_ns()
            assert context is not None
            history = context.conversation_history
            last = history if tail is None else history[-tail:]
            shown = tuple(str(message.message_id) for message in last)
            self.diary.note(
                one._replace(returned=returned, version=context.version, messages=len(history), last=shown).ended()
            )


async def act(setup: Setup, work: Work) -> None:
    store, diary = setup.open(), Diary(work.path)
    actors = [Actor(setup, work, store, diary, f"{work.name}-{number}") for number in range(2 * work.at_once)]
    writers, readers = actors[: work.at_once], actors[work.at_once :]
    await asyncio.gather(*(actor.write() for actor in writers), *(actor.read() for actor in readers))
    await store.aclose()


def run(setup: Setup, work: Work) -> None:
    """All of it; what a process is started with."""
    asyncio.run(act(setup, work))
