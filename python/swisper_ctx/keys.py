"""The keys of encryption at rest. No key stands in a repr, an error, or a log."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from swisper_ctx.errors import StoreError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

Key: TypeAlias = bytes | str
"""A Fernet key: 32 bytes in URL-safe base64."""

KEY_SIZE = 32
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyProvider(Protocol):
    """Knows the keys of the moment, from a vault or a file that changes."""

    def keys(self) -> Sequence[Key]:
        """The keys: the first encrypts, all decrypt. Called for each load and each group of saves; must not block.

        What it raises fails those as StoreUnavailableError, unless it is an error of this package.
        """


Keys: TypeAlias = Key | Sequence[Key] | KeyProvider


class Keyring:
    """Some Fernet keys: the first encrypts, all decrypt.

    Raises ValueError for what is no key, and StoreError where `cryptography` is not installed.
    """

    __slots__ = ("_keys", "cipher")

    cipher: MultiFernet
    """The same keys, as `cryptography` knows them."""

    def __init__(self, keys: Key | Sequence[Key]) -> None:
        try:
            from cryptography.fernet import Fernet, MultiFernet

            from swisper_ctx.fernet import FernetKey
        except ModuleNotFoundError as missing:
            if (missing.name or "").partition(".")[0] != "cryptography":
                raise
            raise StoreError("encryption needs cryptography: pip install 'swisper_ctx[encryption]'") from None
        decoded = [decoded_key(key) for key in ([keys] if isinstance(keys, bytes | str) else keys)]
        if not decoded or None in decoded:
            which = (
                f"key {decoded.index(None) + 1} of {len(decoded)} is no Fernet key" if decoded else "there is no key"
            )
            raise ValueError(f"{which}: 32 bytes in URL-safe base64, as swisper-ctx keygen makes them")
        found = [key for key in decoded if key is not None]
        self._keys = [FernetKey(key) for key in found]
        self.cipher = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in found])

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring of {len(self)} key{'' if len(self) == 1 else 's'}>"

    def seal(self, body: bytes) -> bytes:
        """The Fernet token around a body, under the first key, without base64."""
        return self._keys[0].seal(body)

    def open(self, token: bytes) -> bytes | None:
        """The body in such a token; None if no key opens it."""
        for key in self._keys:
            body = key.open(token)
            if body is not None:
                return body
        return None

    def number(self, token: bytes) -> int | None:
        """Which key has signed a token, counted from 0; None if none has."""
        return next((number for number, key in enumerate(self._keys) if key.has_signed(token)), None)


def decoded_key(key: object) -> bytes | None:
    """The 32 bytes of a key, None if it is none."""
    try:
        text = key if isinstance(key, bytes) else str(key).encode("ascii") if isinstance(key, str) else b""
        decoded = base64.b64decode(text.strip(), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    return decoded if len(decoded) == KEY_SIZE else None


def is_token(body: object) -> bool:
    """Whether a body has the form of a Fernet token without base64: version, time, vector, whole blocks, MAC."""
    return isinstance(body, bytes) and body[:1] == b"\x80" and len(body) >= 73 and len(body) % 16 == 9


def new_key() -> str:
    """A new Fernet key, from the random numbers of the operating system."""
    return base64.urlsafe_b64encode(os.urandom(KEY_SIZE)).decode()


class KeyFile:
    """A file with one key a line, newest first, that its owner alone may read: a KeyProvider.

    Lines that are empty or begin with # do not count. It is read anew whenever it has changed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"KeyFile({str(self._path)!r})"

    def keys(self) -> tuple[str, ...]:
        """The keys. Raises StoreError for a file that cannot be read, or that others may read."""
        try:
            about = self._look()
            seen = about.st_ino, about.st_mtime_ns, about.st_size
            if seen != self._seen:
                self._keys, self._seen = key_lines(self._path.read_bytes()), seen
        except OSError as error:
            raise StoreError(f"the key file cannot be read: {error}") from None
        if not self._keys:
            raise StoreError(f"{self._path} has no key: swisper-ctx keygen makes one")
        return self._keys

    def put_first(self, key: str) -> None:
        """Write a key above everything else in the file, which is replaced whole, and made if need be.

        When this returns the key survives a power cut. Raises StoreError.
        """
        try:
            path = self._path.resolve()  # a link goes on leading there
            before = path.read_bytes() if path.exists() and self._look() else b""
            _replace(path, key.encode() + b"\n" + before)
        except OSError as error:
            raise StoreError(f"the key file cannot be written: {error}") from None

    def _look(self) -> os.stat_result:
        about = self._path.stat()
        if about.st_mode & OTHERS:
            raise StoreError(f"{self._path} may be read or written by others: chmod 600 {self._path}")
        return about


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Written over it, the key that somebody else is adding would be lost.
        problem = f"{beside} is in the way: it belongs to a keygen that is running, or remove it"
        raise StoreError(problem) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def key_lines(content: bytes) -> tuple[str, ...]:
    """The keys in the content of a key file."""
    lines = [line.strip() for line in content.decode("ascii", "replace").splitlines()]
    return tuple(line for line in lines if line and not line.startswith("#"))


def named_keys(value: str) -> Keys:
    """The keys that SWISPER_KEYS means: themselves, with commas between them, or the path of a key file.

    Raises ValueError, without the value: it may be a key with a slip in it.
    """
    parts = [part.strip() for part in value.split(",")]
    if all(decoded_key(part) for part in parts):
        return parts
    with suppress(OSError):  # longer than a name may be
        if Path(value).is_file():
            return KeyFile(value)
    raise ValueError("SWISPER_KEYS has neither keys, with commas between them, nor the path of a key file")
