"""Bringing a context up to what others have saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swisper_ctx.errors import ConflictError, NotLoadedError, OutcomeUnknownError, SessionNotFoundError
from swisper_ctx.stores.conflicts import follow, tell

if TYPE_CHECKING:
    from swisper_ctx.context import Position, SwisperContext
    from swisper_ctx.stores.base import SessionStore


async def refresh(store: SessionStore, context: SwisperContext) -> None:
    """See `SessionStore.refresh`."""
    position = context._position
    while True:
        await _settled(store, position)
        etag = position.etag
        stored = None if etag is None else await store.read(position.session_id, after=etag)
        if stored is None or stored.user_id != position.user_id:
            raise SessionNotFoundError(f"no session {position.session_id}")
        if position.saves or position.etag != etag:
            continue
        if stored.etag == etag:
            position.past = None
            return
        try:
            follow(store, context, stored)
            return
        except NotLoadedError:
            await context.load_history()
        except ConflictError as error:
            tell(store.on_event, position.session_id, error)
            raise


async def _settled(store: SessionStore, position: Position) -> None:
    """Wait until no save of a context is on its way."""
    store._committer.enter()
    if position.limbo is not None:
        store._committer.submit(position.limbo.again())
    while position.saves:
        await position.saves[-1].settled()
    if position.limbo is not None:
        raise OutcomeUnknownError("whether an earlier save was written is still unknown")
