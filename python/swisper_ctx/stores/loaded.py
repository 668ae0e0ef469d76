"""One version of a session as it was read: what contexts are made of."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

from swisper_ctx._core import Snapshot
from swisper_ctx.context import FoldMark, Position, SwisperContext
from swisper_ctx.errors import CorruptSessionError, NotLoadedError
from swisper_ctx.log import Etag, StoredSession, check_tail
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


class Read(Protocol):
    """`SessionStore.read`."""

    async def __call__(self, session_id: str, *, tail: int | None = None) -> StoredSession | None: ...


async def load(read: Read, session_id: str, unopened: Snapshot, tail: int | None) -> Loaded | None:
    """The newest version, with at least the last `tail` records of each list. Raises CorruptSessionError."""
    check_tail(tail)
    stored = await read(session_id, tail=tail)
    try:
        return None if stored is None else open_stored(stored, unopened)
    except NotLoadedError:  # a frame edits a record that was left in the store
        stored = await read(session_id)
    return None if stored is None else open_stored(stored, unopened)


def open_stored(stored: StoredSession, unopened: Snapshot) -> Loaded:
    """What a whole read stands for, its fields as `unopened` declares them. Raises CorruptSessionError."""
    session_id, user_id, etag, epoch, created_at, updated_at, expires_at, head, blocks, frames = stored
    bodies = [(frame.version, frame.body or b"") for frame in frames] if frames else []
    checkpoint = (head.base, head.body) if head else (0, b"")
    try:
        snapshot, of_head = unopened.open(session_id, user_id, epoch, created_at, etag, checkpoint, blocks, bodies)
    except (TypeError, ValueError, OverflowError) as error:
        # A row with a value of another type or size than was written.
        raise CorruptSessionError("a value of the wrong kind is stored", session_id=session_id) from error
    mark = marked(head, frames, of_head)
    return Loaded(session_id, user_id, etag, epoch, created_at, updated_at, expires_at, snapshot, mark)


def opened(stored: StoredSession, context_class: type[C]) -> C:
    """The context that a whole read stands for. Raises CorruptSessionError."""
    return open_stored(stored, context_class._unopened).context(context_class)
