"""Groups of changes on their way to a store.

Changes that arrive while a group is being written form the next one: no timers. A group belongs to the store, not to
its callers: one that is cancelled does not cancel what it began.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from swisper_ctx.errors import ContextError, OutcomeUnknownError, StoreError
from swisper_ctx.log import Change, CommitResult

MOST_IN_GROUP = 512
FEW = 32
"""More than these are shared among the groups that may be on their way at once, so that their stages overlap."""


Answered = Callable[[list[CommitResult] | None, BaseException | None], None]
"""Called once in the event loop: with a result for each change of a group, or with what writing it has raised."""


class Write(Protocol):
    """Something that becomes a change when its turn comes."""

    session_id: str
    done: bool
    """Settled already, one way or the other."""

    def change(self) -> Change:
        """The change, made from the state that the session's earlier writes have led to."""

    def committed(self, time: int) -> None:
        """It is durable."""

    def failed(self, error: Exception) -> None:
        """It is not, or nobody knows."""


class Committer:
    """Forms the groups of one store. Used from one event loop at a time."""

    def __init__(
        self,
        begin: Callable[[Sequence[Change], Answered], None],
        refused: Callable[[Any, Change], Awaitable[int | None]],
        *,
        in_flight: int = 1,
    ) -> None:
        """`begin` starts writing a group: see `SessionStore.begin_commit`.

        `refused` finds out about a write whose change was refused: it gives the time if it was written after all,
        None if it is to be tried again, or raises.
        """
        self._begin, self._refused, self._in_flight = begin, refused, in_flight
        self._waiting: deque[Write] = deque()
        self._busy: set[str] = set()
        self._groups: list[list[Write]] = []
        self._looks: set[asyncio.Task[None]] = set()
        self._is_scheduled = self._is_lone = False
        self._drained: list[asyncio.Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> asyncio.AbstractEventLoop:
        """Work in the running event loop from now on, and say which; before anything is submitted there.

        What was on its way in one that has ended is given up. Raises StoreError when another one uses the store.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        return loop

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and not self._loop.is_closed() and not self._is_at_rest:
            raise StoreError("this store is in use by another event loop; open one store in each")
        self._loop, self._is_scheduled, groups = loop, False, self._groups
        self._groups, self._drained = [], []
        self._looks.clear()
        self._busy.clear()
        for writes in groups:
            self._fail(writes, asyncio.CancelledError())

    def submit(self, write: Write) -> None:
        """Queue a write; nothing is awaited."""
        self._waiting.append(write)
        if self._is_scheduled or len(self._groups) >= self._in_flight:
            return
        if self._is_lone:
            self._send()
        else:
            self._schedule()

    async def drain(self) -> None:
        """Wait until nothing is queued or on its way."""
        self.enter()
        while not self._is_at_rest:
            future = asyncio.get_running_loop().create_future()
            self._drained.append(future)
            await future

    @property
    def _is_at_rest(self) -> bool:
        return not (self._groups or self._is_scheduled or self._looks)

    def _schedule(self) -> None:
        """Form the next group when those that are about to run in this event loop have had their say."""
        if not self._is_scheduled and self._loop is not None:
            self._is_scheduled = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_scheduled = False
        while len(self._groups) < self._in_flight and (group := self._take()):
            # A group of one: nobody else is about, and the next save need not wait for company.
            self._is_lone = len(group) == 1
            self._write(group)
        if self._drained:
            self._rest()

    def _rest(self) -> None:
        if self._is_at_rest:
            for future in self._drained:
                if not future.done():
                    future.set_result(None)
            self._drained.clear()

    def _take(self) -> list[Write]:
        """The next group: at most one write for each session, none of a session that has one under way."""
        waiting, busy = self._waiting, self._busy
        group: list[Write] = []
        later: list[Write] = []
        most = MOST_IN_GROUP
        if self._in_flight > 1 and len(waiting) > FEW:
            most = min(most, len(waiting) // 2)
        while waiting and len(group) < most:
            write = waiting.popleft()
            if write.done:
                continue
            if write.session_id in busy:
                later.append(write)
            else:
                busy.add(write.session_id)
                group.append(write)
        waiting.extendleft(reversed(later))
        return group

    def _write(self, group: list[Write]) -> None:
        writes: list[Write] = []
        changes: list[Change] = []
        for write in group:
            try:
                changes.append(write.change())
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller of this write
                self._release(write)
                write.failed(error)
            else:
                writes.append(write)
        if not changes:
            return
        self._groups.append(writes)
        try:
            self._begin(changes, partial(self._answered, writes, changes))
        except Exception as error:  # noqa: BLE001 - to be told to the callers
            self._answered(writes, changes, None, error)

    def _answered(
        self,
        writes: list[Write],
        changes: list[Change],
        results: list[CommitResult] | None,
        error: BaseException | None,
    ) -> None:
        self._groups.remove(writes)
        try:
            if results is None or len(results) != len(writes):
                self._fail(writes, error)
            else:
                for write, change, (time, failure) in zip(writes, changes, results, strict=True):
                    if time is None:
                        self._not_committed(write, change, failure)
                    else:
                        self._busy.discard(write.session_id)
                        write.committed(time)
        finally:
            # A task that was cancelled: its event loop is about to end, and takes up nothing else.
            if self._waiting and not isinstance(error, asyncio.CancelledError):
                self._schedule()
            if self._drained:
                self._rest()

    def _not_committed(self, write: Write, change: Change, error: Exception | None) -> None:
        if error is not None:
            self._release(write)
            write.failed(error)
        else:
            look = asyncio.ensure_future(self._look(write, change))
            self._looks.add(look)
            look.add_done_callback(self._looked)

    async def _look(self, write: Write, change: Change) -> None:
        """A refused change: written already, to be tried again before all others, or a conflict.

        Its session waits meanwhile.
        """
        try:
            time = await self._refused(write, change)
        except Exception as error:  # noqa: BLE001 - passed on to the caller of this write
            self._release(write)
            write.failed(error)
        except BaseException as error:
            self._fail([write], error)
            raise
        else:
            self._release(write)
            if time is None:
                self._waiting.appendleft(write)
            else:
                write.committed(time)
        if self._waiting:
            self._schedule()

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._looks.discard(look)
        self._rest()

    def _fail(self, writes: list[Write], error: BaseException | None) -> None:
        failure = reported(error)
        for write in writes:
            self._release(write)
            write.failed(failure)

    def _release(self, write: Write) -> None:
        self._busy.discard(write.session_id)


def reported(error: BaseException | None) -> ContextError:
    """What the callers of a group are told when writing it has raised this."""
    if isinstance(error, ContextError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return OutcomeUnknownError("the event loop ended before the store answered")
    unexpected = OutcomeUnknownError("the store failed in an unexpected way; see the cause")
    unexpected.__cause__ = error
    return unexpected


def answer(answered: Answered, task: asyncio.Task[list[CommitResult]]) -> None:
    """Tell what became of a task that has written a group."""
    if task.cancelled():
        answered(None, asyncio.CancelledError())
    elif (error := task.exception()) is not None:
        answered(None, error)
    else:
        answered(task.result(), None)
