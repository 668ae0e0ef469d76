"""What stands in the file, and in which bytes.

    ID NUL session          the row that a turn moves
    ID NUL log              which heads, blocks and frames there are: written by checkpoints alone
    ID NUL head/STAMP       the body of a head
    ID NUL block/BLOCK-ID   the body of a block
    ID NUL frame/VERSION    a frame
    ID NUL change/ID        the version that was written under a caller's change_id

Stamps and ids stand there in hex. A turn writes its frame, its change_id if it has one, and the row last: what a
process left behind that ended between them is not in the log, and the next turn writes over it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from swisper_ctx.errors import StoreError
from swisper_ctx.log import Block, Etag, Frame, Head
from swisper_ctx.stores.shelve.shelf import SESSION, BytesShelf, damaged, key_of

T = TypeVar("T")

LOG = "log"
# Of one length through the life of a session: dbm.dumb then rewrites it in place, and its index, which it keeps in
# memory until it is closed, stays true.
ROW = struct.Struct(">qq16sqqqqq")
NEVER = -(2**63)
FRAME = struct.Struct(">I")
"""The length of the JSON before the patch."""


class Row(NamedTuple):
    """One session, but for its log. `key` grows with each session created."""

    key: int
    etag: Etag
    epoch: int
    messages: int
    created_at: int
    updated_at: int
    expires_at: int | None
    user_id: str

    def has_expired(self, now: int) -> bool:
        """Whether that time has come."""
        return self.expires_at is not None and self.expires_at <= now


class HeadRow(NamedTuple):
    """A head, but for its body."""

    base: int
    stamp: bytes
    written_at: int


class BlockRow(NamedTuple):
    """A block, in use by the heads from `used_from` up to, not with, `dropped_at`."""

    block_id: bytes
    field: str
    position: int
    records: int
    used_from: int
    dropped_at: int | None


class Log(NamedTuple):
    """Heads in the order of their bases; frames are there from version `first` on, with patches above `stripped`."""

    heads: tuple[HeadRow, ...]
    blocks: tuple[BlockRow, ...]
    first: int
    stripped: int


def part_of_head(stamp: bytes) -> str:
    """The key of a head, after its session's id."""
    return f"head/{stamp.hex()}"


def part_of_block(block_id: bytes) -> str:
    """The key of a block, after its session's id."""
    return f"block/{block_id.hex()}"


def part_of_frame(version: int) -> str:
    """The key of a frame, after its session's id."""
    return f"frame/{version}"


def part_of_change(change_id: str) -> str:
    """The key of a change_id, after its session's id."""
    return f"change/{change_id.encode().hex()}"


def get_row(shelf: BytesShelf, session_id: str) -> Row:
    """The row of a session that exists. This and what follows raises CorruptSessionError."""

    def decode(value: bytes) -> Row:
        key, version, token, epoch, messages, created, updated, expires = ROW.unpack_from(value)
        times = created, updated, None if expires == NEVER else expires
        return Row(key, Etag(version, token), epoch, messages, *times, value[ROW.size :].decode())

    return _decoded(shelf, key_of(session_id, SESSION), decode)


def put_row(shelf: BytesShelf, session_id: str, row: Row) -> None:
    """Raises StoreError for what no row can hold."""
    shelf[key_of(session_id, SESSION)] = encoded_row(row)


def encoded_row(row: Row) -> bytes:
    """Raises StoreError for what no row can hold."""
    if len(row.etag.token) != 16:
        raise StoreError("a token has 16 bytes")
    expires = NEVER if row.expires_at is None else row.expires_at
    numbers = row.epoch, row.messages, row.created_at, row.updated_at, expires
    try:
        return ROW.pack(row.key, *row.etag, *numbers) + row.user_id.encode()
    except (struct.error, ValueError) as error:
        raise StoreError(f"cannot be stored: {error}") from error


def get_log(shelf: BytesShelf, session_id: str) -> Log:
    """The log of a session that exists."""

    def decode(value: bytes) -> Log:
        heads, blocks, first, stripped = json.loads(value)
        return Log(
            tuple(HeadRow(base, bytes.fromhex(stamp), time) for base, stamp, time in heads),
            tuple(BlockRow(bytes.fromhex(block_id), *rest) for block_id, *rest in blocks),
            first,
            stripped,
        )

    return _decoded(shelf, key_of(session_id, LOG), decode)


def put_log(shelf: BytesShelf, session_id: str, log: Log) -> None:
    """As long as the log has heads and blocks: for checkpoints, not for turns."""
    heads = [(base, stamp.hex(), time) for base, stamp, time in log.heads]
    blocks = [(block.block_id.hex(), *block[1:]) for block in log.blocks]
    shelf[key_of(session_id, LOG)] = json.dumps([heads, blocks, log.first, log.stripped]).encode()


def get_frame(shelf: BytesShelf, session_id: str, version: int) -> Frame:
    """One frame, which must be there."""

    def decode(value: bytes) -> Frame:
        (length,) = FRAME.unpack_from(value)
        body = FRAME.size + length
        token, change_id, time, has_patch = json.loads(value[FRAME.size : body])
        return Frame(version, bytes.fromhex(token), change_id, time, value[body:] if has_patch else None)

    return _decoded(shelf, key_of(session_id, part_of_frame(version)), decode)


def put_frame(shelf: BytesShelf, session_id: str, frame: Frame) -> None:
    """Write a frame, or write it again without its patch."""
    details = json.dumps([frame.token.hex(), frame.change_id, frame.time, frame.body is not None]).encode()
    value = FRAME.pack(len(details)) + details + (frame.body or b"")
    shelf[key_of(session_id, part_of_frame(frame.version))] = value


def put_named_frame(shelf: BytesShelf, session_id: str, frame: Frame) -> None:
    """Write a frame, and where its change_id leads, if it has one."""
    put_frame(shelf, session_id, frame)
    if frame.change_id is not None:
        shelf[key_of(session_id, part_of_change(frame.change_id))] = str(frame.version).encode()


def parts_of(frame: Frame) -> Iterator[str]:
    """The keys of a frame, after its session's id."""
    yield part_of_frame(frame.version)
    if frame.change_id is not None:
        yield part_of_change(frame.change_id)


def get_head(shelf: BytesShelf, session_id: str, row: HeadRow) -> Head:
    """With its body."""
    return Head(row.base, row.stamp, shelf.required(key_of(session_id, part_of_head(row.stamp))))


def get_block(shelf: BytesShelf, session_id: str, row: BlockRow) -> Block:
    """With its body."""
    return Block(*row[:4], shelf.required(key_of(session_id, part_of_block(row.block_id))))


def _decoded(shelf: BytesShelf, key: str, decode: Callable[[bytes], T]) -> T:
    value: Any = shelf.required(key)
    try:
        return decode(value)
    except (ValueError, TypeError, struct.error) as error:
        raise damaged(key, "it is not what this library writes") from error
