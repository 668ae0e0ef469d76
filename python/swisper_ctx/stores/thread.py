"""A thread that owns a connection."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from swisper_ctx.errors import StoreError

T = TypeVar("T")
Connect = Callable[[float], sqlite3.Connection]
Work = Callable[[sqlite3.Connection, float], T]
"""Given the connection and the deadline, as time.monotonic counts."""


class _Job(NamedTuple):
    work: Work[Any]
    deadline: float
    future: asyncio.Future[Any]


class _Stop(NamedTuple):
    future: asyncio.Future[None]


_Queue = SimpleQueue[_Job | _Stop | None]


class ConnectionThread:
    """Does one job after the other on a connection of its own, and answers in the event loop that asked.

    The thread begins with the first job and opens its connection then; a job that could not get one fails, and the
    next one tries again. What has been begun is finished, also when its caller is cancelled.
    """

    def __init__(self, name: str, connect: Connect, timeout: float) -> None:
        self._name, self._connect, self._timeout = name, connect, timeout
        self._jobs: _Queue = SimpleQueue()
        self._lock = threading.Lock()  # event loops of several threads may share the store
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, work: Work[T]) -> T:
        """The result of `work`, or what it raises."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise StoreError("this SQLite store is closed")
            if self._thread is None:
                self._thread = self._start()
            self._jobs.put(_Job(work, time.monotonic() + self._timeout, future))
        return await future

    async def aclose(self) -> None:
        """Finish the jobs, close the connection and end the thread."""
        with self._lock:
            thread = None if self._closed else self._thread
            self._closed = True
        if thread is not None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._jobs.put(_Stop(future))
            await future
            thread.join()

    def _start(self) -> threading.Thread:
        # Daemon, and without a reference to self: a store that is forgotten or left open at exit holds up nobody.
        thread = threading.Thread(target=_serve, args=(self._jobs, self._connect), name=self._name, daemon=True)
        thread.start()
        weakref.finalize(self, self._jobs.put, None)
        return thread


def _serve(jobs: _Queue, connect: Connect) -> None:
    # The connection is known to this frame alone: a forked process has no such frame and cannot close it.
    connection: sqlite3.Connection | None = None
    while isinstance(job := jobs.get(), _Job):
        connection = _perform(job, connection, connect)
        del job
    if connection is not None:
        with suppress(sqlite3.Error):
            connection.close()
    if job is not None:
        _answer(job.future, None, None)


def _perform(job: _Job, connection: sqlite3.Connection | None, connect: Connect) -> sqlite3.Connection | None:
    """Do the job and answer; gives the connection for the next one, None if that must open another."""
    try:
        connection = connection or connect(job.deadline)
        result = job.work(connection, job.deadline)
    except BaseException as error:  # noqa: BLE001 whatever it is, it is the caller's
        _answer(job.future, None, error)
    else:
        _answer(job.future, result, None)
    if connection is not None and connection.in_transaction:
        connection.close()
        return None
    return connection


def _answer(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    with suppress(RuntimeError):  # the loop that asked has been closed meanwhile
        future.get_loop().call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
