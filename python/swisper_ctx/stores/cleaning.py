"""Deleting what has expired, in batches between which others write."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from swisper_ctx.events import emit

if TYPE_CHECKING:
    from swisper_ctx.stores.base import SessionStore

BATCH = 25
"""So many sessions are deleted in one transaction, for which turns wait."""
PAUSE = 2
"""So many times as long as that took is for the turns of others."""
PAGE = 1_000
"""So many are listed at a time."""


async def cleanup(store: SessionStore) -> int:
    """See `SessionStore.cleanup_expired_sessions`."""
    deleted, cursor = 0, None
    while True:
        page = await store.sessions(expired=True, cursor=cursor, limit=PAGE)
        ids = [session.session_id for session in page.sessions]
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            begun = time.monotonic()
            deleted += await store.delete(batch, expired=True)
            await store._deleted(batch)
            await asyncio.sleep(PAUSE * (time.monotonic() - begun))
        cursor = page.cursor
        if cursor is None:
            break
    if deleted:
        emit(store.on_event, "sessions_expired", sessions=deleted)
    return deleted
