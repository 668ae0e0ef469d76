"""What a session store is: the operations on bytes that each implements, and those on contexts that all share."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar, overload

from swisper_ctx._core import LRUCache, PipelineExecution, Snapshot
from swisper_ctx.context import ContextBase, Position, SwisperContext
from swisper_ctx.errors import CorruptSessionError, StoreError
from swisper_ctx.events import OnEvent, emit
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
    VersionInfo,
)
from swisper_ctx.stores import appending, cleaning, forking, history, recovery, refreshing, telling, updating
from swisper_ctx.stores.appending import Known
from swisper_ctx.stores.checkpointer import Checkpointer
from swisper_ctx.stores.clock import Clock, Failpoint, no_failpoint, system_clock
from swisper_ctx.stores.committer import Answered, Committer, answer
from swisper_ctx.stores.conflicts import resolve
from swisper_ctx.stores.creating import check_create
from swisper_ctx.stores.loaded import Loaded, load
from swisper_ctx.stores.recovery import RecoveryReport, quarantine_ids
from swisper_ctx.stores.saving import ContextSave, check_names

__all__ = ["Clock", "Failpoint", "SessionStore", "no_failpoint", "system_clock"]

C = TypeVar("C", bound=SwisperContext)


class SessionStore(ABC):
    """Keeps the logs of sessions. A subclass implements the operations on bytes; what works on contexts is shared.

    `clock` gives the time; `failpoint` is called where a process may die; `on_event` is told what happens, see
    `swisper_ctx.events`.
    """

    on_event: OnEvent | None = None
    _next: SessionStore | None = None
    """The store that this one stands before."""
    groups_in_flight = 1
    """So many groups of changes are given to `begin_commit` at once, each with sessions of its own.

    Where they are several, one more that is a single large change.
    """
    _is_clear = False
    """Known not to hold sealed sessions, as `_look` finds out."""
    _look: asyncio.Task[None] | None = None
    shows_copies = False
    """Whether changes and checkpoints come with their `projection`."""

    opens_sealed: bool = False
    """Whether it gives in clear what is stored encrypted."""

    def __init__(self, *, clock: Clock = system_clock, failpoint: Failpoint = no_failpoint) -> None:
        self._clock, self._failpoint = clock, failpoint
        self._set_up()

    def _set_up(self) -> None:
        # There from the beginning: every save looks them up, which for a cached property goes the slow way.
        begin, refused = partial(telling.begin_commit, self), partial(resolve, self)
        self._committer = Committer(begin, refused, in_flight=self.groups_in_flight)
        write = partial(telling.checkpoint, self)
        self._checkpointer = Checkpointer(write, self.read, shows_copies=self.shows_copies)
        self._appended: LRUCache[str, Known] = LRUCache(max_entries=1024)
        """What is known of sessions that records were appended to."""

    def _stand_before(self, store: SessionStore) -> None:
        """Be as the store is that this one hands everything on to."""
        self._next = store
        self.groups_in_flight, self.shows_copies = store.groups_in_flight, store.shows_copies
        self.opens_sealed = self.opens_sealed or store.opens_sealed
        self._set_up()

    @abstractmethod
    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        """The current etags of those sessions that exist."""

    @abstractmethod
    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        """One session in one snapshot: whole, or only the frames after an etag. None if it does not exist.

        To this and every other operation but `delete` and `sessions`, one that has expired does not exist: by the
        store's clock, and at the moment of the operation.

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

    async def holds(self, session_id: str, change_id: str) -> bool:
        """Whether one of the frames still kept has this `change_id`. A store that has an index of them asks that."""
        return any(frame.change_id == change_id for frame in await self.frames(session_id))

    @abstractmethod
    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        """Write a group of changes, at most one for each session; a result for each, in their order.

        Each is a compare-and-set of its own: refused when the session is not at `expected`, exists already (a
        create), or holds a frame with the same `change_id`. One that fails leaves the others committed. A create
        takes the place of a session that has expired, and of what is in quarantine of it.
        """

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        """Start `commit`; `answered` is called in the running event loop with its results, or with what it raised.

        A store whose answer arrives in a callback anyway overrides this: a task of its own for each group is what
        a lone turn would wait for.
        """
        task = asyncio.get_running_loop().create_task(self.commit(changes))
        task.add_done_callback(partial(answer, answered))

    @abstractmethod
    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        """Write a new head and its blocks; False if another head was written in the meantime."""

    @abstractmethod
    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        """Delete those sessions with everything they have; how many there were.

        With `expired`, only those that have expired by the store's clock at the moment of their deletion, each with
        what recoveries have set aside of it (`quarantine_ids`), whenever that expires itself.
        """

    @abstractmethod
    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        """A page of the sessions, newest first: all, or a user's; those expired by the store's clock, in any order."""

    async def remains(self, session_id: str) -> Remains | None:
        """All that is kept of a session, sound or not; what cannot be read is told and stops nothing."""
        raise StoreError(f"{type(self).__name__} recovers no sessions")

    async def restore(self, restoration: Restoration) -> bool:
        """Put what there is of a session under its quarantine id, and write it anew; all of it or nothing.

        False if the session is not at `expected`, or something is kept under the quarantine id already.
        """
        raise StoreError(f"{type(self).__name__} recovers no sessions")

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
        """Finish what was begun and close the store; whoever goes on saving meanwhile is told so by StoreError."""
        await self._committer.close()
        await self._checkpointer.aclose()
        await self._close()

    # -- on contexts

    @overload
    async def load_session(
        self, session_id: str, *, user_id: str | None = None, tail: int | None = None, strict: bool = False
    ) -> SwisperContext | None: ...
    @overload
    async def load_session(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        tail: int | None = None,
        strict: bool = False,
        context_class: type[C],
    ) -> C | None: ...
    async def load_session(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        tail: int | None = None,
        strict: bool = False,
        context_class: type[Any] = SwisperContext,
    ) -> Any:
        """The context of a session; None if there is none, or `user_id` is given and it is another user's.

        With `tail`, at least so many of the last records of each list are loaded, all where an earlier one was edited
        since the last checkpoint; what needs one that is not raises NotLoadedError until
        `await context.load_history()` has fetched them. With `strict`, a cache asks the truth first, however short ago
        it did.

        Raises CorruptSessionError for bytes that are damaged or foreign; what is wrong with blocks of lists of records
        is raised when they are touched.
        """
        loaded = await self._loaded(session_id, context_class._unopened, tail, strict)
        if loaded is None or user_id not in (None, loaded.user_id):
            return None
        context = loaded.context(context_class)
        if tail is not None and loaded.snapshot.is_partial:
            context._position.blocks = self.blocks
        if loaded.mark is not None:
            self._checkpointer.consider(context._position, loaded.snapshot, loaded.etag)
        if self.on_event is not None:
            emit(self.on_event, "session_loaded", session_id=session_id, version=loaded.etag.version)
        return context

    async def _loaded(self, session_id: str, declared: Snapshot, tail: int | None, strict: bool) -> Loaded | None:
        """The newest version of a session, its fields as `declared` has them. Caches have it from elsewhere."""
        try:
            return await load(self.read, session_id, declared, tail)
        except CorruptSessionError:
            if not await self._doubted(session_id):
                raise
        return await load(self.read, session_id, declared, tail)

    _committed: Callable[[ContextBase, Position, Snapshot], None] | None = None
    """Told when a save of a context was acknowledged, and what it saved: by caches."""

    async def history(self, session_id: str, *, user_id: str | None = None, after: int = 0) -> tuple[VersionInfo, ...]:
        """The versions above `after` that are still known, oldest first.

        Raises SessionNotFoundError, also if `user_id` is given and it is another user's, CorruptSessionError, and
        TypeError for an `after` that is no int.
        """
        return await history.history(self, session_id, user_id, after)

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
        user's, VersionUnavailableError, CorruptSessionError, and TypeError for a version that is no int.
        """
        return await history.at_version(self, session_id, version, user_id, context_class)

    async def save_session(
        self, context: SwisperContext, *, change_id: str | None = None, ttl: int | None = None
    ) -> None:
        """Write what changed; nothing if nothing did. A context that was never saved becomes a new session.

        When this returns, the change is durable. What changes while it runs belongs to the next save; when it raises,
        the edits are still in the context, and the next save tries them again. A caller that is cancelled does not
        cancel the write. It returns later where the checkpoints of this session have fallen far behind.

        Where somebody else has saved first, both are merged if they changed different things or appended to the same
        list, and the context then shows both, in the lists and dicts that it has; else this raises ConflictError.
        Messages merge only between groups of tool calls, consent and retention with nothing.

        A change that the caller names by `change_id` is written once: where the log holds this id, within 24 hours of
        the first time, nothing is written, and the context shows what is stored instead of its edits. `ttl` is how many
        microseconds the session is kept from now on, where its `data_retention_policy` leaves that open; without it
        such a session expires when it did before.

        Raises StoreUnavailableError, OutcomeUnknownError, EncodeError for what is no JSON, StoreError for a wrong id.
        """
        committer, position = self._committer, context._position
        if asyncio.get_running_loop() is not committer.open_in:
            committer.enter()
        if change_id is not None:
            check_names(change_id=change_id)
        if position.etag is None:
            await check_create(self, position.session_id, position.user_id)
        # Kept here: one that fails at once is in `saves` no more.
        last: ContextSave | None = position.saves[-1] if position.saves else None
        if position.limbo is not None:
            last = position.limbo.again()
            committer.submit(last)
            # Edits made since are not part of the change that bears this name.
            change_id = None if last.change_id == change_id else change_id
        before = position.snapshot
        delta = context._freeze()
        if delta is not None:
            last = ContextSave(self, context, delta, before, change_id, ttl)
            position.saves.append(last)
            committer.submit(last)
            await last
        elif last is not None:
            await last.settled()
            if last.error is not None:
                raise last.error
        if self._appended:
            appending.note_saved(self, context)
        if last is not None and self._checkpointer.jobs:
            await self._checkpointer.relieve(position)

    async def refresh(self, context: SwisperContext) -> None:
        """Bring in what others have saved since, under what this context has not saved yet.

        Lists and dicts of the context are the same objects with new content. A save on its way is waited for, one
        whose outcome is unknown is tried again. Raises ConflictError where an unsaved edit is at odds with theirs,
        and then the context is as before; SessionNotFoundError, EncodeError, and OutcomeUnknownError.
        """
        await refreshing.refresh(self, context)

    @overload
    async def update(
        self,
        session_id: str,
        change: Callable[[SwisperContext], object],
        attempts: int = 5,
        *,
        user_id: str | None = None,
        change_id: str | None = None,
        ttl: int | None = None,
    ) -> SwisperContext: ...
    @overload
    async def update(
        self,
        session_id: str,
        change: Callable[[C], object],
        attempts: int = 5,
        *,
        user_id: str | None = None,
        change_id: str | None = None,
        ttl: int | None = None,
        context_class: type[C],
    ) -> C: ...
    async def update(
        self,
        session_id: str,
        change: Callable[[Any], object],
        attempts: int = 5,
        *,
        user_id: str | None = None,
        change_id: str | None = None,
        ttl: int | None = None,
        context_class: type[Any] = SwisperContext,
    ) -> Any:
        """Load a session, apply `change(context)`, which may be async, and save it; the context.

        After a ConflictError the session is loaded and the change applied anew, at most `attempts` times altogether,
        with random pauses of up to 5 ms, then 10, 20 and so on between them. With a `change_id` that the log holds
        already the change is not applied. `ttl` is as for `save_session`, and a lost answer is asked for again. Raises
        SessionNotFoundError, what `change` raises, the last ConflictError, and what `save_session` raises.
        """
        options: dict[str, Any] = {"user_id": user_id, "context_class": context_class}
        return await updating.update(self, session_id, change, attempts, change_id, ttl, options)

    async def save_record(
        self, context: SwisperContext, field: str, record: PipelineExecution, *, ttl: int | None = None
    ) -> None:
        """Append one record to a list of a context and write that alone; other edits stay for the next save.

        A context that was never saved becomes a new session with all that it has, as `save_session` makes it.
        """
        await appending.save_record(self, context, field, record, ttl)

    async def append_record(
        self,
        session_id: str,
        field: str,
        record: PipelineExecution,
        *,
        ttl: int | None = None,
        context_class: type[SwisperContext] = SwisperContext,
    ) -> None:
        """Append one record to a list of a session that is not loaded; `ttl` is as for `save_session`.

        When the answer is lost it is tried again as the same change, so that it is written once. Raises StoreError if
        `context_class` declares no such list, TypeError for a record of another class, SessionNotFoundError,
        CorruptSessionError, ConflictError, and OutcomeUnknownError if the answers stay away.
        """
        await appending.append_record(self, session_id, field, record, ttl, context_class)

    @overload
    async def fork(
        self,
        session_id: str,
        *,
        version: int | None = None,
        new_session_id: str | None = None,
        user_id: str | None = None,
        ttl: int | None = None,
    ) -> SwisperContext: ...
    @overload
    async def fork(
        self,
        session_id: str,
        *,
        version: int | None = None,
        new_session_id: str | None = None,
        user_id: str | None = None,
        ttl: int | None = None,
        context_class: type[C],
    ) -> C: ...
    async def fork(
        self,
        session_id: str,
        *,
        version: int | None = None,
        new_session_id: str | None = None,
        user_id: str | None = None,
        ttl: int | None = None,
        context_class: type[Any] = SwisperContext,
    ) -> Any:
        """A new session of the same user with the content that a session has, or had at a version; its context.

        Nothing is shared: ids and blocks are new, its history begins with it, and its retention counts from now. In
        the field `forked_from` it says where it comes from. If the session is deleted meanwhile, or this is cancelled,
        there is no fork either. Raises SessionNotFoundError, also if `user_id` is given and it is another
        user's, VersionUnavailableError, CorruptSessionError, and ConflictError if there is a session of the new id.
        """
        return await forking.fork(self, session_id, version, new_session_id, user_id, ttl, context_class)

    async def recover(self, session_id: str, dry_run: bool = False, *, force: bool = False) -> RecoveryReport:
        """Let a damaged session go on from its last good state; nothing if all of it is sound, or with `dry_run`.

        All that was there is kept under the quarantine id that the report names, at most as long as the session; given
        that id, the session goes on from what is kept. Contexts loaded before cannot be saved any more.

        Raises SessionNotFoundError; DecryptionError where keys are missing rather than bytes damaged; ConflictError if
        it was saved meanwhile; CorruptSessionError and StoreError where it cannot be done. `force` goes on where
        several bodies cannot be opened, or no sealed head.
        """
        return await recovery.recover(self, session_id, dry_run, force)

    async def delete_session(self, session_id: str) -> bool:
        """Delete a session with everything it has, also in quarantine; whether there was one."""
        deleted = await self.delete([session_id, *quarantine_ids(session_id)]) > 0
        await self._deleted([session_id])
        if deleted:
            emit(self.on_event, "session_deleted", session_id=session_id)
        return deleted

    async def cleanup_expired_sessions(self) -> int:
        """Delete the sessions that have expired by the store's clock; how many this call has deleted.

        In batches, between which others write. Whether a session has expired is asked again by the statement that
        deletes it: one that was saved meanwhile stays. Several processes may do this at the same time.
        """
        return await cleaning.cleanup(self)

    async def _doubted(self, session_id: str) -> bool:
        """Called when what was read of a session cannot be opened; whether reading it again may give something else.

        A cache that gives bytes from elsewhere than the truth forgets them.
        """
        return False

    async def _deleted(self, session_ids: Collection[str]) -> None:  # noqa: B027 - only caches have something to do
        """Called after these sessions were asked to be deleted: a cache forgets what it holds of them."""
