"""What SQLite raises, as errors of this package."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from swisper_ctx.errors import CorruptSessionError, OutcomeUnknownError, StoreError, StoreUnavailableError

BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
"""Another connection is in the way: the same statement may succeed a moment later."""

NOT_WRITTEN = {*BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
"""A COMMIT that fails like this has left nothing that a recovery could find."""

UNAVAILABLE = {
    *NOT_WRITTEN,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
}


class CommitFailedError(Exception):
    """COMMIT itself failed, and what it had written by then may still come back after a crash."""


DRIVER_ERRORS = (sqlite3.Error, CommitFailedError, OverflowError, TypeError, ValueError)
"""What a statement raises: over the database, or over a value that it cannot hold."""


def primary_code(error: BaseException) -> int:
    """The SQLite result code without its extension; 0 for what does not come from SQLite."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def store_error(error: Exception, session_id: str | None = None) -> StoreError:
    """The error of this package for one of the driver, which becomes its cause."""
    mapped = _mapped(error, session_id)
    mapped.__cause__ = error
    return mapped


def _mapped(error: Exception, session_id: str | None) -> StoreError:
    code = primary_code(error)
    if isinstance(error, CommitFailedError):
        return OutcomeUnknownError(f"SQLite could not finish writing: {error}")
    if code in UNAVAILABLE:
        return StoreUnavailableError(f"SQLite: {error}")
    if code == sqlite3.SQLITE_CORRUPT and session_id is not None:
        return CorruptSessionError("its pages of the SQLite file are damaged", session_id=session_id)
    if isinstance(error, sqlite3.OperationalError) and not code:
        # Raised by Python's driver over a text that is no UTF-8, which it quotes.
        problem = "a text in the SQLite file is not UTF-8"
        return CorruptSessionError(problem, session_id=session_id) if session_id else StoreError(problem)
    return StoreError(f"SQLite: {error}" if isinstance(error, sqlite3.Error) else f"cannot be stored: {error}")


@contextmanager
def mapped_errors(session_id: str | None = None) -> Iterator[None]:
    """Turns what SQLite raises about `session_id`, or about the whole file, into an error of this package."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise store_error(error, session_id) from error
