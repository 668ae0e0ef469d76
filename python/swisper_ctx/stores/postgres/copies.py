"""The copies of a change or a checkpoint as the text that `swisper_copy` takes: JSON, for JSONB columns."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from swisper_ctx.context import moment
from swisper_ctx.log import NEVER, ExecutionCopy, Projection, SessionCopy

log = logging.getLogger("swisper_ctx.store")

NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""An escape of U+0000, which JSONB does not take: not the end of an escaped backslash."""


def copy_text(session_id: str, projection: Projection | None, expires_at: int | None = None) -> str | None:
    """What a projection copies into `sessions` and `pipeline_executions`; None if nothing."""
    if projection is None:
        return None
    members: dict[str, str] = {}
    if projection.session is not None:
        members["session"] = _session(session_id, projection.session, expires_at)
    if projection.executions:
        rows = ", ".join(_execution(session_id, execution) for execution in projection.executions)
        members["executions"] = f"[{rows}]"
    return NUL.sub(r"\1\\ufffd", _object(members))


def _session(session_id: str, session: SessionCopy, expires_at: int | None) -> str:
    now = json.dumps(datetime.now(UTC).isoformat())
    # Of one that is kept for ever; where nothing is said it stays as it was.
    end = "infinity" if expires_at == NEVER else expires_at and str(moment(expires_at))
    return _object(
        {
            "session_id": json.dumps(session_id),
            "user_id": json.dumps(session.user_id),
            "context_data": session.content or "{}",
            "created_at": now,
            "updated_at": now,
            "expires_at": json.dumps(end),
        }
    )


def _execution(session_id: str, execution: ExecutionCopy) -> str:
    return _object(
        {
            "execution_id": json.dumps(execution.execution_id),
            "session_id": json.dumps(session_id),
            "pipeline_name": json.dumps(execution.pipeline_name),
            "execution_data": execution.record or execution.numbers,
            "performance_metrics": execution.metrics or "null",
            "created_at": json.dumps(execution.created_at or datetime.now(UTC).isoformat()),
        }
    )


def _object(members: dict[str, Any]) -> str:
    """Of values that are JSON already."""
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}"


def tell_failed(failed: int | None) -> None:
    """Log that copies could not be written: the log of the sessions has all that they show."""
    if failed:
        log.warning("%d changes were committed without their copies in sessions and pipeline_executions", failed)
