"""A thread that owns a connection or an open file."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from swisper_ctx.errors import StoreError
from swisper_ctx.stores.mailbox import Answered, Mailboxes, Post

T = TypeVar("T")
R = TypeVar("R")


class Resource(NamedTuple, Generic[R]):
    """How the thread comes by what it owns: `open` is given a deadline, as time.monotonic counts.

    What a job has left `spoiled` is closed, and the next job opens another.
    """

    open: Callable[[float], R]
    close: Callable[[R], None]
    spoiled: Callable[[R], bool]


_Job = tuple[Callable[[Any, float], Any] | None, float, Post, Answered]
"""What to do, until when, and who is told by which way. With nothing to do the thread ends."""

_Queue = SimpleQueue[_Job | None]


class OwnerThread(Generic[R]):
    """Does one job after the other on a resource of its own, and answers in the event loop that asked.

    The thread begins with the first job and opens its resource then; a job that could not get one fails, and the
    next one tries again. What has been begun is finished, also when its caller is cancelled. `timeout`, in seconds,
    gives each job its deadline, if it does not bring one.
    """

    def __init__(self, name: str, resource: Resource[R], timeout: float) -> None:
        self._name, self._resource, self._timeout = name, resource, timeout
        self._jobs: _Queue = SimpleQueue()
        self._mailboxes = Mailboxes()
        self._lock = threading.Lock()  # event loops of several threads may share the store
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, work: Callable[[R, float], T], deadline: float | None = None) -> T:
        """The result of `work`, given the resource and the deadline, or what it raises."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.begin(work, partial(settle, future), deadline)
        return await future

    def begin(self, work: Callable[[R, float], Any], answered: Answered, deadline: float | None = None) -> None:
        """Queue a job; `answered` is called in the running event loop with its result or what it raises."""
        if deadline is None:
            deadline = time.monotonic() + self._timeout
        job = work, deadline, self._mailboxes.here(), answered
        with self._lock:
            if self._closed:
                raise StoreError("this store is closed")
            if self._thread is None:
                self._thread = self._start()
            self._jobs.put(job)

    async def aclose(self) -> None:
        """Finish the jobs, close the resource and end the thread; raises what closing raises."""
        with self._lock:
            thread = None if self._closed else self._thread
            self._closed = True
        if thread is not None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._jobs.put((None, 0, self._mailboxes.here(), partial(settle, future)))
            try:
                await future
            finally:
                thread.join()
                self._mailboxes.close()

    def _start(self) -> threading.Thread:
        # Daemon, and without a reference to self: a store that is forgotten or left open at exit holds up nobody.
        thread = threading.Thread(target=_serve, args=(self._jobs, self._resource), name=self._name, daemon=True)
        thread.start()
        weakref.finalize(self, self._jobs.put, None)
        return thread


def _serve(jobs: _Queue, resource: Resource[Any]) -> None:
    # What it owns is known to this frame alone: a forked process has no such frame and cannot close it.
    owned: Any = None
    while (job := jobs.get()) is not None and job[0] is not None:
        owned = _perform(job[0], job, owned, resource)
        del job
    error = None
    if owned is not None:
        try:
            resource.close(owned)
        except Exception as failure:  # noqa: BLE001 whatever it is, it belongs to who closes the store
            error = failure
    if job is not None:
        _answer(job, None, error)


def _perform(work: Callable[[Any, float], Any], job: _Job, owned: Any, resource: Resource[Any]) -> Any:
    """Do the job and answer; gives what the next one works on, None if that must open another."""
    result = error = None
    try:
        owned = resource.open(job[1]) if owned is None else owned
        result = work(owned, job[1])
    except BaseException as failure:  # noqa: BLE001 whatever it is, it is the caller's
        error = failure
    if owned is not None and resource.spoiled(owned):
        with suppress(Exception):
            resource.close(owned)
        owned = None
    # Last: the event loop, which this wakes, waits for the interpreter lock until this thread waits for a job.
    _answer(job, result, error)
    del error  # its traceback has this frame
    return owned


def _answer(job: _Job, result: object, error: BaseException | None) -> None:
    _, _, post, answered = job
    post(answered, result, error)


def settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    """Answer who awaits this future, unless it was cancelled."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
