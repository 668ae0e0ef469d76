"""Groups of changes on their way to a store.

Changes that arrive while a group is being written form the next one: no timers. A group is written by a task of the
store's own, so a caller that is cancelled does not cancel what it began.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from swisper_ctx.errors import ContextError, OutcomeUnknownError, StoreError
from swisper_ctx.log import Change, CommitResult

MOST_IN_GROUP = 512


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
        commit: Callable[[Sequence[Change]], Awaitable[list[CommitResult]]],
        refused: Callable[[Change], Awaitable[int]],
        *,
        in_flight: int = 1,
    ) -> None:
        """`refused` finds out about a refused change: it gives the time if it was written after all, or raises."""
        self._commit, self._refused, self._in_flight = commit, refused, in_flight
        self._waiting: deque[Write] = deque()
        self._busy: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._groups = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, write: Write) -> None:
        """Queue a write; nothing is awaited. Raises StoreError when another running event loop uses the store."""
        self._enter_loop()
        self._waiting.append(write)
        self._start()

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._tasks and self._loop is not None and not self._loop.is_closed():
            raise StoreError("this store is in use by another event loop; open one store in each")
        self._loop = loop
        self._tasks.clear()
        self._busy.clear()
        self._groups = 0

    def _start(self) -> None:
        if self._groups < self._in_flight and self._waiting:
            self._groups += 1
            self._own(self._write_groups())

    def _own(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until nothing is queued or on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _write_groups(self) -> None:
        try:
            while group := self._take():
                await self._write(group)
        finally:
            self._groups -= 1

    def _take(self) -> list[Write]:
        """The next group: at most one write for each session, none of a session that has one under way."""
        group: list[Write] = []
        later: deque[Write] = deque()
        while self._waiting and len(group) < MOST_IN_GROUP:
            write = self._waiting.popleft()
            if write.done:
                continue
            if write.session_id in self._busy:
                later.append(write)
            else:
                self._busy.add(write.session_id)
                group.append(write)
        later.extend(self._waiting)
        self._waiting = later
        return group

    async def _write(self, group: list[Write]) -> None:
        pending = [(write, change) for write in group if (change := self._changed(write)) is not None]
        if not pending:
            return
        try:
            results = await self._commit([change for _, change in pending])
        except ContextError as error:
            self._fail(pending, error)
        except Exception as error:  # noqa: BLE001
            # The queue must outlive what nobody expected.
            unexpected = OutcomeUnknownError("the store failed in an unexpected way; see the cause")
            unexpected.__cause__ = error
            self._fail(pending, unexpected)
        except BaseException:
            self._fail(pending, OutcomeUnknownError("the event loop ended before the store answered"))
            raise
        else:
            for (write, change), result in zip(pending, results, strict=True):
                self._settle(write, change, result)

    def _changed(self, write: Write) -> Change | None:
        try:
            return write.change()
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller of this write
            self._release(write)
            write.failed(error)
            return None

    def _settle(self, write: Write, change: Change, result: CommitResult) -> None:
        if result.error is None and result.time is None:
            self._own(self._look(write, change))
            return
        self._release(write)
        if result.time is not None:
            write.committed(result.time)
        elif result.error is not None:
            write.failed(result.error)

    async def _look(self, write: Write, change: Change) -> None:
        """A refused change: written already, or a conflict. Its session waits meanwhile."""
        try:
            time = await self._refused(change)
        except Exception as error:  # noqa: BLE001 - passed on to the caller of this write
            self._release(write)
            write.failed(error)
        except BaseException:
            self._release(write)
            write.failed(OutcomeUnknownError("the event loop ended before the store answered"))
            raise
        else:
            self._release(write)
            write.committed(time)
        self._start()

    def _fail(self, pending: list[tuple[Write, Change]], error: Exception) -> None:
        for write, _ in pending:
            self._release(write)
            write.failed(error)

    def _release(self, write: Write) -> None:
        self._busy.discard(write.session_id)
