"""The session log as stores see it: small tuples of names, numbers and bytes.

    head      one for each checkpoint: the version it stands for, and what its blocks are
    blocks    immutable parts of the state at that version
    frames    one JSON Patch for each version after it

Times are integers, microseconds since 1970-01-01 UTC. Bytes are envelopes: a store keeps them as they are.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Literal, NamedTuple, Protocol

GRACE_VERSIONS = 128
GRACE_TIME = 600_000_000
"""A head that was replaced, its blocks and the patches before it stay for so many versions and microseconds more.

Of the oldest head kept the frame stays too, without its patch: it has the etag of that version.
"""

RETRY_WINDOW = 86_400_000_000
"""So long a frame without its patch still answers whether a change_id was written, in microseconds."""


NEVER = 2**63 - 1
"""The time at which a session expires that is to be kept for ever; it is stored as None."""


class Etag(NamedTuple):
    """The identity of one state of a session: compared as a whole, never by version alone."""

    version: int
    token: bytes
    """16 random bytes, drawn for each save."""


class Sealed(Protocol):
    """A body that is opened when it is needed: see `stores/encrypted.py`."""

    size: int
    """The bytes that it has while it is sealed."""

    def open(self) -> bytes:
        """The envelope. Raises DecryptionError."""

    def __len__(self) -> int:
        """The same, for who asks of bytes and of these alike."""


def sized(row: Any, *content: str) -> str:
    """A named tuple as such are shown, with sizes in the place of its content: logs and tracebacks show it."""
    values: dict[str, Any] = row._asdict()
    shown = (f"{name}={size(value) if name in content else repr(value)}" for name, value in values.items())
    return f"{type(row).__name__}({', '.join(shown)})"


def size(content: Any) -> str:
    """Of a body or a text; of what else SQLite may hold in their place, the type."""
    if not isinstance(content, Sized):
        return "None" if content is None else f"<{type(content).__name__}>"
    return f"<{len(content)} {'characters' if isinstance(content, str) else 'bytes'}>"


class Head(NamedTuple):
    """A checkpoint: `body` describes the state at version `base`, whose content stands in the blocks."""

    base: int
    stamp: bytes
    """16 random bytes, drawn whenever a head is written: what the next checkpoint compares."""
    body: bytes

    def __repr__(self) -> str:
        return sized(self, "body")


def plain_body(body: bytes | Sealed | None) -> bytes:
    """The bytes of a body that must be here. Raises DecryptionError."""
    if body is None:
        raise ValueError("a block without its body")
    return body if isinstance(body, bytes) else body.open()


class Block(NamedTuple):
    """One immutable part of a checkpoint. Blocks of a field stand in the order of `position`.

    `body` is None where a read of the last records left it in the store.
    """

    block_id: bytes
    field: str
    """The record list it belongs to, the one large field it holds, or "" for the small fields together."""
    position: int
    records: int
    body: bytes | Sealed | None

    def __repr__(self) -> str:
        return sized(self, "body")


class Frame(NamedTuple):
    """One version: who wrote it is `change_id`, if the caller named it; `body` is None once its patch is purged."""

    version: int
    token: bytes
    change_id: str | None
    time: int
    body: bytes | None

    def __repr__(self) -> str:
        return sized(self, "body")


class StoredSession(NamedTuple):
    """What one read of one session gives, all of one moment.

    A whole read has the newest head, its blocks and every frame after its base. A read `after` an etag has no
    head and no blocks, and the frames after that version; `frames[0]` names that etag as its parent, or the log
    does not lead there.
    """

    session_id: str
    user_id: str
    etag: Etag
    epoch: int
    created_at: int
    updated_at: int
    expires_at: int | None
    head: Head | None
    blocks: tuple[Block, ...]
    frames: tuple[Frame, ...]


class ExecutionCopy(NamedTuple):
    """What people's queries see of one pipeline execution; `record` and `metrics` are JSON, None where left out."""

    execution_id: str
    pipeline_name: str
    numbers: str
    """A JSON object of its status, times and duration: what is shown where the record is left out."""
    record: str | None
    metrics: str | None
    created_at: str | None
    """RFC 3339."""

    def __repr__(self) -> str:
        return sized(self, "record", "metrics")


class SessionCopy(NamedTuple):
    """What people's queries see of a session; `content` is a JSON object of its small fields, None where left out."""

    user_id: str
    content: str | None

    def __repr__(self) -> str:
        return sized(self, "content")


