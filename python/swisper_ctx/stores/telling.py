"""What a store tells of its writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from swisper_ctx.events import EventName, OnEvent, emit
from swisper_ctx.log import Change, Checkpoint, CommitResult
from swisper_ctx.stores.committer import Answered, PostponedError


class Store(Protocol):
    """What is asked of a store here."""

    on_event: OnEvent | None

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None: ...
    async def checkpoint(self, checkpoint: Checkpoint) -> bool: ...


def begin_commit(store: Store, changes: Sequence[Change], answered: Answered) -> None:
    """Start a commit, and tell what becomes of each change."""
    on_event = store.on_event
    if on_event is None:
        store.begin_commit(changes, answered)
        return

    def told(results: list[CommitResult] | None, error: BaseException | None) -> None:
        failed: list[tuple[int | None, BaseException | None]] = [(None, error)] * len(changes)
        for change, (time, failure) in zip(changes, failed if results is None else results, strict=False):
            tell(on_event, change, time, failure)
        answered(results, error)

    store.begin_commit(changes, told)


def tell(on_event: OnEvent | None, change: Change, time: int | None, error: BaseException | None) -> None:
    """Tell what became of one change."""
    session_id, version = change.session_id, change.etag.version
    if isinstance(error, PostponedError):
        return
    if error is not None:
        emit(on_event, "session_failed", session_id=session_id, version=version, error=type(error).__name__)
    elif time is None:
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
