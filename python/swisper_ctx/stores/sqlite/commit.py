"""Committing a group of changes in one transaction: the statements that every turn runs."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence

from swisper_ctx.log import Change, CommitResult, Etag
from swisper_ctx.stores.committer import PostponedError
from swisper_ctx.stores.recovery import quarantine_ids
from swisper_ctx.stores.sqlite.connection import Writer, begin, commit, roll_back
from swisper_ctx.stores.sqlite.errors import BUSY, DRIVER_ERRORS, CommitFailedError, primary_code, store_error

SIZES = (64, 32, 16, 8, 4, 2, 1)
"""A statement for so many changes is prepared once; a group is cut into these sizes."""

MOVE = """
    UPDATE sessions SET version = ?, token = ?, messages = coalesce(?, messages), updated_at = ?
    WHERE session_id = ? AND version = ? AND token = ? AND (expires_at IS NULL OR expires_at > ?)
"""
MOVE_ONCE = """
    UPDATE sessions SET version = ?, token = ?, messages = coalesce(?, messages), updated_at = ?
    WHERE session_id = ? AND version = ? AND token = ? AND (expires_at IS NULL OR expires_at > ?)
    AND NOT EXISTS (SELECT 1 FROM frames WHERE session = key AND change_id = ?)
"""
MOVE_MANY = {
    size: """
    UPDATE sessions
    SET version = change.column4, token = change.column5, messages = coalesce(change.column6, messages), updated_at = ?
    FROM (VALUES ROWS) AS change
    WHERE session_id = change.column1 AND version = change.column2 AND token = change.column3
    AND (expires_at IS NULL OR expires_at > ?)
    """.replace("ROWS", ", ".join(["(?, ?, ?, ?, ?, ?)"] * size))
    for size in SIZES
}
ADD_FRAME = """
    INSERT INTO frames (session, version, token, time, body)
    VALUES ((SELECT key FROM sessions WHERE session_id = ?), ?, ?, ?, ?)
"""
ADD_FRAMES = {
    # A join: as many subqueries as there are rows take longer.
    size: """
    INSERT INTO frames (session, version, token, time, body)
    SELECT key, change.column2, change.column3, change.column4, change.column5
    FROM (VALUES ROWS) AS change CROSS JOIN sessions ON session_id = change.column1
    """.replace("ROWS", ", ".join(["(?, ?, ?, ?, ?)"] * size))
    for size in SIZES
}
NAME_CHANGE = """
    UPDATE frames SET change_id = ? WHERE version = ? AND session = (SELECT key FROM sessions WHERE session_id = ?)
"""
EXPIRE = "UPDATE sessions SET expires_at = ? WHERE session_id = ?"
CREATE = """
    INSERT INTO sessions (session_id, user_id, version, token, messages, epoch, created_at, updated_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session_id) DO NOTHING
