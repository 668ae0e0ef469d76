"""The file on disk: a shelf whose values are bytes, and the lock beside it."""

from __future__ import annotations

import dbm
import fcntl
import os
import shelve
from collections.abc import Collection, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

from swisper_ctx.errors import CorruptSessionError, StoreError

# Not dbm.ndbm: where it limits the size of values, it damages its file with larger ones.
MODULES = ("dbm.sqlite3", "dbm.gnu", "dbm.dumb")
"""What a new file is made with: the first that this Python has."""

SESSION = "session"
MARK, FORMAT = "\0format", b"swisper_ctx 1"
"""The key that says whose file it is. No session has it: the last part of theirs is never "format"."""

CHECKSUM = 4


def key_of(session_id: str, part: str) -> str:
    """The key of one part of a session. The last NUL ends the id, as no part has one."""
    return f"{session_id}\0{part}"


class BytesShelf(shelve.Shelf[bytes]):
    """A shelf that keeps the bytes it is given, behind a checksum of key and value.

    A Shelf pickles what it is given and unpickles what it finds, and a pickle in a file that somebody else could
    write runs what that somebody likes. Every read of a Shelf goes through `__getitem__` and every write through
    `__setitem__`; with these two replaced, neither pickler is ever called.
    """

    def __init__(self, database: MutableMapping[bytes, bytes]) -> None:
        super().__init__(database)
        self._database = database

    def __getitem__(self, key: str) -> bytes:
        name = key.encode()
        value = self._database[name]
        checksum, content = value[:CHECKSUM], value[CHECKSUM:]
        if len(checksum) < CHECKSUM or int.from_bytes(checksum, "big") != crc32(content, crc32(name)):
            raise damaged(key, "it is damaged")
        return content

    def __setitem__(self, key: str, value: bytes) -> None:
        if type(value) is not bytes:
            raise TypeError("this shelf takes bytes and nothing else")
        name = key.encode()
        self._database[name] = crc32(value, crc32(name)).to_bytes(CHECKSUM, "big") + value

    def required(self, key: str) -> bytes:
        """The value; one that is not there is damage. Raises CorruptSessionError."""
        try:
            return self[key]
        except KeyError:
            raise damaged(key, "it is missing") from None

    def session_ids(self) -> list[str]:
        """Of every session, in no order."""
        end = key_of("", SESSION).encode()
        return [name[: -len(end)].decode() for name in self._names() if name.endswith(end)]

    def erase(self, session_ids: Collection[str]) -> None:
        """Delete every key of these sessions, the one that makes them sessions last. Looks at the keys of all."""
        gone = {session_id.encode() for session_id in session_ids}
        names = [name for name in self._names() if name.rpartition(b"\0")[0] in gone and name != MARK.encode()]
        with self.deleting():
            for name in sorted(names, key=lambda name: name.endswith(key_of("", SESSION).encode())):
                del self._database[name]

    def parts(self, session_id: str) -> list[str]:
        """The parts of a session's keys, damaged values or not. Looks at the keys of all."""
        names = [name.decode().rpartition("\0") for name in self._names()]
        return [part for owner, _, part in names if owner == session_id and key_of(owner, part) != MARK]

    def copy(self, session_id: str, copy_id: str) -> None:
        """Write what there is of a session, but for its row, under another id; damaged values as they are."""
        for part in self.parts(session_id):
            key, name = key_of(session_id, part), key_of(copy_id, part)
            if part == SESSION:
                continue
            try:
                self[name] = self[key]
            except CorruptSessionError:
                self._database[name.encode()] = self._database[key.encode()]

    @contextmanager
    def deleting(self) -> Iterator[None]:
        """For deleting many keys; at the end the dbm module writes what it holds back."""
        # dbm.dumb writes its whole index after each deletion: 1,000 among 10,000 keys took 5 s, and take 7 ms so.
        held_back = vars(self._database) if type(self._database).__module__ == "dbm.dumb" else dict[str, Any]()
        held_back["_commit"] = lambda: None
        try:
            yield
        finally:
            del held_back["_commit"]
        self.sync()

    def _names(self) -> list[bytes]:
        # By keys(): the objects of dbm.gnu cannot be iterated.
        return list(self._database.keys())


def damaged(key: str, problem: str) -> CorruptSessionError:
    """The error for the value of a key."""
    session_id, _, part = key.rpartition("\0")
    return CorruptSessionError(problem, session_id=session_id, block=part)


def open_shelf(path: str) -> BytesShelf:
    """The shelf at a path, a new one if there is none. Raises StoreError for a file of anybody else."""
    shelf = BytesShelf(_open_dbm(path))
    try:
        _check_mark(shelf, path)
    except BaseException:
        shelf.close()
        raise
    return shelf


def _open_dbm(path: str) -> Any:
    kind = dbm.whichdb(path)
    if kind == "dbm.dumb" or (kind is None and _size(f"{path}.dat")):
        return _open_dumb(path)
    if kind is None:
        return _first_module().open(path, "c")
    if kind not in MODULES:
        raise _foreign(path)
    try:
        return import_module(kind).open(path, "w")
    except ImportError as error:
        raise StoreError(f"{path} was made with {kind}, which this Python lacks") from error


def _open_dumb(path: str) -> Any:
    """A file of dbm.dumb, which takes one without its index for empty, and writes over the index from before."""
    if _size(f"{path}.dat") and not _size(f"{path}.dir"):
        raise _without_index(path, "missing or empty")
    try:
        database = import_module("dbm.dumb").open(path, "w")
        for name, place in vars(database)["_index"].items():
            name.decode()
            if not (isinstance(place, tuple) and [type(number) for number in place] == [int, int] and min(place) >= 0):
                raise ValueError("an entry without its place")
    except dbm.error:
        raise
    except Exception as error:  # it evaluates each line
        raise _without_index(path, "damaged") from error
    return database


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


def _without_index(path: str, problem: str) -> StoreError:
    return StoreError(f"{path}.dir, the index of the shelf, is {problem}; {path}.bak may be the one before")


def _first_module() -> Any:
    for name in MODULES:
        with suppress(ImportError):
            return import_module(name)
    raise AssertionError("dbm.dumb is part of every Python")


def _check_mark(shelf: BytesShelf, path: str) -> None:
    try:
        mark = shelf.get(MARK)
        if mark is None and len(shelf) > 0:
            raise _foreign(path)
    except (*dbm.error, CorruptSessionError) as error:
        raise _foreign(path) from error
    if mark is None:
        shelf[MARK] = FORMAT
    elif mark != FORMAT:
        raise StoreError(f"{path} was written by a newer version of this library: upgrade it")


def _foreign(path: str) -> StoreError:
    return StoreError(f"{path} is a file of another application: give the store a path of its own")


def lock(path: str) -> int:
    """Hold the file `path`.lock for this store alone; the descriptor to unlock. Raises StoreError if another holds it.

    The kernel ends the lock with the process. It belongs to this one opening of the file: a second store in the
    same process is refused as well.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StoreError(
            f"{path} is open in another store, of this process or another: close that one, share it, or use sqlite://, "
            "which several processes may open"
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unlock(descriptor: int) -> None:
    """Let others have the file."""
    # Closing alone would leave the lock to a child that was forked meanwhile: it has the same opening of the file.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
