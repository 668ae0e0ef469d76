"""Loading, changing and saving a session, again after a conflict."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from swisper_ctx.errors import ConflictError, OutcomeUnknownError, SessionNotFoundError

if TYPE_CHECKING:
    from swisper_ctx.context import SwisperContext
    from swisper_ctx.stores.base import SessionStore

BACKOFF = 0.005
LOST_ATTEMPTS = 3


async def update(
    store: SessionStore,
    session_id: str,
    change: Callable[[Any], object],
    attempts: int,
    change_id: str | None,
    ttl: int | None,
    options: dict[str, Any],
) -> Any:
    """See `SessionStore.update`; `options` are those of `load_session`."""
    if attempts < 1:
        raise ValueError("attempts must be 1 or more")
    for attempt in range(1, attempts):
        try:
            return await _attempt(store, session_id, change, change_id, ttl, strict=attempt > 1, **options)
        except ConflictError:
            pause = random.uniform(0, BACKOFF * 2 ** (attempt - 1))  # noqa: S311 - no secret
        await asyncio.sleep(pause)
    return await _attempt(store, session_id, change, change_id, ttl, strict=attempts > 1, **options)


async def _attempt(
    store: SessionStore,
    session_id: str,
    change: Callable[[Any], object],
    change_id: str | None,
    ttl: int | None,
    *,
    strict: bool,
    **options: Any,
) -> Any:
    # Before the load, which then shows it.
    is_done = change_id is not None and await store.holds(session_id, change_id)
    context = await store.load_session(session_id, strict=strict or change_id is not None, **options)
    if context is None:
        raise SessionNotFoundError(f"no session {session_id}")
    if not is_done:
        changing = change(context)
        if isawaitable(changing):
            await changing
        await _save(store, context, change_id, ttl)
    return context


async def _save(store: SessionStore, context: SwisperContext, change_id: str | None, ttl: int | None) -> None:
    for _ in range(LOST_ATTEMPTS):
        try:
            return await store.save_session(context, change_id=change_id, ttl=ttl)
        except OutcomeUnknownError:
            continue
    return await store.save_session(context, change_id=change_id, ttl=ttl)
