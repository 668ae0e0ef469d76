"""What a version changed, from its frame."""

from __future__ import annotations

import json

from swisper_ctx._core import patch_of
from swisper_ctx.errors import CorruptSessionError
from swisper_ctx.log import Frame, VersionInfo


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
