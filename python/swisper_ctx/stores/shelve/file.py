"""The open file with the rows of its sessions, which one process alone may hold in memory."""

from __future__ import annotations

import dbm
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar, cast

from swisper_ctx.errors import CorruptSessionError, StoreError, StoreUnavailableError
from swisper_ctx.stores.shelve.rows import Row, get_row, put_row
from swisper_ctx.stores.shelve.shelf import BytesShelf, lock, open_shelf, unlock

T = TypeVar("T")

log = logging.getLogger("swisper_ctx.store")

DRIVER_ERRORS = cast("tuple[type[Exception], ...]", dbm.error)
"""What a dbm module raises; OSError is among them."""
FORBIDDEN = FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError


class SessionFile:
    """The shelf, and the row of each session in the order of their creation."""

    def __init__(self, shelf: BytesShelf, lock: int) -> None:
        self.shelf, self._lock = shelf, lock
        self.spoiled = False
        """A write has failed: what the file holds now is read anew."""
        self.damaged: dict[str, str] = {}
        """What is wrong with the rows that cannot be read."""
        found: dict[str, Row] = {}
        for session_id in shelf.session_ids():
            try:
                found[session_id] = get_row(shelf, session_id)
            except CorruptSessionError as error:
                self.damaged[session_id] = error.problem
                log.warning("session %s is left out of listings: %s", session_id, error.problem)
        self.rows = dict(sorted(found.items(), key=lambda item: item[1].key))
        self.created = max((row.key for row in found.values()), default=0)

    def row(self, session_id: str) -> Row | None:
        """None if there is no such session. Raises CorruptSessionError."""
        if session_id in self.damaged:
            raise CorruptSessionError(self.damaged[session_id], session_id=session_id, block="session")
        return self.rows.get(session_id)

    def alive(self, session_id: str, now: int) -> Row | None:
        """None if there is no such session, or it has expired. Raises CorruptSessionError."""
        row = self.row(session_id)
        return None if row is None or row.has_expired(now) else row

    def put(self, session_id: str, row: Row) -> None:
        """Move a session, or create it."""
        put_row(self.shelf, session_id, row)
        self.rows[session_id] = row

    def erase(self, session_ids: Collection[str]) -> None:
        """Delete these with everything they have."""
        self.shelf.erase(session_ids)
        for session_id in session_ids:
            self.rows.pop(session_id, None)
            self.damaged.pop(session_id, None)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raises StoreUnavailableError for what the dbm module raises; nothing was written that counts."""
        try:
            yield
        except DRIVER_ERRORS as error:
            self.spoiled = True
            raise unavailable(error) from error

    def close(self) -> None:
        """Write what the dbm module still holds, and let others have the file."""
        try:
            self.shelf.close()
        except DRIVER_ERRORS as error:
            raise StoreError(f"the shelf could not be written when it was closed: {error}") from error
        finally:
            with suppress(OSError):
                unlock(self._lock)


def open_file(path: str, _deadline: float) -> SessionFile:
    """Lock and open the file, or create it. Looks at the row of every session."""
    try:
        descriptor = lock(path)
        try:
            return SessionFile(open_shelf(path), descriptor)
        except BaseException:
            unlock(descriptor)
            raise
    except DRIVER_ERRORS as error:
        # Trying again would not help.
        raise (StoreError(f"shelve: {error}") if isinstance(error, FORBIDDEN) else unavailable(error)) from error


def reading(file: SessionFile, work: Callable[[SessionFile], T]) -> T:
    """What `work` gives. Raises StoreUnavailableError for what the dbm module raises."""
    try:
        return work(file)
    except DRIVER_ERRORS as error:
        raise unavailable(error) from error


def unavailable(error: Exception) -> StoreUnavailableError:
    """The error of this package for one of the dbm module."""
    return StoreUnavailableError(f"shelve: {error}")
