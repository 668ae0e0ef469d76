"""The versions of a session: what each changed, from its frame, and the session as it was at one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from swisper_ctx._core import patch_of
from swisper_ctx.context import SwisperContext
from swisper_ctx.errors import CorruptSessionError, SessionNotFoundError, VersionUnavailableError
from swisper_ctx.log import Etag, Frame, StoredSession, VersionInfo, check_version, countable
from swisper_ctx.stores.loaded import opened
from swisper_ctx.stores.saving import NEWEST

if TYPE_CHECKING:
    from swisper_ctx.stores.base import SessionStore

C = TypeVar("C", bound=SwisperContext)


async def history(store: SessionStore, session_id: str, user_id: str | None, after: int) -> tuple[VersionInfo, ...]:
    """See `SessionStore.history`."""
    check_version(after)
    stored = await store.read(session_id, after=Etag(countable(after), b""))
    if stored is None or not await _is_of(store, stored, user_id):
        raise SessionNotFoundError(f"no session {session_id}")
    return tuple(version_info(session_id, stored.epoch, frame) for frame in stored.frames)


async def _is_of(store: SessionStore, stored: StoredSession, user_id: str | None) -> bool:
    """Whether the session is this user's, if one is given. Raises CorruptSessionError."""
    if user_id is None:
        return True
    if stored.user_id != user_id:
        return False
    # The row, which nothing authenticates, names this user: the head that a load opens must do so too.
    loaded = await store._loaded(stored.session_id, SwisperContext._unopened, tail=0, strict=True)
    return loaded is not None and loaded.user_id == user_id


async def at_version(
    store: SessionStore, session_id: str, version: int, user_id: str | None, context_class: type[C]
) -> C:
    """See `SessionStore.at_version`."""
    check_version(version)
    now = await store.read(session_id, after=NEWEST)
    is_visible = now is not None and user_id in (None, now.user_id)
    stored = await read_version(store, session_id, version) if is_visible else None
    if stored is None or user_id not in (None, stored.user_id):
        raise SessionNotFoundError(f"no session {session_id}")
    context = opened(stored, context_class)
    context._position.past = stored.etag
    return context


async def read_version(store: SessionStore, session_id: str, version: int) -> StoredSession | None:
    """As `SessionStore.read_version`, for whatever is given as a version. Raises TypeError for what is no int."""
    check_version(version)
    try:
        return await store.read_version(session_id, countable(version))
    except VersionUnavailableError as error:
        raise VersionUnavailableError(version, error.oldest, error.newest) from None


def version_info(session_id: str, epoch: int, frame: Frame) -> VersionInfo:
    """What is known of the version that a frame stands for. Raises CorruptSessionError."""
    patch = patch_text(session_id, epoch, frame)
    size, paths = (None, None) if frame.body is None or patch is None else (len(frame.body), touched(patch))
    return VersionInfo(frame.version, frame.time, frame.change_id, size, paths)


def patch_text(session_id: str, epoch: int, frame: Frame) -> bytes | None:
    """The JSON Patch of a frame, None if it is no longer kept. Raises CorruptSessionError."""
    if frame.body is None:
        return None
    try:
        return patch_of(session_id, epoch, frame.version, frame.body)
    except TypeError as error:
        # SQLite keeps values of any type in any column.
        problem = "a value of the wrong kind is stored"
        raise CorruptSessionError(problem, session_id=session_id, block=f"frame {frame.version}") from error


def touched(patch: bytes) -> tuple[str, ...]:
    """The paths that a patch changes, each once, in its order."""
    # Numbers are not looked at: Python refuses to make an int of more than 4300 digits.
    operations = json.loads(patch, parse_int=str, parse_float=str)
    changes = [operation for operation in operations if operation["op"] != "test"]
    return tuple(dict.fromkeys(operation[end] for operation in changes for end in ("from", "path") if end in operation))
