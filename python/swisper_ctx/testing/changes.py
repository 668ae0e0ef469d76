"""Changes and checkpoints for tests of stores, of which only the part in question is spelled out."""

from __future__ import annotations

import os
from collections.abc import Sequence

from swisper_ctx.context import SwisperContext
from swisper_ctx.log import Block, Change, Checkpoint, CommitResult, Etag, Head
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.checkpointer import Job


def new_head(base: int = 0) -> Head:
    """A head of no content."""
    return Head(base, os.urandom(16), f"head at {base}".encode())


def new_block(field: str, position: int, records: int, body: bytes = b"block") -> Block:
    """A block under an id of its own."""
    return Block(os.urandom(16), field, position, records, body)


def creation(
    session_id: str,
    *,
    user_id: str = "u",
    frame: bytes = b"frame 1",
    change_id: str | None = None,
    messages: int | None = None,
    head: Head | None = None,
    expires_at: int | None = None,
    epoch: int = 0,
) -> Change:
    """The change that creates a session."""
    etag = Etag(1, os.urandom(16))
    return Change(session_id, user_id, None, etag, frame, change_id, messages, head or new_head(), expires_at, epoch)


def append(
    session_id: str,
    expected: Etag,
    *,
    frame: bytes | None = None,
    change_id: str | None = None,
    messages: int | None = None,
    expires_at: int | None = None,
) -> Change:
    """The change that follows on `expected`."""
    version = expected.version + 1
    body = f"frame {version}".encode() if frame is None else frame
    etag = Etag(version, os.urandom(16))
    return Change(session_id, "u", expected, etag, body, change_id, messages, expires_at=expires_at)


async def commit(store: SessionStore, *changes: Change) -> list[CommitResult]:
    """Commit these changes as one group."""
    return await store.commit(changes)


async def committed(store: SessionStore, change: Change) -> Etag:
    """Commit one change, which must succeed; its etag."""
    (result,) = await store.commit([change])
    assert result.error is None
    assert result.time is not None
    return change.etag


async def grow(store: SessionStore, session_id: str, versions: int) -> Etag:
    """Create the session if it is not there, and append until it has so many versions; the etag."""
    etag = (await store.etags([session_id])).get(session_id)
    if etag is None:
        etag = await committed(store, creation(session_id))
    while etag.version < versions:
        etag = await committed(store, append(session_id, etag))
    return etag


async def moved(
    store: SessionStore,
    session_id: str,
    base: int,
    *,
    added: Sequence[Block] = (),
    dropped: Sequence[bytes] = (),
) -> Head:
    """Write a checkpoint on the newest head, which must succeed; the new head."""
    whole = await store.read(session_id)
    assert whole is not None
    assert whole.head is not None
    head = new_head(base)
    assert await store.checkpoint(Checkpoint(session_id, whole.head.stamp, head, tuple(added), tuple(dropped)))
    return head


async def folded(store: SessionStore, context: SwisperContext) -> bool:
    """Write a checkpoint of what a saved context holds, due or not; False if another one came first."""
    position = context._position
    assert position.etag is not None
    assert position.mark is not None
    assert position.limbo is None, "its state is ahead of its etag"
    return await store._checkpointer.make(Job(position, position.snapshot, position.etag, position.mark.size))
