"""What becomes of a write that was refused: it is in the log already, it follows on what others saved, or conflicts."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from swisper_ctx._core import Conflict, rebase, reset
from swisper_ctx.context import SwisperContext
from swisper_ctx.errors import ConflictError, EncodeError, NotLoadedError
from swisper_ctx.events import OnEvent, emit
from swisper_ctx.log import Change, Etag, StoredSession
from swisper_ctx.stores.loaded import open_stored
from swisper_ctx.stores.saving import GONE, TOO_OLD, ContextSave, RecordAppend

BEGINNING = Etag(0, b"")

MERGES = 16
BACKOFF = 0.001
"""A save is merged so often at most: others have won that often. After the first time it waits at random before it
reads what they have saved, up to so many seconds, doubled each time up to the eighth: together a second at most.
"""


class Store(Protocol):
    """What is asked of a store here."""

    on_event: OnEvent | None

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None: ...
    async def holds(self, session_id: str, change_id: str) -> bool: ...


async def resolve(store: Store, write: ContextSave | RecordAppend, change: Change) -> int | None:
    """The time of a refused change that is in the log after all; None if it now follows on what others have saved.

    Raises ConflictError.
    """
    if isinstance(write, RecordAppend):
        return await _resolved(store, write, change)
    if write.merges:
        await back_off(write.merges)
    try:
        return await _resolved(store, write, change)
    except ConflictError as error:
        tell(store.on_event, change.session_id, error)
        raise


async def back_off(times: int) -> None:
    """Wait before trying again what others have won so many times."""
    await asyncio.sleep(random.uniform(0, BACKOFF * 2 ** min(times, 7)))  # noqa: S311 - no secret


def tell(on_event: OnEvent | None, session_id: str, error: ConflictError) -> None:
    """Tell of a conflict, and at which version what was to be written stands."""
    version = error.expected.version if error.expected else 0
    emit(on_event, "session_conflict", session_id=session_id, version=version, reason=error.reason)


async def _resolved(store: Store, write: ContextSave | RecordAppend, change: Change) -> int | None:
    stored = await store.read(change.session_id, after=change.expected or BEGINNING)
    if stored is None:
        if isinstance(write, ContextSave) and change.expected is None and write.merges < MERGES:
            # What was in its place has gone since, or has expired and is about to.
            write.merges += 1
            return None
        raise ConflictError(GONE, expected=change.expected)
    for frame in stored.frames:
        if frame.token == change.etag.token:
            if isinstance(write, ContextSave):
                keep_expiry(write, stored.expires_at)
            return frame.time
    if isinstance(write, RecordAppend):
        raise ConflictError("overlap", expected=change.expected, actual=stored.etag)
    if change.change_id is not None and change.change_id in {frame.change_id for frame in stored.frames}:
        return await _recognise(store, write, change)
    try:
        await _merge(store, write, change, stored)
    except ConflictError:
        if change.change_id is None or not await store.holds(change.session_id, change.change_id):
            raise
        return await _recognise(store, write, change)
    return None


async def _merge(store: Store, save: ContextSave, change: Change, stored: StoredSession) -> None:
    if change.expected is None:
        # Of a create whose answer was lost the frame may be gone.
        is_told = not save.lost or stored.frames[0].version == 1
        raise ConflictError("exists" if is_told else TOO_OLD, actual=stored.etag)
    if save.merges == MERGES:
        raise ConflictError("busy", expected=change.expected, actual=stored.etag)
    save.merges += 1
    try:
        follow(store, save.context, stored)
    except NotLoadedError:
        await save.context.load_history()
        follow(store, save.context, stored)


async def _recognise(store: Store, save: ContextSave, change: Change) -> int:
    """The change of this id is in the log: the context takes what is stored in the place of its own edits.

    Not so where it has made other edits since, which would be lost, or has itself written a change of this id before.
    """
    context, position = save.context, save.context._position
    stored = await store.read(change.session_id)
    if stored is None or stored.user_id != change.user_id:
        raise ConflictError(GONE, expected=change.expected)
    loaded = open_stored(stored, context._unopened)
    if position.saves != [save] or change.change_id in (position.written or ()) or is_edited(context):
        raise ConflictError("change_id", expected=change.expected, actual=stored.etag)
    reset(loaded.snapshot, context.__dict__)
    position.snapshot = save.snapshot = loaded.snapshot
    position.etag = save.etag = loaded.etag
    position.epoch, position.created_at, position.mark = loaded.epoch, loaded.created_at, loaded.mark
    position.past = position.blocks = None
    save.size = 0
    keep_expiry(save, loaded.expires_at)
    return stored.updated_at


def keep_expiry(save: ContextSave, expires_at: int | None) -> None:
    """Of a save that was written before: the session expires as is stored, not as this attempt would have had it."""
    save.position.expires_at, save.expires_at = expires_at, None


def is_edited(context: SwisperContext) -> bool:
    """Whether a context has changed since it was last handed over."""
    position = context._position
    before = position.snapshot
    try:
        delta = context._freeze()
    except EncodeError:
        return True
    if delta is not None:
        delta.restore(context.__dict__)
        position.snapshot = before
    return delta is not None


def follow(store: Store, context: SwisperContext, stored: StoredSession) -> None:
    """Put what others have saved since under all that a context has not; it then stands at their version.

    None of its saves may be on its way. Raises ConflictError, NotLoadedError and EncodeError, and then nothing has
    changed.
    """
    position = context._position
    etag, frames, saves = position.etag, stored.frames, position.saves
    if etag is None or not frames or (frames[-1].version, frames[-1].token) != stored.etag:
        raise ConflictError(TOO_OLD, expected=etag, actual=stored.etag)
    if saves and position.past == etag:
        raise ConflictError("past", expected=etag, actual=stored.etag)
    base = saves[0].before if saves else position.snapshot
    found = rebase(
        base,
        [save.delta for save in saves],
        context.__dict__,
        position.session_id,
        (position.epoch, stored.epoch),
        etag,
        [(frame.version, frame.body) for frame in frames],
    )
    if isinstance(found, Conflict):
        raise ConflictError(found.reason, expected=etag, actual=stored.etag, paths=found.paths)
    snapshot, deltas = found
    for save, delta in zip(saves, deltas, strict=True):
        save.before, save.delta, save.snapshot = snapshot, delta, delta.snapshot
        snapshot = save.snapshot
    position.snapshot, position.etag, position.version = snapshot, stored.etag, stored.etag.version
    position.updated_at, position.expires_at = stored.updated_at, stored.expires_at
    if position.mark is not None:
        for frame in frames:
            position.mark.grew(frame.version, len(frame.body or b""))
    session_id, version = position.session_id, stored.etag.version
    emit(store.on_event, "session_merged", session_id=session_id, version=version, frames=len(frames))
