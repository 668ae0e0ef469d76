"""What is looked at before a session is created."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from swisper_ctx.errors import StoreError
from swisper_ctx.keys import is_token
from swisper_ctx.stores.recovery import check_new
from swisper_ctx.stores.saving import check_names

if TYPE_CHECKING:
    from swisper_ctx.stores.base import SessionStore


async def check_create(store: SessionStore, session_id: str, user_id: str) -> None:
    """Raise StoreError for an id that no store takes, and where a key was forgotten: see `check_clear`.

    The user may be nobody, "".
    """
    check_names(session_id=session_id)
    if user_id != "":
        check_names(user_id=user_id)
    check_new(session_id)
    if not (store.opens_sealed or store._is_clear):
        await check_clear(store)
        # The store may have been closed meanwhile.
        store._committer.enter()


async def check_clear(store: SessionStore) -> None:
    """Raise StoreError if the newest session is sealed: a store without keys would put plaintext beside it.

    That is asked before the first session that a store creates, once for all that are created at that moment.
    """
    loop = asyncio.get_running_loop()
    look = store._look
    if look is None or look.done() or look.get_loop() is not loop:
        look = store._look = loop.create_task(_look(store))
        # Those who wait for it raise what it raised; they may all have been cancelled.
        look.add_done_callback(lambda task: task.cancelled() or task.exception())
    await asyncio.shield(look)


async def _look(store: SessionStore) -> None:
    for line in (await store.sessions(limit=1)).sessions:
        frames = await store.frames(line.session_id, after=line.version - 1, limit=1)
        if any(is_token(frame.body) for frame in frames):
            raise StoreError("the sessions of this store are sealed: open it with its keys, encryption_key=")
    store._is_clear = True
