"""Groups of changes on their way to a store.

Changes that arrive while a group is being written form the next one: no timers. A group belongs to the store, not to
its callers: one that is cancelled does not cancel what it began.
"""

from __future__ import annotations

import asyncio
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
        return self

    def enter(self) -> asyncio.AbstractEventLoop:
        """Work in the running event loop from now on, and say which; before anything is submitted there.

        What was on its way in one that has ended is given up. Raises StoreError when another one uses the store.
        """
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            self._move_to(loop)
        return loop

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.loop is not None and not self.loop.is_closed() and not self._is_at_rest:
            raise StoreError("this store is in use by another event loop; open one store in each")
        self.loop = loop
        self.drained.clear()
        self._looks.clear()
        self.fail(self.give_up(), asyncio.CancelledError())
        self.schedule()

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
        error = frame.exception()
        self.sealed(write, frame.result() if error is None else None, error)

    async def drain(self) -> None:
        """Wait until nothing is queued or on its way."""
        self.enter()
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
