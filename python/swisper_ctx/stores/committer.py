"""Groups of changes on their way to a store.

Changes that arrive while a group is being written form the next one: no timers. A group belongs to the store, not to
its callers: one that is cancelled does not cancel what it began.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, Self

from swisper_ctx._core import Groups, Save
from swisper_ctx.errors import ContextError, OutcomeUnknownError, StoreError, StoreUnavailableError
from swisper_ctx.log import Change, CommitResult

Answered = Callable[[list[CommitResult] | None, BaseException | None], None]
"""Called once in the event loop: with a result for each change of a group, or with what writing it has raised."""


class PostponedError(StoreUnavailableError):
    """Of a change that was not written because its group has ended for another's sake: it has time left to wait."""


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


class Committer(Groups):
    """Forms the groups of one store. Used from one event loop at a time."""

    _refused: Callable[[Any, Change], Awaitable[int | None]]
    _looks: set[asyncio.Task[None]]
    _moving: threading.Lock
    open_in: asyncio.AbstractEventLoop | None
    """The event loop in which writes may be submitted, until that ends; None when it is closed."""
    _process: int
    """Of the loop."""
    _is_closed: bool

    def __new__(
        cls,
        begin: Callable[[Sequence[Change], Answered], None],
        refused: Callable[[Any, Change], Awaitable[int | None]],
        *,
        in_flight: int = 1,
    ) -> Self:
        """`begin` starts writing a group: see `SessionStore.begin_commit`.

        `refused` finds out about a write whose change was refused: it gives the time if it was written after all,
        None if it is to be tried again, or raises.
        """
        self = super().__new__(cls, begin, in_flight)
        self._refused, self._looks = refused, set()
        self._moving, self.open_in, self._is_closed = threading.Lock(), None, False
        return self

    def enter(self) -> None:
        """Work in the running event loop from now on; before anything is submitted there, with no await between.

        What was on its way in one that has ended is given up. Raises StoreError when another one uses the store, and
        when that is closed.
        """
        if self._is_closed:
            raise StoreError("this store is closed")
        self._move()

    def _move(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is self.loop:
            return
        with self._moving:  # loops of several threads may find at once that the last one has ended
            if self._is_in_use():
                raise StoreError("this store is in use by another event loop; open one store in each")
            self.loop, self._process = loop, os.getpid()
            self.open_in = loop
            self.drained.clear()
            self._looks.clear()
            self.fail(self.give_up(), asyncio.CancelledError())
            self.schedule()

    def _is_in_use(self) -> bool:
        if self.loop is None or self.loop.is_closed():
            return False
        # One that is running may be about to submit; in a fork of its process it only seems to run.
        return (self.loop.is_running() and self._process == os.getpid()) or not self._is_at_rest

    def seal(self, write: Save) -> None:
        """Have the frame of a large write made in a thread: others go on meanwhile."""
        sealing = write.sealing()
        try:
            frame = asyncio.get_running_loop().run_in_executor(None, sealing)
        except RuntimeError:  # the threads have been shut down: others wait
            self.sealed(write, sealing(), None)
        else:
            frame.add_done_callback(partial(self._sealed, write))

    def _sealed(self, write: Save, frame: asyncio.Future[bytes]) -> None:
        if frame.cancelled():  # the threads have been shut down before one of them came to it
            self.sealed(write, write.sealing()(), None)
            return
        error = frame.exception()
        self.sealed(write, frame.result() if error is None else None, error)

    async def close(self) -> None:
        """Admit no more writes, and wait until those that were admitted are done."""
        self._move()
        self._is_closed, self.open_in = True, None
        await self.drain()

    async def drain(self) -> None:
        """Wait until nothing is queued or on its way."""
        self._move()
        while not self._is_at_rest:
            future = asyncio.get_running_loop().create_future()
            self.drained.append(future)
            await future

    @property
    def _is_at_rest(self) -> bool:
        return self.is_idle and not self._looks

    def rest(self) -> None:
        """Tell those who drain, if nothing is on its way."""
        if self._is_at_rest:
            for future in self.drained:
                if not future.done():
                    future.set_result(None)
            self.drained.clear()

    def not_committed(self, write: Write, change: Change, error: Exception | None) -> None:
        """One of a group was refused, or has failed."""
        if isinstance(error, PostponedError):
            self.resubmit(write)
        elif error is not None:
            self.release(write.session_id)
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
            self.release(write.session_id)
            write.failed(error)
        except BaseException as error:
            self.fail([write], error)
            raise
        else:
            if time is None:
                self.resubmit(write)
            else:
                self.release(write.session_id)
                write.committed(time)
        self.schedule()

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._looks.discard(look)
        self.rest()

    def fail(self, writes: Sequence[Write], error: BaseException | None) -> None:
        """Writing these has raised this."""
        failure = reported(error)
        for write in writes:
            self.release(write.session_id)
            write.failed(failure)


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
