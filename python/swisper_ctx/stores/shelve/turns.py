"""Committing changes: for each, the frame and then the row that makes it count."""

from __future__ import annotations

from collections.abc import Sequence

from swisper_ctx.errors import OutcomeUnknownError, StoreError
from swisper_ctx.log import Change, CommitResult, Etag, Frame, Head
from swisper_ctx.stores.clock import Failpoint
from swisper_ctx.stores.recovery import quarantine_ids
from swisper_ctx.stores.shelve.file import DRIVER_ERRORS, SessionFile
from swisper_ctx.stores.shelve.rows import (
    HeadRow,
    Log,
    Row,
    encoded_row,
    get_frame,
    part_of_change,
    part_of_frame,
    part_of_head,
    put_log,
    put_named_frame,
)
from swisper_ctx.stores.shelve.shelf import BytesShelf, key_of


def commit_group(file: SessionFile, changes: Sequence[Change], time: int, failpoint: Failpoint) -> list[CommitResult]:
    """Each of them committed, refused or failed, in their order."""
    failpoint("commit.begin")
    prepared: list[Row | StoreError | None] = []
    begun: dict[str, Row] = {}
    for change in changes:
        row = _prepared(file, begun.get(change.session_id), change, time)
        prepared.append(row)
        if isinstance(row, Row):
            begun[change.session_id] = row
    failpoint("commit.applied")
    results = [_settled(file, change, row, time) for change, row in zip(changes, prepared, strict=True)]
    failpoint("commit.done")
    return results


def _prepared(file: SessionFile, begun: Row | None, change: Change, time: int) -> Row | StoreError | None:
    """The row after a change whose frame is written; None if it is refused."""
    try:
        before = begun or file.alive(change.session_id, time)
        with file.writing():
            if change.expected is None:
                return _create(file, before, change, time)
            return _append(file.shelf, before, change, time)
    except StoreError as error:
        return error
    except ValueError as error:
        failed = StoreError(f"cannot be stored: {type(error).__name__}")
        failed.__cause__ = error
        return failed


def _settled(file: SessionFile, change: Change, row: Row | StoreError | None, time: int) -> CommitResult:
    if not isinstance(row, Row):
        return CommitResult(None, row)
    try:
        file.put(change.session_id, row)
    except DRIVER_ERRORS as error:
        file.spoiled = True
        failed = OutcomeUnknownError(f"shelve: {error}")
        failed.__cause__ = error
        return CommitResult(None, failed)
    return CommitResult(time)


def _create(file: SessionFile, before: Row | None, change: Change, time: int) -> Row | None:
    if change.head is None:
        raise StoreError("a change that creates a session needs its first head")
    if before is not None:
        return None
    if change.session_id in file.rows:
        # It has expired.
        file.erase([change.session_id, *quarantine_ids(change.session_id)])
    file.created += 1
    numbers = change.epoch, change.messages or 0, time, time, change.expiry()
    row = Row(file.created, change.etag, *numbers, change.user_id)
    encoded_row(row)
    _put_first(file.shelf, change.session_id, change.head, time)
    _put_change(file.shelf, change, time)
    return row


def _put_first(shelf: BytesShelf, session_id: str, head: Head, time: int) -> None:
    shelf[key_of(session_id, part_of_head(head.stamp))] = head.body
    put_log(shelf, session_id, Log((HeadRow(head.base, head.stamp, time),), (), 1, 0))


def _append(shelf: BytesShelf, before: Row | None, change: Change, time: int) -> Row | None:
    if before is None or before.etag != change.expected:
        return None
    if change.change_id is not None and _holds(shelf, change.session_id, before.etag, change.change_id):
        return None
    row = before._replace(
        etag=change.etag,
        messages=before.messages if change.messages is None else change.messages,
        updated_at=time,
        expires_at=change.expiry(before.expires_at),
    )
    encoded_row(row)
    _put_change(shelf, change, time)
    return row


def _put_change(shelf: BytesShelf, change: Change, time: int) -> None:
    put_named_frame(shelf, change.session_id, Frame(*change.etag, change.change_id, time, change.frame))


def _holds(shelf: BytesShelf, session_id: str, now: Etag, change_id: str) -> bool:
    """Whether the log has this change_id. A key that a process left behind before it wrote the row is no answer."""
    version = int(shelf.get(key_of(session_id, part_of_change(change_id)), b"0"))
    if not 0 < version <= now.version or key_of(session_id, part_of_frame(version)) not in shelf:
        return False
    return get_frame(shelf, session_id, version).change_id == change_id
