"""One version of a session as it was read: what contexts are made of."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from swisper_ctx._core import Snapshot
from swisper_ctx.context import FoldMark, Position, SwisperContext
from swisper_ctx.errors import CorruptSessionError
from swisper_ctx.log import Etag, StoredSession
from swisper_ctx.stores.checkpointer import marked

C = TypeVar("C", bound=SwisperContext)


class Loaded(NamedTuple):
    """Immutable, but for the mark, which the contexts of one session may share."""

    session_id: str
    user_id: str
    etag: Etag
    epoch: int
    created_at: int | None
    updated_at: int | None
    expires_at: int | None
    snapshot: Snapshot
    mark: FoldMark | None

    def context(self, context_class: type[C]) -> C:
        """A context that stands at this version."""
        session_id, user_id, etag, epoch, created_at, updated_at, expires_at, snapshot, mark = self
        times = created_at, updated_at, expires_at
        position = Position(session_id, user_id, snapshot, etag, epoch, times, mark)
        return context_class._at(position)


def open_stored(stored: StoredSession, unopened: Snapshot) -> Loaded:
    """What a whole read stands for, its fields as `unopened` declares them. Raises CorruptSessionError."""
    session_id, user_id, etag, epoch, created_at, updated_at, expires_at, head, blocks, frames = stored
    bodies = [(frame.version, frame.body or b"") for frame in frames]
    checkpoint = (head.base, head.body) if head else (0, b"")
    try:
        snapshot, ids = unopened.open(session_id, user_id, epoch, created_at, etag, checkpoint, blocks, bodies)
    except (TypeError, ValueError, OverflowError) as error:
        # A row with a value of another type or size than was written.
        raise CorruptSessionError("a value of the wrong kind is stored", session_id=session_id) from error
    mark = marked(stored, ids)
    return Loaded(session_id, user_id, etag, epoch, created_at, updated_at, expires_at, snapshot, mark)


def opened(stored: StoredSession, context_class: type[C]) -> C:
    """The context that a whole read stands for. Raises CorruptSessionError."""
    return open_stored(stored, context_class._unopened).context(context_class)
