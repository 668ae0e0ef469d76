"""What the type checkers must make of the public API; nothing here is run."""

from __future__ import annotations

from typing import assert_type

from swisper_ctx.errors import ConflictError, ContextError, DecodeError, EncodeError
from swisper_ctx.log import Etag


def etag(one: Etag) -> None:
    assert_type(one.version, int)
    assert_type(one.token, bytes)


def errors(encoding: EncodeError, decoding: DecodeError, conflict: ConflictError) -> tuple[ContextError, ...]:
    assert_type(encoding.pointer, str)
    assert_type(decoding.index, int | None)
    assert_type(conflict.expected, Etag | None)
    return encoding, decoding, conflict
