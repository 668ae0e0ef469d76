"""A session of its own that begins where another one is, or was."""

from __future__ import annotations

from typing import Any, TypeVar

from swisper_ctx._core import plain
from swisper_ctx.context import SwisperContext, new_session_id

C = TypeVar("C", bound=SwisperContext)

PARENT = "forked_from"
"""The field in which a fork has the session and version that it came from."""


def forked(source: C, new_id: str | None) -> C:
    """A new context with the content of another; it has no history yet, and is saved as a new session."""
    position = source._position
    fork = type(source)(session_id=new_id or new_session_id(), user_id=position.user_id)
    unknown: dict[str, Any] = {}
    for name in position.snapshot.names:
        spec, value = source._fields.get(name), position.snapshot.get(name)
        if spec is None:
            unknown[name] = plain(value)
        elif spec.record_class is None:
            fork.__dict__[name] = spec.decode(value)
        else:
            getattr(fork, name)[:] = value
    fork._position.unknown = unknown | {PARENT: {"session_id": position.session_id, "version": position.version}}
    return fork
