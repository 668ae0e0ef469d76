"""Several processes on one store, of which one takes one step at a time: a call of the store, lost or not, or its end.

A schedule is the choice of who goes next. What comes of it is checked against `tests.stores.protocol`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from random import Random
from typing import Any, NamedTuple

from tests.stores.protocol import Patch, State, apply, begin, merges, shown

from swisper_ctx import ConflictError, OutcomeUnknownError, StoreUnavailableError, SwisperContext
from swisper_ctx.log import Change, CommitResult
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing import FaultyStore

Call = Callable[[], Awaitable[Any]]
SESSION = "s"


class Written(NamedTuple):
    """A version: the change that it is, the version it follows on, and the state that came of it."""

    author: str
    name: str
    parent: bytes
    patch: Patch
    state: State


class Step(NamedTuple):
    """A call of the store that waits for its turn."""

    operation: str
    call: Call
    answer: asyncio.Future[Any]


class Process(FaultyStore):
    """A process's view of the store: each call waits until the schedule comes to it."""

    def __init__(self, name: str, store: SessionStore, world: World) -> None:
        super().__init__(store)
        self.name, self.world = name, world
        self.step: Step | None = None
        self.is_free = True
        self.change: tuple[str, Patch] = "", ()
        """What is about to be written, under a name of its own."""
        # Checkpoints are steps of their own here.
        self._checkpointer.consider = lambda *_: None  # type: ignore[method-assign]

    async def _call(self, operation: str, call: Call) -> Any:
        if self.is_free:
            return await call()
        answer = asyncio.get_running_loop().create_future()
        self.step = Step(operation, call, answer)
        return await answer

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        for change in changes:
            self.world.changes.setdefault(change.etag.token, (self.name, *self.change))

        async def noted() -> list[CommitResult]:
            results = await self.store.commit(changes)
            for change, (time, _) in zip(changes, results, strict=True):
                if time is not None:
                    self.world.note(change)
            return results

        results: list[CommitResult] = await self._call("commit", noted)
        return results

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        async def noted() -> int:
            count = await self.store.delete(session_ids, expired=expired)
            self.world.deleted()
            return count

        count: int = await self._call("delete", noted)
        return count


Actor = Callable[["World", Process, SwisperContext], Coroutine[Any, Any, None]]


