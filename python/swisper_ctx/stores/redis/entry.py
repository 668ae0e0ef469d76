"""A session as the fields of a Redis hash, and back.

Each value begins with a CRC-32 of the rest, its field and the session: what was damaged, or stands in another place,
is told from what was written here. It is no protection against who can write to that Redis; encryption is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NoReturn
from zlib import crc32

from swisper_ctx.log import Block, Change, Checkpoint, Etag, Frame, Head, StoredSession, plain_body

Fields = dict[bytes, bytes]

SUM = struct.Struct("<I")
STATE = struct.Struct("<Iq")
"""crc, updated_at; then the etag, which scripts compare: the version as `<Q`, and the token."""
EXPIRY = struct.Struct("<Iq")
"""crc, expires_at, or -1."""
OWNER = struct.Struct("<IQq")
"""crc, epoch, created_at; then the user id."""
HEAD = struct.Struct("<IQB")
"""crc, base, bytes of the stamp; then the stamp, which scripts compare, and the body."""
BLOCK = struct.Struct("<IIq")
"""crc, records, position; then the field."""
FRAME = struct.Struct("<IqBHB")
"""crc, time, bytes of the token and of the change_id (UNNAMED: there is none), whether there is a body; then those."""
TIME, NUMBERS = struct.Struct("<q"), struct.Struct("<qBHB")
"""STATE and FRAME without the crc."""
UNNAMED = 0xFFFF
BYTES_OF_ID = 16


class DamagedEntryError(Exception):
    """These are not the bytes that were written, or not all of them."""


# -- writing


def pack(stored: StoredSession) -> Fields:
    """The fields of a whole session. Raises ValueError or struct.error for what does not fit."""
    if stored.head is None:
        raise ValueError("a session without its head")
    session_id = stored.session_id
    fields = {
        b"e": pack_state(session_id, stored.etag, stored.updated_at),
        b"x": pack_expiry(session_id, stored.expires_at),
        b"u": pack_owner(session_id, stored.user_id, stored.epoch, stored.created_at),
        b"h": pack_head(session_id, stored.head),
    }
    for block in stored.blocks:
        fields.update(pack_block(session_id, block))
    fields.update(pack_frame(session_id, frame) for frame in stored.frames)
    return fields


def pack_creation(change: Change, time: int) -> Fields:
    """The fields of a session that was just created."""
    if change.head is None:
        raise ValueError("a change that creates a session has a head")
    field, frame = pack_frame(
        change.session_id, Frame(change.etag.version, change.etag.token, change.change_id, time, change.frame)
    )
    return {
        b"e": pack_state(change.session_id, change.etag, time),
        b"x": pack_expiry(change.session_id, change.expiry()),
        b"u": pack_owner(change.session_id, change.user_id, change.epoch, time),
        b"h": pack_head(change.session_id, change.head),
        field: frame,
    }


def pack_append(change: Change, time: int) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """What APPEND takes of a change that was committed at `time`: the parent's etag, `e`, the frame, perhaps `x`.

    It is what `pack_state` and `pack_frame` give, in a third of the time: every turn comes here.
    """
    session_id, _, expected, (version, token), frame, change_id, _, _, expires_at, *_ = change
    if expected is None:
        raise ValueError("a change that creates a session has no parent")
    session = crc32(session_id.encode())
    state = TIME.pack(time) + version.to_bytes(8, "little") + token
    field = b"f%d" % version
    named = b"" if change_id is None else change_id.encode()
    length = UNNAMED if change_id is None else len(named)
    about = NUMBERS.pack(time, len(token), length, 1) + token + named
    return (
        expected[0].to_bytes(8, "little") + expected[1],
        crc32(state, crc32(b"e", session)).to_bytes(4, "little") + state,
        field,
        b"".join((crc32(frame, crc32(about, crc32(field, session))).to_bytes(4, "little"), about, frame)),
        b"" if expires_at is None else pack_expiry(session_id, change.expiry()),
    )


def pack_moved(checkpoint: Checkpoint) -> Fields:
    """The fields that a checkpoint writes."""
    fields = {b"h": pack_head(checkpoint.session_id, checkpoint.head)}
    for block in checkpoint.added:
        fields.update(pack_block(checkpoint.session_id, block))
    return fields


def pack_state(session_id: str, etag: Etag, updated_at: int) -> bytes:
    """The field `e`."""
    return _checked(session_id, b"e", STATE.pack(0, updated_at) + etag_bytes(etag))


def pack_expiry(session_id: str, expires_at: int | None) -> bytes:
    """The field `x`."""
    return _checked(session_id, b"x", EXPIRY.pack(0, -1 if expires_at is None else expires_at))


def pack_owner(session_id: str, user_id: str, epoch: int, created_at: int) -> bytes:
    """The field `u`."""
    return _checked(session_id, b"u", OWNER.pack(0, epoch, created_at) + user_id.encode())


def pack_head(session_id: str, head: Head) -> bytes:
    """The field `h`."""
    return _checked(session_id, b"h", HEAD.pack(0, head.base, len(head.stamp)) + head.stamp + head.body)


def pack_block(session_id: str, block: Block) -> Fields:
    """The two fields of a block."""
    place, body = block_fields(block.block_id)
    about = BLOCK.pack(0, block.records, block.position) + block.field.encode()
    content = bytes(4) + plain_body(block.body)
    return {place: _checked(session_id, place, about), body: _checked(session_id, body, content)}


def pack_frame(session_id: str, frame: Frame) -> tuple[bytes, bytes]:
    """Field and value of a frame."""
    field, name, body = frame_field(frame.version), frame.change_id, frame.body
    named = b"" if name is None else name.encode()
    length = UNNAMED if name is None else len(named)
    numbers = FRAME.pack(0, frame.time, len(frame.token), length, body is not None)
    return field, _checked(session_id, field, b"".join((numbers, frame.token, named, body or b"")))


def etag_bytes(etag: Etag) -> bytes:
    """An etag as scripts compare it."""
    return etag.version.to_bytes(8, "little") + etag.token


def block_fields(block_id: bytes) -> tuple[bytes, bytes]:
    """The fields that a block has: its place and its body. Raises ValueError for an id of another length."""
    if len(block_id) != BYTES_OF_ID:
        raise ValueError("a block id has 16 bytes")
    return b"d" + block_id, b"b" + block_id


def frame_field(version: int) -> bytes:
    """The field of a frame."""
    return b"f%d" % version


def _checked(session_id: str, field: bytes, value: bytes) -> bytes:
    return _sum(session_id, field, value).to_bytes(4, "little") + value[4:]


def _sum(session_id: str, field: bytes, value: bytes) -> int:
    return crc32(memoryview(value)[4:], crc32(field, crc32(session_id.encode())))


# -- reading


class Entry:
    """The fields that were read of one session."""

    def __init__(self, session_id: str, fields: Mapping[bytes, bytes]) -> None:
        self.session_id, self._fields = session_id, fields

    @property
    def etag(self) -> Etag:
        """The etag of what is here. Raises DamagedEntryError, as everything here."""
        value = self._value(b"e", STATE)
        version = value[STATE.size : STATE.size + 8]
        return Etag(int.from_bytes(version, "little"), value[STATE.size + 8 :])

    def session(self, *, after: int | None = None, is_tail: bool = False) -> StoredSession | None:
        """What a store reads: whole, or with `after` only the frames after that version, None if they are not here.

        Of a tail not every block has its body.
        """
        base, head = self._head()
        if after is not None and after < base:
            return None
        etag = self.etag
        _, updated_at = STATE.unpack_from(self._fields[b"e"])
        _, expires_at = EXPIRY.unpack_from(self._value(b"x", EXPIRY))
        user_id, epoch, created_at = self._owner()
        times = created_at, updated_at, None if expires_at < 0 else expires_at
        about = self.session_id, user_id, etag, epoch, *times
        frames = tuple(self._frames(base if after is None else after, etag))
        if after is not None:
            return StoredSession(*about, None, (), frames)
        return StoredSession(*about, head, tuple(self._blocks(is_tail)), frames)

    def blocks(self) -> tuple[Block, ...]:
        """The blocks that were read."""
        return tuple(self._blocks(is_tail=False))

    def _blocks(self, is_tail: bool) -> Iterable[Block]:
        found = []
        for field in self._fields:
            if field[:1] != b"d" or len(field) != 1 + BYTES_OF_ID:
                continue
            value = self._value(field, BLOCK)
            _, records, position = BLOCK.unpack_from(value)
            found.append((_text(value[BLOCK.size :]), position, field[1:], records))
        for name, position, block_id, records in sorted(found):
            _, field = block_fields(block_id)
            body = None if is_tail and field not in self._fields else self._value(field)[4:]
            yield Block(block_id, name, position, records, body)

    def _head(self) -> tuple[int, Head]:
        value = self._value(b"h", HEAD)
        _, base, length = HEAD.unpack_from(value)
        body = HEAD.size + length
        return base, Head(base, value[HEAD.size : body], value[body:])

    def _owner(self) -> tuple[str, int, int]:
        value = self._value(b"u", OWNER)
        _, epoch, created_at = OWNER.unpack_from(value)
        return _text(value[OWNER.size :]), epoch, created_at

    def _frames(self, after: int, etag: Etag) -> Iterable[Frame]:
        """Those up to the etag, to which the last of them must have led."""
        frame = None
        for version in range(after + 1, etag.version + 1):
            frame = self._frame(version)
            yield frame
        if frame is not None and frame.token != etag.token:
            _damaged()

    def _frame(self, version: int) -> Frame:
        value = self._value(frame_field(version), FRAME)
        _, time, length, named, has_body = FRAME.unpack_from(value)
        name = FRAME.size + length
        body = name if named == UNNAMED else name + named
        change_id = None if named == UNNAMED else _text(value[name:body])
        return Frame(version, value[FRAME.size : name], change_id, time, value[body:] if has_body else None)

    def _value(self, field: bytes, shape: struct.Struct = SUM) -> bytes:
        value = self._fields.get(field)
        if not isinstance(value, bytes) or len(value) < shape.size:
            _damaged()
        if int.from_bytes(value[:4], "little") != _sum(self.session_id, field, value):
            _damaged()
        return value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        _damaged()


def _damaged() -> NoReturn:
    raise DamagedEntryError
