"""What a session store is: the operations on bytes that each implements, and those on contexts that all share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

from swisper_ctx._core import PipelineExecution
from swisper_ctx.context import Position, SwisperContext
from swisper_ctx.errors import (
    ConflictError,
    CorruptSessionError,
    OutcomeUnknownError,
    SessionNotFoundError,
    StoreError,
)
from swisper_ctx.log import (
    Block,
    Change,
    Checkpoint,
    CommitResult,
    Etag,
    Frame,
    SessionPage,
    StoredBody,
    StoredSession,
    VersionInfo,
)
from swisper_ctx.stores.checkpointer import Checkpointer, marked
from swisper_ctx.stores.clock import Clock, Failpoint, no_failpoint, system_clock
from swisper_ctx.stores.committer import Committer
from swisper_ctx.stores.history import version_info
from swisper_ctx.stores.saving import TOO_OLD, ContextSave, RecordAppend, oversized

__all__ = ["Clock", "Failpoint", "SessionStore", "no_failpoint", "system_clock"]

C = TypeVar("C", bound=SwisperContext)
NEWEST = Etag(2**62, b"")
APPEND_ATTEMPTS = 20
LOST_ATTEMPTS = 3


class SessionStore(ABC):
    """Keeps the logs of sessions. A subclass implements the operations on bytes; what works on contexts is shared.

    `clock` gives the time; `failpoint` is called where a process may die.
    """

    def __init__(self, *, clock: Clock = system_clock, failpoint: Failpoint = no_failpoint) -> None:
        self._clock, self._failpoint = clock, failpoint

    @abstractmethod
    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        """The current etags of those sessions that exist."""

    @abstractmethod
    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        """One session in one snapshot: whole, or only the frames after an etag. None if it does not exist.

        With `tail` the blocks before the last so many records of each list have no body; a store may give more.
        """

    @abstractmethod
    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        """One session as it was at a version, in one snapshot. None if it does not exist.

        It has the newest head at or below that version, the blocks of that head and the frames up to the version;
        `etag` and `updated_at` are those of the version. Raises VersionUnavailableError if no such head is kept, or
        the version is yet to come.
        """

    @abstractmethod
    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        """Those blocks of a session that are still kept, in use or not, with their bodies; in any order."""

    @abstractmethod
    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        """The frames still kept with a version above `after`, oldest first."""

    @abstractmethod
    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        """Write a group of changes, at most one for each session; a result for each, in their order.

        Each is a compare-and-set of its own: refused when the session is not at `expected`, exists already (a
        create), or holds a frame with the same `change_id`. One that fails leaves the others committed.
        """

    @abstractmethod
    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        """Write a new head and its blocks; False if another head was written in the meantime."""

    @abstractmethod
    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        """Delete those sessions with everything they have; how many there were.

        With `expired`, only those that have expired by the store's clock at the moment of their deletion.
        """

    @abstractmethod
    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        """A page of the sessions, newest first: all, those of a user, those expired by the store's clock."""

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        """Every body that is kept of a session, in use or not, as it is stored; empty if there is no such session."""
        raise StoreError(f"{type(self).__name__} does not tell what it keeps")

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        """Put other bytes in the place of bodies that are still what they were; how many those were.

        Versions, etags and stamps stay: it is for bytes that mean the same, as under another key.
        """
        raise StoreError(f"{type(self).__name__} does not replace what it keeps")

    async def has_other_writers(self) -> bool:
        """Whether others have written since the last call, as far as the store can see them: work that is not urgent
        then takes its time.
        """
        return False

    @abstractmethod
    async def _close(self) -> None:
        """Let go of files, threads and connections."""

    async def aclose(self) -> None:
        """Finish what was begun and close the store; nothing else may be asked of it."""
        await self._committer.drain()
        await self._checkpointer.aclose()
        await self._close()

    # -- on contexts

    @cached_property
    def _committer(self) -> Committer:
        return Committer(self.commit, self._refused)

    @cached_property
    def _checkpointer(self) -> Checkpointer:
        return Checkpointer(self.checkpoint, self.read)

    @overload
    async def load_session(
        self, session_id: str, *, user_id: str | None = None, tail: int | None = None
    ) -> SwisperContext | None: ...
    @overload
    async def load_session(
        self, session_id: str, *, user_id: str | None = None, tail: int | None = None, context_class: type[C]
    ) -> C | None: ...
    async def load_session(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        tail: int | None = None,
        context_class: type[Any] = SwisperContext,
    ) -> Any:
        """The context of a session; None if there is none, or `user_id` is given and it is another user's.

        With `tail`, at least so many of the last records of each list are loaded; what needs an earlier one raises
        NotLoadedError until `await context.load_history()` has fetched them.

        Raises CorruptSessionError for bytes that are damaged or foreign.
        """
        stored = await self.read(session_id, tail=tail)
        if stored is None or user_id not in (None, stored.user_id):
            return None
        context = opened(stored, context_class)
        context._position.blocks = self.blocks
        self._checkpointer.consider(context._position, context._position.snapshot, stored.etag)
        return context

    async def history(self, session_id: str, *, user_id: str | None = None, after: int = 0) -> tuple[VersionInfo, ...]:
        """The versions above `after` that are still known, oldest first.

        Raises SessionNotFoundError, also if `user_id` is given and it is another user's, and CorruptSessionError.
        """
        stored = await self.read(session_id, after=Etag(after, b""))
        if stored is None or user_id not in (None, stored.user_id):
            raise SessionNotFoundError(f"no session {session_id}")
        return tuple(version_info(session_id, stored.epoch, frame) for frame in stored.frames)

    @overload
    async def at_version(self, session_id: str, version: int, *, user_id: str | None = None) -> SwisperContext: ...
    @overload
    async def at_version(
        self, session_id: str, version: int, *, user_id: str | None = None, context_class: type[C]
    ) -> C: ...
    async def at_version(
        self,
        session_id: str,
        version: int,
        *,
        user_id: str | None = None,
        context_class: type[Any] = SwisperContext,
    ) -> Any:
        """The context as it was at a version. Saving it is a ConflictError unless that is still the newest one.

        Versions are kept for 128 more and 10 minutes after a checkpoint has folded them, or for ever by a store that
        was made with `keep_versions`. Raises SessionNotFoundError, also if `user_id` is given and it is another
        user's, VersionUnavailableError, and CorruptSessionError.
        """
        now = await self.read(session_id, after=NEWEST)
        is_visible = now is not None and user_id in (None, now.user_id)
        stored = await self.read_version(session_id, version) if is_visible else None
        if stored is None or user_id not in (None, stored.user_id):
            raise SessionNotFoundError(f"no session {session_id}")
        return opened(stored, context_class)

    async def save_session(self, context: SwisperContext, *, change_id: str | None = None) -> None:
        """Write what changed; nothing if nothing did. A context that was never saved becomes a new session.

        When this returns, the change is durable. What changes while it runs belongs to the next save; when it raises,
        the edits are still in the context, and the next save tries them again. A caller that is cancelled does not
        cancel the write. It returns later where the checkpoints of this session have fallen far behind. Raises
        ConflictError, StoreUnavailableError or OutcomeUnknownError, and EncodeError for a value that JSON cannot hold.
        """
        position = context._position
        if change_id is not None:
            oversized(change_id=change_id)
        if position.etag is None:
            oversized(session_id=position.session_id)
        if position.limbo is not None:
            self._committer.submit(position.limbo.again())
        before = position.snapshot
        delta = context._freeze()
        if delta is not None:
            self._committer.submit(ContextSave(context, delta, before, change_id, self._clock, self._checkpointer))
        if position.saves:
            await position.saves[-1].future
            if self._checkpointer.jobs:
                await self._checkpointer.relieve(position)

    async def save_record(self, context: SwisperContext, field: str, record: PipelineExecution) -> None:
        """Append one record to a list of a context and write that alone; other edits stay for the next save."""
        position = context._position
        if position.limbo is not None:
            self._committer.submit(position.limbo.again())
        getattr(context, field)
        before = position.snapshot
        delta = before.append(field, record)
        delta.adopt(context.__dict__)
        position.snapshot = delta.snapshot
        save = ContextSave(context, delta, before, None, self._clock, self._checkpointer)
        self._committer.submit(save)
        await save.future

    async def append_record(self, session_id: str, field: str, record: PipelineExecution) -> None:
        """Append one record to a list of a session without loading it.

        When the answer is lost it is tried again as the same change, so that it is written once. Raises
        SessionNotFoundError, ConflictError, and OutcomeUnknownError if the answers stay away.
        """
        for attempt in range(APPEND_ATTEMPTS):
            stored = await self.read(session_id, after=NEWEST)
            if stored is None:
                raise SessionNotFoundError(f"no session {session_id}")
            try:
                return await self._append(RecordAppend(stored, field, record, self._clock))
            except ConflictError:
                if attempt == APPEND_ATTEMPTS - 1:
                    raise
        return None

    async def _append(self, append: RecordAppend) -> None:
        for _ in range(LOST_ATTEMPTS):
            self._committer.submit(append)
            try:
                return await append.future
            except OutcomeUnknownError:
                append.again()
        self._committer.submit(append)
        return await append.future

    async def delete_session(self, session_id: str) -> bool:
        """Delete a session with everything it has; whether there was one."""
        return await self.delete([session_id]) > 0

    async def _refused(self, change: Change) -> int:
        """Find out what became of a change that was refused: the time if it is in the log, else ConflictError."""
        stored = await self.read(change.session_id, after=change.expected or Etag(0, b""))
        if stored is None:
            raise ConflictError("the session is gone", expected=change.expected)
        for frame in stored.frames:
            if frame.token == change.etag.token:
                return frame.time
        if change.expected is None:
            reason = "the session exists already"
        elif stored.frames and stored.frames[0].version > change.expected.version + 1:
            reason = TOO_OLD
        elif change.change_id is not None and await self._holds(change.session_id, change.change_id):
            reason = "the log holds this change_id already"
        else:
            reason = "somebody else saved first"
        raise ConflictError(reason, expected=change.expected, actual=stored.etag)

    async def _holds(self, session_id: str, change_id: str) -> bool:
        return any(frame.change_id == change_id for frame in await self.frames(session_id))


def opened(stored: StoredSession, context_class: type[C]) -> C:
    """The context that a whole read stands for. Raises CorruptSessionError."""
    head = stored.head
    try:
        snapshot = context_class._unopened.open(
            stored.session_id,
            stored.user_id,
            stored.epoch,
            stored.created_at,
            stored.etag,
            (head.base, head.body) if head else (0, b""),
            stored.blocks,
            [(frame.version, frame.body or b"") for frame in stored.frames],
        )
    except (TypeError, ValueError, OverflowError) as error:
        # A row with a value of another type or size than was written.
        raise CorruptSessionError("a value of the wrong kind is stored", session_id=stored.session_id) from error
    position = Position(stored.session_id, stored.user_id, snapshot)
    position.etag, position.epoch, position.version = stored.etag, stored.epoch, stored.etag.version
    position.created_at, position.updated_at = stored.created_at, stored.updated_at
    position.mark = marked(stored)
    return context_class._at(position)
