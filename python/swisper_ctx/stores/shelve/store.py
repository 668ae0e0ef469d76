"""The store itself: each operation is a job for the one thread that has the file open."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
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
from swisper_ctx.stores.shelve import read
from swisper_ctx.stores.shelve.bodies import read_bodies, replace_bodies
from swisper_ctx.stores.shelve.checkpoint import delete_sessions, write_checkpoint
from swisper_ctx.stores.shelve.file import SessionFile, open_file, reading
from swisper_ctx.stores.shelve.restore import read_remains, restore_session
from swisper_ctx.stores.shelve.turns import commit_group
from swisper_ctx.stores.thread import OwnerThread, Resource

T = TypeVar("T")


class ShelveSessionStore(SessionStore):
    """Sessions in a file of the standard library's shelve, for one process that has it alone.

    Not crash-safe: the dbm modules promise nothing to a process that is killed, let alone to a power cut, and what
    was deleted may stand in the file until something is written over it. SQLiteSessionStore promises both.

    The first operation locks `path`.lock, and opens or creates the file; a second store there raises StoreError.
    Opening reads one small row for each session, which stays in memory, and deleting looks at all keys. Nothing in
    the file is ever unpickled. With `keep_versions` no version is ever purged.
    """

    crash_safe: ClassVar[bool] = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep_versions: bool = False,
        clock: Clock = system_clock,
        failpoint: Failpoint = no_failpoint,
    ) -> None:
        super().__init__(clock=clock, failpoint=failpoint)
        self._keep_versions = keep_versions
        name = os.fspath(path)
        if not name:
            raise StoreError("the shelve store needs the path of its file")
        self._process: int | None = None
        resource = Resource(partial(open_file, str(Path(name).absolute())), SessionFile.close, _is_spoiled)
        self._thread = OwnerThread("swisper-shelve", resource, 0)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> ShelveSessionStore:
        """The store of `shelve:///relative` or `shelve:////absolute`; `%` begins an escape, as in any URL."""
        host, _, path = url.partition("://")[2].partition("/")
        if host or not path or "?" in path or "#" in path:
            raise StoreError("a shelve URL is shelve:///relative or shelve:////absolute, with nothing after it")
        return cls(unquote(path), **options)

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        return await self._read(partial(read.read_etags, now=self._clock(), session_ids=session_ids))

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        return await self._read(
            partial(read.read_session, now=self._clock(), session_id=session_id, after=after, tail=tail)
        )

    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        return await self._read(partial(read.read_version, now=self._clock(), session_id=session_id, version=version))

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        return await self._read(
            partial(read.read_blocks, now=self._clock(), session_id=session_id, block_ids=block_ids)
        )

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        return await self._read(
            partial(read.read_frames, now=self._clock(), session_id=session_id, after=after, limit=limit)
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
        return await self._run(lambda file: commit_group(file, changes, self._clock(), self._failpoint))

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        return await self._run(
            lambda file: write_checkpoint(file, checkpoint, self._keep_versions, self._clock(), self._failpoint)
        )

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        return await self._run(
            lambda file: delete_sessions(file, session_ids, self._clock() if expired else None, self._failpoint)
        )

    async def remains(self, session_id: str) -> Remains | None:
        return await self._read(partial(read_remains, now=self._clock(), session_id=session_id))

    async def restore(self, restoration: Restoration) -> bool:
        return await self._run(lambda file: restore_session(file, restoration, self._clock(), self._failpoint))

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        return await self._read(partial(read_bodies, session_id=session_id))

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        return await self._run(lambda file: replace_bodies(file, session_id, bodies, self._failpoint))

    async def _close(self) -> None:
        if self._process in {None, os.getpid()}:
            await self._thread.aclose()

    async def _read(self, work: Callable[[SessionFile], T]) -> T:
        return await self._run(partial(reading, work=work))

    async def _run(self, work: Callable[[SessionFile], T]) -> T:
        if self._process is None:
            self._process = os.getpid()
        elif self._process != os.getpid():
            raise StoreError("this shelve store was in use before fork(): a shelf belongs to one process")
        return await self._thread.run(lambda file, _: work(file))


def _is_spoiled(file: SessionFile) -> bool:
    return file.spoiled
