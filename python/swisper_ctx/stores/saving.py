"""The two kinds of writes: what changed in a context, and one record for a session that nobody has loaded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from swisper_ctx._core import PipelineExecution, Save, Snapshot, append_frame, moved_expiry, token
from swisper_ctx.context import ContextBase, FoldMark, Position, SwisperContext
from swisper_ctx.errors import ConflictError, OutcomeUnknownError, StoreError
from swisper_ctx.log import Change, Etag, Head, Projection, StoredSession
from swisper_ctx.retention import POLICY, rule
from swisper_ctx.stores.checkpointer import Checkpointer
from swisper_ctx.stores.clock import Clock
from swisper_ctx.stores.projection import EXECUTIONS, execution_copy, projected

if TYPE_CHECKING:
    from swisper_ctx.stores.loaded import Loaded

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

    @property
    def _committed(self) -> Callable[[ContextBase, Position, Snapshot], None] | None: ...


class ContextSave(Save):
    """What one `save` of a context hands over, frozen before the first await."""

    __slots__ = ()

    store: Saver
    context: SwisperContext
    position: Position
    rule = staticmethod(rule)

    def default_rule(self) -> tuple[int, bool] | None:
        """How long a session is kept that has no policy stored."""
        return rule(self.context._fields[POLICY].initial(), self.ttl)

    def first_head(self, created_at: int) -> Head:
        """The head that its session is created with."""
        return first_head(self.position, self.before, created_at)

    def projection(self, is_created: bool) -> Projection | None:
        """What it shows to people's queries."""
        return projected(self.position.user_id, self.before, self.snapshot, is_created=is_created)

    def failed(self, error: Exception) -> None:
        """Give the edits back to the context; the saves that were to follow this one fail with it.

        If nobody knows whether this one was written, it is kept as it is, with its token, to be tried again.
        """
        position = self.position
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
            save.settle(error)

    def again(self) -> ContextSave:
        """Go back into the queue, as the same change."""
        position = self.position
        position.limbo, self.done, self.error, self.merges = None, False, None, 0
        self.since = time.monotonic()
        position.saves.append(self)
        return self

    async def settled(self) -> None:
        """Wait until it is written or has failed, beside its caller."""
        while not self.done:
            # What it has failed with is for its callers, who look at `error`.
            with suppress(Exception):
                await self


def first_head(position: Position, empty: Snapshot, created_at: int) -> Head:
    """The head that a session is created with: version 0, nothing in it."""
    stamp = token()
    about = position.session_id, position.user_id, position.epoch, created_at
    body, _, _, _ = empty.checkpoint(*about, (0, NO_TOKEN), stamp, b"")
    position.mark = FoldMark(stamp, b"", 0)
    return Head(0, stamp, body)


class RecordAppend:
    """One record at the end of a list, written without loading the session; `kept` is the rule of its retention."""

    __slots__ = (
        "before",
        "clock",
        "done",
        "etag",
        "field",
        "future",
        "kept",
        "lost",
        "record",
        "session_id",
        "shows_copies",
        "since",
    )

    def __init__(
        self,
        before: StoredSession | Loaded,
        kept: tuple[int, bool] | None,
        field: str,
        record: PipelineExecution,
        clock: Clock,
        shows_copies: bool,
    ) -> None:
        self.before, self.kept, self.field, self.record = before, kept, field, record
        self.clock, self.shows_copies, self.session_id = clock, shows_copies, before.session_id
        self.etag = Etag(before.etag.version + 1, token())
        self.done = self.lost = False
        self.since = time.monotonic()
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def change(self) -> Change:
        before, now = self.before, self.clock()
        about = self.session_id, before.epoch, before.etag.token, self.etag, None, now
        if isinstance(before, StoredSession):
            frame = append_frame(*about, self.field, self.record)
        else:
            # The session may be one without this list.
            frame = before.snapshot.append(self.field, self.record).frame(*about)
        is_shown = self.shows_copies and self.field == EXECUTIONS
        return Change(
            self.session_id,
            before.user_id,
            before.etag,
            self.etag,
            frame,
            expires_at=moved_expiry(self.kept, False, (before.created_at or now, now), before.expires_at),
            epoch=before.epoch,
            projection=Projection(executions=(execution_copy(self.record),)) if is_shown else None,
            since=self.since,
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
        self.since = time.monotonic()
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


def check_names(**texts: Any) -> None:
    """Raise StoreError for a name that no store takes: it is a str of 1 to 255 bytes of UTF-8, without NUL."""
    for name, text in texts.items():
        if not _is_name(text):
            raise StoreError(f"{name} must be a str of 1 to 255 bytes of UTF-8, without NUL")


def _is_name(text: Any) -> bool:
    try:
        return isinstance(text, str) and 0 < len(text.encode()) <= 255 and "\0" not in text
    except UnicodeEncodeError:
        return False
