"""The store itself: each operation is a job for the thread that writes or for the one that reads."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from swisper_ctx.errors import StoreError
from swisper_ctx.log import (
    Block,
    Change,
    Checkpoint,
    CommitResult,
    Etag,
    Frame,
    Remains,
    Restoration,
    SessionPage,
    StoredBody,
    StoredSession,
    check_limit,
)
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.clock import Clock, Failpoint, no_failpoint, system_clock
from swisper_ctx.stores.committer import Answered
from swisper_ctx.stores.sqlite import read
from swisper_ctx.stores.sqlite.bodies import data_version, read_bodies, replace_bodies
from swisper_ctx.stores.sqlite.checkpoint import delete_sessions, write_checkpoint
from swisper_ctx.stores.sqlite.commit import commit_group, failures, group_deadline
from swisper_ctx.stores.sqlite.connection import Writer, connect, connect_reader, until
from swisper_ctx.stores.sqlite.errors import CommitFailedError, mapped_errors
from swisper_ctx.stores.sqlite.restore import read_remains, restore_session
from swisper_ctx.stores.sqlite.wal import Cutter
from swisper_ctx.stores.thread import OwnerThread, Resource, settle

T = TypeVar("T")


class SQLiteSessionStore(SessionStore):
    """Sessions in one SQLite file (WAL, `synchronous=FULL`): what `commit` has answered survives a power cut.

    The file is created with its tables by the first operation. Several processes may share it, each with a store of
    its own. `timeout` is how long, in seconds, an operation waits while other processes hold the file locked, before
    it raises StoreUnavailableError; a save that had to wait for others is a tenth late at most, and a checkpoint waits
    a tenth of it. With `keep_versions` the checkpoints of this store purge no version.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float = 5.0,
        keep_versions: bool = False,
        clock: Clock = system_clock,
        failpoint: Failpoint = no_failpoint,
    ) -> None:
        super().__init__(clock=clock, failpoint=failpoint)
        name = os.fspath(path)
        if name in {"", ":memory:"}:
            raise StoreError("the SQLite store needs a file, which both of its connections open")
        self._process: int | None = None
        self._keep_versions, self._timeout = keep_versions, timeout
        self._data_version: int | None = None
        file = str(Path(name).absolute())
        self._writer = OwnerThread("swisper-sqlite-writer", _resource(partial(connect, file)), timeout)
        self._cutter = Cutter(self._writer)
        self._reader = OwnerThread("swisper-sqlite-reader", _resource(partial(connect_reader, file)), timeout)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> SQLiteSessionStore:
        """The store of `sqlite:///relative.db` or `sqlite:////absolute.db`; `%` begins an escape, as in any URL."""
        host, _, path = url.partition("://")[2].partition("/")
        if host or not path or "?" in path or "#" in path:
            raise StoreError("an SQLite URL is sqlite:///relative.db or sqlite:////absolute.db, with nothing after it")
        return cls(unquote(path), **options)

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        return await self._read(partial(read.read_etags, now=self._clock(), session_ids=session_ids))

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        return await self._read(
            partial(read.read_session, now=self._clock(), session_id=session_id, after=after, tail=tail), session_id
        )

    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        return await self._read(
            partial(read.read_version, now=self._clock(), session_id=session_id, version=version), session_id
        )

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        return await self._read(
            partial(read.read_blocks, now=self._clock(), session_id=session_id, block_ids=block_ids), session_id
        )

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        return await self._read(
            partial(read.read_frames, now=self._clock(), session_id=session_id, after=after, limit=limit), session_id
        )

    async def holds(self, session_id: str, change_id: str) -> bool:
        return await self._read(
            partial(read.holds, now=self._clock(), session_id=session_id, change_id=change_id), session_id
        )

    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        check_limit(limit)
        expired_at = self._clock() if expired else None
        return await self._read(
            partial(read.list_sessions, user_id=user_id, expired_at=expired_at, cursor=cursor, limit=limit)
        )

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        if not changes:
            return []
        future: asyncio.Future[list[CommitResult]] = asyncio.get_running_loop().create_future()
        self.begin_commit(changes, partial(settle, future))
        return await future

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        self._check_process()
        clock, failpoint, timeout = self._clock, self._failpoint, self._timeout
        until = group_deadline(changes, timeout)
        self._writer.begin(
            lambda connection, deadline: commit_group(Writer(connection, deadline, clock, failpoint), changes, timeout),
            partial(_committed, changes, math.inf if until is None else until, timeout, answered),
            until,
        )

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        with mapped_errors(checkpoint.session_id):
            return await self._write(
                partial(write_checkpoint, checkpoint=checkpoint, keep_versions=self._keep_versions),
                # Turns wait behind it, and it is tried again.
                time.monotonic() + self._timeout / 10,
            )

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        """Delete those sessions, or those of them that have expired by now; how many there were.

        Their content is overwritten in the file, and in the WAL as soon as nobody reads there.
        """
        self._check_process()
        clock, failpoint = self._clock, self._failpoint
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._writer.begin(
            lambda connection, deadline: delete_sessions(
                Writer(connection, deadline, clock, failpoint), session_ids, expired
            ),
            partial(_deleted, self._cutter, future),
        )
        with mapped_errors():
            return await future

    async def remains(self, session_id: str) -> Remains | None:
        return await self._read(partial(read_remains, now=self._clock(), session_id=session_id), session_id)

    async def restore(self, restoration: Restoration) -> bool:
        with mapped_errors(restoration.session_id):
            return await self._write(partial(restore_session, restoration=restoration))

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        return await self._read(partial(read_bodies, session_id=session_id), session_id)

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        """As every store; what was replaced goes from the WAL when this store is closed."""
        with mapped_errors(session_id):
            replaced = await self._write(partial(replace_bodies, session_id=session_id, bodies=bodies))
        self._cutter.is_due = True
        return replaced

    async def has_other_writers(self) -> bool:
        with mapped_errors():
            now = await self._write(lambda writer: data_version(writer.connection))
        before, self._data_version = self._data_version, now
        return before not in (None, now)

    async def _close(self) -> None:
        if self._process in {None, os.getpid()}:
            await self._cutter.finish()
            await self._reader.aclose()
            await self._writer.aclose()

    async def _read(self, work: Callable[[sqlite3.Connection], T], session_id: str | None = None) -> T:
        self._check_process()
        with mapped_errors(session_id):
            return await self._reader.run(lambda connection, deadline: until(deadline, partial(work, connection)))

    async def _write(self, work: Callable[[Writer], T], until: float | None = None) -> T:
        self._check_process()
        clock, failpoint = self._clock, self._failpoint
        return await self._writer.run(
            lambda connection, deadline: work(Writer(connection, deadline, clock, failpoint)), until
        )

    def _check_process(self) -> None:
        if self._process is None:
            self._process = os.getpid()
        elif self._process != os.getpid():
            raise StoreError("this SQLite store was in use before fork(): open one of its own in each process")


def _committed(
    changes: Sequence[Change],
    deadline: float,
    timeout: float,
    answered: Answered,
    results: list[CommitResult] | None,
    error: BaseException | None,
) -> None:
    if isinstance(error, sqlite3.Error | CommitFailedError):  # there is no connection
        answered(failures(error, changes, deadline, timeout), None)
    else:
        answered(results, error)


def _deleted(
    cutter: Cutter, future: asyncio.Future[int], result: tuple[int, bool] | None, error: BaseException | None
) -> None:
    # Also where the caller was cancelled: what it began is finished.
    deleted, is_cut = (0, True) if result is None else result
    if deleted:
        cutter.attempted(is_cut)
    settle(future, deleted, error)


def _resource(connecting: Callable[[float], sqlite3.Connection]) -> Resource[sqlite3.Connection]:
    return Resource(connecting, _close, lambda connection: connection.in_transaction)


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.close()
