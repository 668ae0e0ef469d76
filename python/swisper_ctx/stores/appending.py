"""Saving one record alone: of a context with other edits, or to a session that nobody has loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from swisper_ctx.context import SwisperContext
from swisper_ctx.errors import ConflictError, OutcomeUnknownError, SessionNotFoundError, StoreError
from swisper_ctx.log import Etag, StoredSession
from swisper_ctx.retention import POLICY, rule
from swisper_ctx.stores.conflicts import back_off
from swisper_ctx.stores.loaded import Loaded
from swisper_ctx.stores.saving import NEWEST, ContextSave, RecordAppend

if TYPE_CHECKING:
    from swisper_ctx._core import PipelineExecution, RecordList, Snapshot
    from swisper_ctx.stores.base import SessionStore

ATTEMPTS = 20
LOST_ATTEMPTS = 3


async def save_record(
    store: SessionStore, context: SwisperContext, field: str, record: PipelineExecution, ttl: int | None
) -> None:
    """See `SessionStore.save_record`."""
    records: RecordList[PipelineExecution] = getattr(context, field)
    position = context._position
    before = position.snapshot
    delta = before.append(field, record)
    if position.etag is None and not before:
        # The first version has every field: what it lacked, the later ones would lack too.
        records.append(record)
        await store.save_session(context, ttl=ttl)
        return
    store._committer.enter()
    if position.limbo is not None:
        store._committer.submit(position.limbo.again())
    delta.adopt(context.__dict__)
    position.snapshot = delta.snapshot
    save = ContextSave(store, context, delta, before, None, ttl)
    position.saves.append(save)
    store._committer.submit(save)
    await save


class Known(NamedTuple):
    """What an append has found out of a session, which holds for the version that it or a save after it wrote."""

    etag: Etag
    policy: str | None
    """None where none is stored: that of the class counts."""
    field: str
    """A list that the session has."""


async def append_record(
    store: SessionStore,
    session_id: str,
    field: str,
    record: PipelineExecution,
    ttl: int | None,
    context_class: type[SwisperContext],
) -> None:
    """See `SessionStore.append_record`."""
    try:
        context_class._unopened.append(field, record)
    except KeyError:
        raise StoreError(f"{field} is no list of records of {context_class.__name__}") from None
    for attempt in range(ATTEMPTS):
        before, policy = await _newest(store, session_id, field, context_class)
        kept = rule(policy or context_class._fields[POLICY].initial(), ttl)
        append = RecordAppend(before, kept, field, record, store._clock, store.shows_copies)
        try:
            await _append(store, append)
        except ConflictError:
            if attempt == ATTEMPTS - 1:
                raise
            # As saves do, which else win again and again.
            await back_off(attempt)
        else:
            store._appended[session_id] = Known(append.etag, policy, field)
            return


async def _newest(
    store: SessionStore, session_id: str, field: str, context_class: type[SwisperContext]
) -> tuple[StoredSession | Loaded, str | None]:
    """What a session is now, and its retention policy: its content is read, unless an append has left it like this."""
    stored = await store.read(session_id, after=NEWEST)
    if stored is not None:
        known = store._appended.get(session_id)
        if known is not None and (known.etag, known.field) == (stored.etag, field):
            return stored, known.policy
        loaded = await store._loaded(session_id, context_class._unopened, tail=1, strict=True)
        if loaded is not None:
            return loaded, _policy(loaded.snapshot)
    raise SessionNotFoundError(f"no session {session_id}")


def note_saved(store: SessionStore, context: SwisperContext) -> None:
    """Let what appends know of a session hold for the version that a save of its context has made."""
    position = context._position
    known = store._appended.peek(position.session_id)
    # With other saves on their way its snapshot is that of a later version.
    if known is not None and position.etag is not None and not position.saves and position.limbo is None:
        store._appended[position.session_id] = Known(position.etag, _policy(position.snapshot), known.field)


def _policy(snapshot: Snapshot) -> str | None:
    policy = snapshot.get(POLICY) if POLICY in snapshot else None
    return policy if isinstance(policy, str) else None


async def _append(store: SessionStore, append: RecordAppend) -> None:
    store._committer.enter()
    for _ in range(LOST_ATTEMPTS):
        store._committer.submit(append)
        try:
            return await append.future
        except OutcomeUnknownError:
            append.again()
    store._committer.submit(append)
    return await append.future
