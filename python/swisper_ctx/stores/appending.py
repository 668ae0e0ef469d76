"""Appending one record to a session that nobody has loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swisper_ctx.errors import ConflictError, OutcomeUnknownError, SessionNotFoundError
from swisper_ctx.stores.saving import NEWEST, RecordAppend

if TYPE_CHECKING:
    from swisper_ctx._core import PipelineExecution
    from swisper_ctx.stores.base import SessionStore

ATTEMPTS = 20
LOST_ATTEMPTS = 3


async def append_record(store: SessionStore, session_id: str, field: str, record: PipelineExecution) -> None:
    """See `SessionStore.append_record`."""
    for attempt in range(ATTEMPTS):
        stored = await store.read(session_id, after=NEWEST)
        if stored is None:
            raise SessionNotFoundError(f"no session {session_id}")
        try:
            return await _append(store, RecordAppend(stored, field, record, store._clock, store.shows_copies))
        except ConflictError:
            if attempt == ATTEMPTS - 1:
                raise
    return None


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