class Projection(NamedTuple):
    """Copies for people's queries: a store writes them beside the log, if it can, and never reads them."""

    session: SessionCopy | None = None
    executions: tuple[ExecutionCopy, ...] = ()

    def without_content(self) -> Projection:
        """Names and numbers alone."""
        session = None if self.session is None else self.session._replace(content=None)
        return Projection(session, tuple(each._replace(record=None, metrics=None) for each in self.executions))


class Change(NamedTuple):
    """One version to be written. Without `expected` it creates the session, and `head` is its first head."""

    session_id: str
    user_id: str
    expected: Etag | None
    etag: Etag
    frame: bytes
    change_id: str | None = None
    messages: int | None = None
    """How many messages the session has from now on; None leaves the number as it is."""
    head: Head | None = None
    expires_at: int | None = None
    """When the session expires from now on, NEVER for not at all; None leaves it as it is."""
    epoch: int = 0
    projection: Projection | None = None
    since: float | None = None
    """When it was handed over, as time.monotonic counts: its store counts from then how long it has waited."""

    def __repr__(self) -> str:
        return sized(self, "frame")

    def expiry(self, before: int | None = None) -> int | None:
        """The time at which the session expires after this change, given that before it."""
        if self.expires_at is None:
            return before
        return None if self.expires_at == NEVER else self.expires_at


class CommitResult(NamedTuple):
    """What became of one change: committed at `time`, refused (`time` None), or failed with `error`."""

    time: int | None
    error: Exception | None = None


class Checkpoint(NamedTuple):
    """A new head in the place of the one with `expected_stamp`: which blocks come, which are no longer used."""

    session_id: str
    expected_stamp: bytes
    head: Head
    added: tuple[Block, ...]
    dropped: tuple[bytes, ...]
    projection: Projection | None = None


class KeptBlock(NamedTuple):
    """A block with the heads that use it: from the one at `used_from` up to, not with, the one at `dropped_at`."""

    block: Block
    used_from: int
    dropped_at: int | None


class Remains(NamedTuple):
    """All that is kept of a session, sound or not, in the order of bases and versions; `problems` is what is not.

    `unopened` says how many bodies have the form of sealed ones, and no key here has opened them.
    """

    session_id: str
    user_id: str
    etag: Etag
    epoch: int
    created_at: int
    heads: tuple[Head, ...]
    blocks: tuple[KeptBlock, ...]
    frames: tuple[Frame, ...]
    problems: tuple[str, ...]
    unopened: int = 0


class Restoration(NamedTuple):
    """A session written anew at `etag`, which follows on `expected`; what there was goes under `quarantine_id`.

    `frames` are those before that of `etag`, without their patches and without a gap.
    """

    session_id: str
    quarantine_id: str
    expected: Etag
    etag: Etag
    epoch: int
    messages: int
    head: Head
    blocks: tuple[Block, ...]
    frames: tuple[Frame, ...]


class StoredBody(NamedTuple):
    """One body as a store keeps it, of any head, block or frame."""

    kind: Literal["head", "block", "frame"]
    key: bytes | int
    """The stamp of a head, the id of a block, the version of a frame."""
    body: bytes

    def __repr__(self) -> str:
        return sized(self, "body")


class VersionInfo(NamedTuple):
    """One version of a session, and what it changed; `size` and `paths` are None once its patch is purged."""

    version: int
    time: int
    change_id: str | None
    size: int | None
    """The bytes that are stored of its patch."""
    paths: tuple[str, ...] | None
    """The JSON Pointers that it touched, each once and in its order; "" is everything."""


class SessionInfo(NamedTuple):
    """One line of a listing."""

    session_id: str
    user_id: str
    version: int
    messages: int
    created_at: int
    updated_at: int
    expires_at: int | None


class SessionPage(NamedTuple):
    """A page of a listing, newest first; `cursor` asks for the next one, None at the end."""

    sessions: tuple[SessionInfo, ...]
    cursor: str | None


LARGEST = 2**63 - 1
"""The largest number that every store can be asked for."""


def check_limit(limit: int) -> None:
    """Raise ValueError for a page of less than one session, or of more than a store can count."""
    if not 1 <= limit <= LARGEST:
        raise ValueError("limit must be at least 1 and below 2**63")


def check_version(version: object) -> None:
    """Raise TypeError for what is no number of a version."""
    if not isinstance(version, int) or isinstance(version, bool):
        raise TypeError(f"a version must be an int, not {type(version).__name__}")


def countable(version: int) -> int:
    """A version that every store can be asked for, and that is as far outside of what there is."""
    return max(0, min(version, LARGEST))


def check_tail(tail: int | None) -> None:
    """Raise ValueError for a number of records that none of a list can be."""
    if tail is not None and not 0 <= tail <= LARGEST:
        raise ValueError("tail must be at least 0 and below 2**63")