class World:
    """The processes, and everything that was written and answered."""

    def __init__(self, stores: Callable[[], SessionStore], random: Random, losses: int = 0, crashes: int = 0) -> None:
        self.stores, self.random, self.losses, self.crashes = stores, random, losses, crashes
        self.processes: dict[str, Process] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.late: list[Call] = []
        """Calls whose answer was lost, and which the store may perform later or never."""
        self.changes: dict[bytes, tuple[str, str, Patch]] = {}
        self.versions: dict[bytes, Written] = {}
        self.log: list[str] = []
        """The names of the changes that were written, since the session was last deleted."""
        self.old_log: list[str] = []
        self.acknowledged: list[str] = []
        self.refused: list[tuple[str, str]] = []

    async def start(self, state: State) -> None:
        """The session, in this state."""
        store = self.processes["setup"] = Process("setup", self.stores(), self)
        store.change = "setup", (("all", state),)
        await store.save_session(begin(SESSION, state))

    def note(self, change: Change) -> None:
        """A change was written."""
        author, name, patch = self.changes[change.etag.token]
        if change.expected is None:
            parent, state = bytes(16), patch[0][1]
        else:
            parent, state = change.expected.token, apply(self.versions[change.expected.token].state, patch)
        self.versions[change.etag.token] = Written(author, name, parent, patch, state)
        self.log.append(name)

    def deleted(self) -> None:
        """The session and its log are gone."""
        self.old_log += self.log
        self.log = []

    def since(self, now: bytes, base: bytes) -> list[Patch]:
        """The changes that lead from one version to another."""
        patches: list[Patch] = []
        while now != base:
            patches.append(self.versions[now].patch)
            now = self.versions[now].parent
        return patches[::-1]

    def acknowledge(self, name: str, base: bytes, context: SwisperContext, is_named: bool) -> None:
        """A save was answered: by the rules it had to be, and the context shows what is stored.

        A change that is named by its caller may have been written by another.
        """
        self.acknowledged.append(name)
        assert context._position.etag is not None
        version = self.versions[context._position.etag.token]
        assert shown(context) == version.state
        if version.name == name and not is_named:
            assert merges(self.versions[base].state, self.since(version.parent, base), version.patch)

    def refuse(self, author: str, name: str, patch: Patch, error: ConflictError) -> None:
        """A save was refused: by the rules it had to be."""
        self.refused.append((author, name))
        if error.actual is None or error.reason == "too_old":
            assert self.old_log, "what was saved since is there"
            return
        assert error.expected is not None
        theirs = self.since(error.actual.token, error.expected.token)
        assert not merges(self.versions[error.expected.token].state, theirs, patch)

    def observe(self, context: SwisperContext | None) -> None:
        """A load gave this: a version that was written, as it was written."""
        if context is not None:
            assert context._position.etag is not None
            assert shown(context) == self.versions[context._position.etag.token].state

    async def add(self, name: str, actor: Actor) -> None:
        """A process that does this, step by step; its context was loaded before."""
        store = self.processes[name] = Process(name, self.stores(), self)
        context = await store.load_session(SESSION)
        assert context is not None
        store.is_free = False
        self.tasks[name] = asyncio.ensure_future(actor(self, store, context))

    async def run(self) -> None:
        """Until all have finished or died."""
        while True:
            await self.quiet()
            waiting = [name for name, task in self.tasks.items() if not task.done()]
            if not waiting:
                break
            await self.move(waiting)
        for call in self.late:
            if self.random.random() < 0.5:
                await call()
        for task in self.tasks.values():
            if not task.cancelled():
                task.result()

    async def move(self, waiting: list[str]) -> None:
        if self.late and self.random.random() < 0.3:
            await self.late.pop(self.random.randrange(len(self.late)))()
            return
        process = self.processes[name := self.random.choice(waiting)]
        assert process.step is not None
        operation, call, answer = process.step
        process.step = None
        if self.crashes and self.random.random() < 0.1:
            self.crashes -= 1
            self.tasks[name].cancel()
            if self.random.random() < 0.5:
                self.late.append(call)
            lose(answer, OutcomeUnknownError("nobody hears it"))
        elif self.losses and operation == "commit" and self.random.random() < 0.5:
            self.losses -= 1
            self.late.append(call)
            lose(answer, OutcomeUnknownError("lost"))
        else:
            await perform(call, answer)

    async def quiet(self) -> None:
        """Wait until each process waits for its next step or has finished."""
        for _ in range(100_000):
            await asyncio.sleep(0)
            if all(task.done() or self.processes[name].step for name, task in self.tasks.items()):
                return
        raise AssertionError("a process waits for something else than the store")

    async def check(self) -> None:
        """What must hold in the end."""
        store = self.processes["setup"]
        context, frames = await store.load_session(SESSION), await store.frames(SESSION)
        self.observe(context)
        assert [self.versions[frame.token].name for frame in frames] == self.log
        assert [self.versions[frame.token].parent for frame in frames[1:]] == [frame.token for frame in frames[:-1]]
        for log in (self.log, self.old_log):
            assert len(set(log)) == len(log), "a change is in the log twice"
        assert set(self.acknowledged) <= {*self.log, *self.old_log}
        assert not set(self.refused) & {(one.author, one.name) for one in self.versions.values()}

    async def aclose(self) -> None:
        for process in self.processes.values():
            process.is_free = True
            if process.step is not None:
                lose(process.step.answer, StoreUnavailableError("dead"))
        for process in self.processes.values():
            await process._committer.drain()
        stores = {process.store for process in self.processes.values()}
        await next(iter(stores)).delete([SESSION])
        for store in stores:
            await store.aclose()


def lose(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():  # by the cancellation of who waits
        answer.set_exception(error)


async def perform(call: Call, answer: asyncio.Future[Any]) -> None:
    try:
        result = await call()
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
        answer.set_exception(error)
    else:
        answer.set_result(result)
