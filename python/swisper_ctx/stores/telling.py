"""What a store tells of its writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from swisper_ctx.events import EventName, OnEvent, emit
from swisper_ctx.log import Change, Checkpoint, CommitResult


class Store(Protocol):
    """What is asked of a store here."""

    on_event: OnEvent | None

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]: ...
    async def checkpoint(self, checkpoint: Checkpoint) -> bool: ...


async def commit(store: Store, changes: Sequence[Change]) -> list[CommitResult]:
    """Commit, and tell what became of each change."""
    if store.on_event is None:
        return await store.commit(changes)
    try:
        results = await store.commit(changes)
    except BaseException as error:
        for change in changes:
            tell(store.on_event, change, CommitResult(None), type(error).__name__)
        raise
    for change, result in zip(changes, results, strict=True):
        tell(store.on_event, change, result, type(result.error).__name__ if result.error else None)
    return results


def tell(on_event: OnEvent | None, change: Change, result: CommitResult, error: str | None) -> None:
    """Tell what became of one change."""
    session_id, version = change.session_id, change.etag.version
    if error is not None:
        emit(on_event, "session_failed", session_id=session_id, version=version, error=error)
    elif result.time is None:
        emit(on_event, "session_refused", session_id=session_id, version=version)
    else:
        emit(on_event, "session_saved", session_id=session_id, version=version, bytes=len(change.frame))


async def checkpoint(store: Store, made: Checkpoint) -> bool:
    """Write a checkpoint, and tell what became of it."""
    written = await store.checkpoint(made)
    name: EventName = "checkpoint_written" if written else "checkpoint_refused"
    size = sum(len(block.body or b"") for block in made.added)
    emit(store.on_event, name, session_id=made.session_id, version=made.head.base, blocks=len(made.added), bytes=size)
    return written
