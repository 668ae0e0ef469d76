"""The two kinds of writes: what changed in a context, and one record for a session that nobody has loaded."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from swisper_ctx._core import Delta, PipelineExecution, Snapshot, append_frame, token
from swisper_ctx.context import ContextBase, FoldMark, Position, SwisperContext
from swisper_ctx.errors import ConflictError, OutcomeUnknownError, StoreError
from swisper_ctx.log import NEVER, Change, Etag, Head, Projection, StoredSession
from swisper_ctx.retention import POLICY, moved_expiry
from swisper_ctx.stores.checkpointer import Checkpointer
from swisper_ctx.stores.clock import Clock
from swisper_ctx.stores.projection import execution_copy, projected

NO_TOKEN = bytes(16)
NEWEST = Etag(2**62, b"")
"""To read what a session is, without its blocks and frames."""

TOO_OLD, GONE = "too_old", "gone"
"""The reasons of a conflict when the frames that would tell what was written are no longer kept."""


class Saver(Protocol):
    """The store that a save goes to, as far as the save asks it."""

    _clock: Clock
    shows_copies: bool

    @property
    def _checkpointer(self) -> Checkpointer: ...

    def _committed(self, context: ContextBase, position: Position, snapshot: Snapshot) -> None: ...


class ContextSave:
    """What one `save` of a context hands over, frozen before the first await."""

    __slots__ = (
        "before",
        "change_id",
        "context",
        "delta",
        "done",
        "error",
        "etag",
        "expires_at",
        "future",
        "lost",
        "session_id",
        "size",
        "snapshot",
        "store",
        "token",
        "ttl",
    )

    def __init__(
        self,
        store: Saver,
        loop: asyncio.AbstractEventLoop,
        context: SwisperContext,
        delta: Delta,
        before: Snapshot,
        change_id: str | None,
        ttl: int | None = None,
    ) -> None:
        """`ttl` is how long a session is kept whose own policy leaves that open, in microseconds."""
        position = context._position
        self.store, self.context, self.delta, self.change_id, self.ttl = store, context, delta, change_id, ttl
        self.before, self.snapshot = before, position.snapshot
        self.session_id, self.token, self.done, self.lost = position.session_id, token(), False, False
        self.expires_at: int | None = None
        self.error: Exception | None = None
        self.future: asyncio.Future[None] = loop.create_future()
        """For its caller alone, whose cancellation cancels it."""
        position.saves.append(self)

    def change(self) -> Change:
        """Write what follows on the state that the saves before this one have led to."""
        position, now = self.context._position, self.store._clock()
        expected, session_id, epoch = position.etag, self.session_id, position.epoch
        version, parent = (1, NO_TOKEN) if expected is None else (expected[0] + 1, expected[1])
        self.etag = etag = Etag(version, self.token)
        frame = self.delta.frame(session_id, epoch, parent, etag, self.change_id, now)
        self.size = len(frame)
        head = first_head(position, self.before, now) if expected is None else None
        messages, expires_at = self.snapshot.count("conversation_history"), self._expiry(now)
        about = session_id, position.user_id, expected, etag, frame, self.change_id, messages, head, expires_at, epoch
        return Change(*about, self._projection(is_created=expected is None))

    def _projection(self, *, is_created: bool) -> Projection | None:
        if not self.store.shows_copies:
            return None
        return projected(self.context._position.user_id, self.before, self.snapshot, is_created=is_created)

    def _expiry(self, now: int) -> int | None:
        position, snapshot = self.context._position, self.snapshot
        policy = old = snapshot.get(POLICY) if POLICY in snapshot else None
        if POLICY in self.context.__dict__:
            old = self.before.get(POLICY) if POLICY in self.before else None
        times = now if position.created_at is None else position.created_at, now
        self.expires_at = moved_expiry(policy, old, times, position.expires_at, self.ttl)
        return self.expires_at

    def committed(self, time: int) -> None:
        """The context now stands at this version."""
        position, etag = self.context._position, self.etag
        mark = position.mark
        position.saves.remove(self)
        if position.etag is None:
            position.created_at = time
        position.etag, position.version, position.updated_at = etag, etag[0], time
        if self.expires_at is not None:
            position.expires_at = None if self.expires_at == NEVER else self.expires_at
        if self.change_id is not None:
            position.wrote(self.change_id)
        if mark is not None:
            mark.grew(etag[0], self.size)
            self.store._checkpointer.consider(position, self.snapshot, etag)
        self.store._committed(self.context, position, self.snapshot)
        self.done = True
        settle(self.future, None)

    def failed(self, error: Exception) -> None:
        """Give the edits back to the context; the saves that were to follow this one fail with it.

        If nobody knows whether this one was written, it is kept as it is, with its token, to be tried again.
        """
        position = self.context._position
        at = position.saves.index(self)
        fallen, position.saves = position.saves[at:], position.saves[:at]
        position.snapshot = self.before
        error = still_unknown(self.lost, error)
        if isinstance(error, OutcomeUnknownError):
            self.lost = True
            position.limbo, position.snapshot = self, self.snapshot
        for save in reversed(fallen):
            if save is not position.limbo:
                save.delta.restore(self.context.__dict__)
            save.done, save.error = True, error
            settle(save.future, error)

    def again(self) -> ContextSave:
        """Go back into the queue, as the same change."""
        position = self.context._position
        position.limbo, self.done, self.error = None, False, None
        self._renew()
        position.saves.append(self)
        return self

    async def settled(self) -> None:
        """Wait until it is written or has failed, beside its caller, who may be cancelled meanwhile."""
        while not self.done:
            if self.future.done():
                self._renew()
            await asyncio.wait([self.future])

    def _renew(self) -> None:
        self.future = asyncio.get_running_loop().create_future()
        # A save behind it fails with it and tells; nobody need ask this one.
        self.future.add_done_callback(lambda future: future.cancelled() or future.exception())


def first_head(position: Position, empty: Snapshot, created_at: int) -> Head:
    """The head that a session is created with: version 0, nothing in it."""
    stamp = token()
    body, _, _ = empty.checkpoint(
        position.session_id, position.user_id, position.epoch, created_at, (0, NO_TOKEN), stamp, []
    )
    position.mark = FoldMark(stamp, [], 0)
    return Head(0, stamp, body)


class RecordAppend:
    """One record at the end of a list, written without loading the session."""

    __slots__ = ("clock", "done", "etag", "field", "future", "lost", "record", "session_id", "shows_copies", "stored")

    def __init__(
        self, stored: StoredSession, field: str, record: PipelineExecution, clock: Clock, shows_copies: bool
    ) -> None:
        self.stored, self.field, self.record, self.clock, self.shows_copies = stored, field, record, clock, shows_copies
        self.session_id = stored.session_id
        self.etag = Etag(stored.etag.version + 1, token())
        self.done = self.lost = False
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def change(self) -> Change:
        stored = self.stored
        frame = append_frame(
            self.session_id, stored.epoch, stored.etag.token, self.etag, None, self.clock(), self.field, self.record
        )
        projection = Projection(executions=(execution_copy(self.record),)) if self.shows_copies else None
        return Change(
            self.session_id, stored.user_id, stored.etag, self.etag, frame, epoch=stored.epoch, projection=projection
        )

    def committed(self, time: int) -> None:
        self.done = True
        settle(self.future, None)

    def failed(self, error: Exception) -> None:
        error = still_unknown(self.lost, error)
        self.done, self.lost = True, isinstance(error, OutcomeUnknownError)
        settle(self.future, error)

    def again(self) -> RecordAppend:
        """The same change, for the queue once more."""
        self.done, self.future = False, asyncio.get_running_loop().create_future()
        return self


def still_unknown(lost: bool, error: Exception) -> Exception:
    """What is known of a write that now failed with `error`, if the answer to an earlier attempt was lost."""
    if not lost or isinstance(error, OutcomeUnknownError):
        return error
    if isinstance(error, ConflictError) and error.reason not in {TOO_OLD, GONE}:
        return error
    unknown = OutcomeUnknownError(f"whether it was written before is still unknown: {type(error).__name__}")
    unknown.__cause__ = error
    return unknown


def settle(future: asyncio.Future[None], error: Exception | None) -> None:
    """Answer a caller, unless it was cancelled or its event loop is gone."""
    if future.done():
        return
    try:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
    except RuntimeError:  # the loop of the caller is closed
        pass


def oversized(**texts: Any) -> None:
    """Raise StoreError for a name that no store takes: empty, over 255 bytes, or with a NUL."""
    for name, text in texts.items():
        if text is not None and not (isinstance(text, str) and 0 < len(text.encode()) <= 255 and "\0" not in text):
            raise StoreError(f"{name} must be a str of 1 to 255 bytes without NUL")