"""
ADD_HEAD = "INSERT INTO heads (session, base, stamp, written_at, body) VALUES (?, ?, ?, ?, ?)"
"""Also of a checkpoint."""
REFUSED = CommitResult(None)
COPIED = 1 << 16
"""Frames below this many bytes are bound as a copy."""
ETAG = "SELECT version, token FROM sessions WHERE session_id = ?"


KEY = "SELECT key FROM sessions WHERE session_id = ? AND (? IS NULL OR expires_at <= ?)"
DELETE = (
    "DELETE FROM blocks WHERE session = ?",
    "DELETE FROM frames WHERE session = ?",
    "DELETE FROM heads WHERE session = ?",
    "DELETE FROM sessions WHERE key = ?",
)


class _RefusedError(Exception):
    """A change of a group that was written as a whole; which one, is found in a second attempt."""


def group_deadline(changes: Sequence[Change], timeout: float) -> float | None:
    """How long a group waits for the file: None for as long as one that is handed over now.

    Its oldest change may be late by a tenth, so that those which are about as old are given up with it.
    """
    if len(changes) == 1:
        since = changes[0].since
        return None if since is None else since + timeout
    times = [change.since for change in changes if change.since is not None]
    if not times or len(times) < len(changes):
        return None
    return min(min(times) + 1.1 * timeout, max(times) + timeout)


def failures(error: Exception, changes: Sequence[Change], deadline: float, timeout: float) -> list[CommitResult]:
    """What becomes of changes that nothing was written of: where the file was locked until `deadline`, those that have
    waited less than `timeout` by then go on.
    """
    if primary_code(error) not in BUSY:
        deadline = math.inf
    # The sum that `group_deadline` makes: one of a group at least has waited its time, however it is rounded.
    return [
        CommitResult(None, store_error(error, change.session_id))
        if change.since is None or change.since + timeout <= deadline
        else CommitResult(None, PostponedError("SQLite: the file is locked"))
        for change in changes
    ]


def commit_group(writer: Writer, changes: Sequence[Change], timeout: float) -> list[CommitResult]:
    """Each of them committed, refused or failed, in their order.

    Together first, in few statements: each of them gives the interpreter lock away and, beside a busy event loop,
    waits up to 5 ms to have it back. If a change is refused, once more one after the other; if one cannot be stored
    at all, each in a transaction of its own.
    """
    try:
        if len(changes) > 1:
            try:
                return _transact(writer, changes, _together)
            except (_RefusedError, sqlite3.IntegrityError):
                pass
        return _transact(writer, changes, _one_by_one)
    except DRIVER_ERRORS as error:
        if len(changes) > 1 and not isinstance(error, sqlite3.OperationalError | CommitFailedError):
            return [result for change in changes for result in commit_group(writer, [change], timeout)]
        return failures(error, changes, writer.deadline, timeout)


def _transact(
    writer: Writer, changes: Sequence[Change], write: Callable[[sqlite3.Cursor, Sequence[Change], int], list[bool]]
) -> list[CommitResult]:
    # Not as a `with` of writer.transaction: context managers take a tenth of a turn.
    connection, deadline, clock, failpoint = writer
    failpoint("commit.begin")
    cursor = begin(connection, deadline)
    try:
        time = clock()
        written = write(cursor, changes, time)
        failpoint("commit.applied")
    except BaseException:
        roll_back(connection)
        raise
    try:
        commit(cursor)
    except CommitFailedError:
        if not _is_there(writer, changes, written):
            raise
    failpoint("commit.done")
    committed = CommitResult(time)
    return [committed if one else REFUSED for one in written]


def _is_there(writer: Writer, changes: Sequence[Change], written: Sequence[bool]) -> bool:
    """Whether the transaction was committed: they stand or fall together, so one of them tells."""
    wanted = next((change for change, one in zip(changes, written, strict=True) if one), None)
    try:
        return wanted is None or writer.connection.execute(ETAG, (wanted.session_id,)).fetchone() == wanted.etag
    except sqlite3.Error:
        return False


def _together(cursor: sqlite3.Cursor, changes: Sequence[Change], time: int) -> list[bool]:
    appends = [change for change in changes if change.expected is not None]
    for part in _parts(appends):
        moves: list[object] = [time]
        frames: list[object] = []
        for change in part:
            session_id, _, expected, etag, frame, _, messages = change[:7]
            bound = _bound_etag(etag)
            moves += (session_id, *_bound_etag(expected or etag), *bound, messages)
            frames += (session_id, *bound, time, _bound(frame))
        moves.append(time)
        cursor.execute(MOVE_MANY[len(part)], moves)
        if cursor.rowcount != len(part):
            raise _RefusedError
        cursor.execute(ADD_FRAMES[len(part)], frames)
    if named := [_name(change) for change in appends if change.change_id is not None]:
        cursor.executemany(NAME_CHANGE, named)
    if moved := [(change.expiry(), change.session_id) for change in appends if change.expires_at is not None]:
        cursor.executemany(EXPIRE, moved)
    if len(appends) < len(changes) and not all(_create(cursor, c, time) for c in changes if c.expected is None):
        raise _RefusedError
    return [True] * len(changes)


def _parts(appends: Sequence[Change]) -> Iterator[Sequence[Change]]:
    start = 0
    for size in SIZES:
        while len(appends) - start >= size:
            yield appends[start : start + size]
            start += size


def _one_by_one(cursor: sqlite3.Cursor, changes: Sequence[Change], time: int) -> list[bool]:
    return [
        _create(cursor, change, time) if change.expected is None else _append(cursor, change, change.expected, time)
        for change in changes
    ]


def _append(cursor: sqlite3.Cursor, change: Change, expected: Etag, time: int) -> bool:
    move = *_bound_etag(change.etag), change.messages, time, change.session_id, *_bound_etag(expected), time
    if change.change_id is None:
        cursor.execute(MOVE, move)
    else:
        cursor.execute(MOVE_ONCE, (*move, change.change_id))
    if cursor.rowcount == 0:
        return False
    _add_frame(cursor, change, time)
    if change.expires_at is not None:
        cursor.execute(EXPIRE, (change.expiry(), change.session_id))
    return True


def _create(cursor: sqlite3.Cursor, change: Change, time: int) -> bool:
    if change.head is None:
        raise ValueError("a change that creates a session needs its first head")
    row = (change.session_id, change.user_id, *change.etag, change.messages or 0, change.epoch)
    cursor.execute(CREATE, (*row, time, time, change.expiry()))
    if cursor.rowcount == 0:
        return delete_expired(cursor, change.session_id, time) > 0 and _create(cursor, change, time)
    cursor.execute(ADD_HEAD, (cursor.lastrowid, change.head.base, change.head.stamp, time, change.head.body))
    _add_frame(cursor, change, time)
    return True


def delete_expired(cursor: sqlite3.Cursor, session_id: str, now: int) -> int:
    """Delete a session that has expired, with what is in quarantine of it; how many sessions that is."""
    if not delete_one(cursor, session_id, now):
        return 0
    return 1 + sum(delete_one(cursor, each) for each in quarantine_ids(session_id))


def delete_one(cursor: sqlite3.Cursor, session_id: str, expired_at: int | None = None) -> bool:
    """Delete a session with everything it has, if it has expired at a moment that is given; whether it did."""
    row = cursor.execute(KEY, (session_id, expired_at, expired_at)).fetchone()
    if row is None:
        return False
    for statement in DELETE:
        cursor.execute(statement, row)
    return True


def _add_frame(cursor: sqlite3.Cursor, change: Change, time: int) -> None:
    cursor.execute(ADD_FRAME, (change.session_id, *_bound_etag(change.etag), time, _bound(change.frame)))
    if change.change_id is not None:
        cursor.execute(NAME_CHANGE, _name(change))


def _name(change: Change) -> tuple[str | None, int, str]:
    return change.change_id, change.etag.version, change.session_id


def _bound_etag(etag: Etag) -> tuple[int, bytearray]:
    return etag[0], bytearray(etag[1])


def _bound(body: bytes) -> bytes | bytearray:
    # sqlite3 asks each parameter but a str, an int, a float and a bytearray for an adapter, at 6,500 instructions: a
    # fifth of a turn, which has five of them, while it took bytes and None.
    return bytearray(body) if len(body) < COPIED else body
