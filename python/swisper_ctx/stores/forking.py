"""A session of its own that begins where another one is, or was."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from swisper_ctx._core import plain
from swisper_ctx.context import SwisperContext, new_session_id
from swisper_ctx.errors import SessionNotFoundError, StoreError
from swisper_ctx.stores.checkpointer import Job
from swisper_ctx.stores.history import read_version
from swisper_ctx.stores.loaded import opened

if TYPE_CHECKING:
    from swisper_ctx.stores.base import SessionStore

C = TypeVar("C", bound=SwisperContext)
log = logging.getLogger("swisper_ctx.store")

PARENT = "forked_from"
"""The field in which a fork has the session and version that it came from."""


async def fork(
    store: SessionStore,
    session_id: str,
    version: int | None,
    new_id: str | None,
    user_id: str | None,
    ttl: int | None,
    context_class: type[C],
) -> C:
    """See `SessionStore.fork`."""
    now = await store.read(session_id) if version is None else await read_version(store, session_id, version)
    if now is None or user_id not in (None, now.user_id):
        raise SessionNotFoundError(f"no session {session_id}")
    fork = forked(opened(now, context_class), new_id)
    try:
        await store.save_session(fork, ttl=ttl)
        # The parent may have ended while its content was copied, and the fork was to end with it.
        parent = await store.read(session_id, after=now.etag)
        if parent is None or (parent.epoch, parent.created_at) != (now.epoch, now.created_at):
            raise SessionNotFoundError(f"no session {session_id} any more")
    except (Exception, asyncio.CancelledError):
        await asyncio.shield(withdraw(store, fork))
        raise
    position = fork._position
    if position.etag is not None and position.mark is not None:
        await store._checkpointer.attempt(Job(position, position.snapshot, position.etag, position.mark.total))
    return fork


async def withdraw(store: SessionStore, fork: SwisperContext) -> None:
    """Delete a fork, if it is there: nobody has looked whether its parent still is."""
    position = fork._position
    try:
        for save in tuple(position.saves):
            await save.settled()
        if position.limbo is not None:
            # Perhaps written; perhaps the session of somebody else has that id.
            is_there = (await store.etags([fork.session_id])).get(fork.session_id) == position.limbo.etag
        else:
            is_there = position.etag is not None
        if is_there:
            await store.delete_session(fork.session_id)
    except StoreError as error:
        log.warning("session %s, a fork, may not be deleted: %s", fork.session_id, type(error).__name__)


def forked(source: C, new_id: str | None) -> C:
    """A new context with the content of another; it has no history yet, and is saved as a new session."""
    position = source._position
    session_id = new_session_id() if new_id is None else new_id
    fork = type(source)(session_id=session_id, user_id=position.user_id)
    unknown: dict[str, Any] = {}
    for name in position.snapshot.names:
        spec, value = source._fields.get(name), position.snapshot.get(name)
        if spec is None:
            unknown[name] = plain(value)
        elif spec.record_class is None:
            fork.__dict__[name] = spec.decode(value)
        else:
            getattr(fork, name)[:] = value
    fork._position.unknown = unknown | {PARENT: {"session_id": position.session_id, "version": position.version}}
    return fork
