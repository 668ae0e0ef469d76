"""What is written to Redis of a change or a checkpoint that is durable."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from swisper_ctx.log import Change, Checkpoint, StoredSession
from swisper_ctx.stores.redis.entry import (
    Fields,
    block_fields,
    pack,
    pack_append,
    pack_creation,
    pack_moved,
)

Unfit = (ValueError, OverflowError, struct.error)
"""What packing raises for what has no form in Redis."""


class Append(NamedTuple):
    """One frame for a session that is at `parent`."""

    session_id: str
    values: tuple[bytes, bytes, bytes, bytes, bytes]
    """The parent's etag, `e`, field and value of the frame, `x` or nothing."""

    @property
    def size(self) -> int:
        """Its bytes, nearly."""
        return len(self.values[3])


class Creation(NamedTuple):
    """A session that is new, and may be put there under a lease."""

    session_id: str
    lease: bytes
    fields: Mapping[bytes, bytes]

    @property
    def size(self) -> int:
        """Its bytes, nearly."""
        return sum(map(len, self.fields.values()))


class Move(NamedTuple):
    """A checkpoint."""

    session_id: str
    stamp: bytes
    """Of the head before."""
    base: int
    gone: tuple[bytes, ...]
    fields: Mapping[bytes, bytes]

    @property
    def size(self) -> int:
        """Its bytes, nearly."""
        return sum(map(len, self.fields.values()))


class Drop(NamedTuple):
    """A session that cannot be kept there."""

    session_id: str
    size: int = 0


Write = Append | Creation | Move | Drop


def of_change(change: Change, time: int, lease: bytes | None, max_bytes: int) -> Write:
    """What to write of a change that was committed at `time`; one that creates a session needs a lease."""
    if len(change.frame) > max_bytes:
        return Drop(change.session_id)
    try:
        if change.expected is not None:
            return Append(change.session_id, pack_append(change, time))
        if lease is not None:
            return Creation(change.session_id, lease, pack_creation(change, time))
    except Unfit:
        pass
    return Drop(change.session_id)


def of_checkpoint(checkpoint: Checkpoint, max_bytes: int) -> Write:
    """What to write of a checkpoint."""
    session_id = checkpoint.session_id
    if sum(len(block.body or b"") for block in checkpoint.added) > max_bytes:
        return Drop(session_id)
    try:
        gone = tuple(field for block_id in checkpoint.dropped for field in block_fields(block_id))
        return Move(session_id, checkpoint.expected_stamp, checkpoint.head.base, gone, pack_moved(checkpoint))
    except Unfit:
        return Drop(session_id)


def of_session(stored: StoredSession, max_bytes: int) -> Fields | None:
    """The fields of a session that was read; None if it cannot be kept in Redis."""
    bodies = [block.body for block in stored.blocks] + [frame.body for frame in stored.frames]
    size = sum(len(body) for body in bodies if body is not None)
    if size > max_bytes:
        return None
    try:
        return pack(stored)
    except Unfit:
        return None
