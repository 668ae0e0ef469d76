"""Copies of small things for people's queries, of stores that keep them: see `Projection`."""

from __future__ import annotations

from collections.abc import Iterable

from swisper_ctx._core import PipelineExecution, Snapshot, dumps
from swisper_ctx.log import ExecutionCopy, Projection, SessionCopy

EXECUTIONS = "pipeline_executions"
"""The list whose records are shown."""
MOST_CONTENT = 2 * 1024
"""Bytes of the small fields of a session, in JSON."""
MOST_RECORD = 8 * 1024
"""Bytes of one execution as it was recorded; of a larger one names and numbers are shown."""
NUMBERS = ("status", "started_at", "finished_at", "duration_ms")


def projected(user_id: str, before: Snapshot, after: Snapshot, *, is_created: bool) -> Projection | None:
    """What a change shows: the session when it is created or its state has changed, executions when they are new."""
    executions = tuple(new_executions(before, after))
    is_shown = is_created or state_of(before) != state_of(after)
    if not (is_shown or executions):
        return None
    return Projection(session_copy(user_id, after) if is_shown else None, executions)


def session_copy(user_id: str, snapshot: Snapshot) -> SessionCopy:
    """The fields that are no lists of records, as far as they fit."""
    return SessionCopy(user_id, snapshot.excerpt(MOST_CONTENT).decode())


def state_of(snapshot: Snapshot) -> object:
    """The state of a conversation."""
    return snapshot.get("current_state") if "current_state" in snapshot else None


def new_executions(before: Snapshot, after: Snapshot) -> Iterable[ExecutionCopy]:
    """Those at the end of the list that were not there before."""
    count = after.count(EXECUTIONS) - before.count(EXECUTIONS)
    return map(execution_copy, after.get(EXECUTIONS)[-count:]) if count > 0 else ()


def execution_copy(execution: PipelineExecution) -> ExecutionCopy:
    """What is shown of one execution."""
    fields = execution.to_dict()
    record, metrics = execution.to_json().decode(), fields.get("metrics")
    numbers = dumps({name: fields[name] for name in NUMBERS if name in fields} | {"abridged": True}).decode()
    fits = len(record) <= MOST_RECORD
    return ExecutionCopy(
        str(execution.execution_id),
        str(execution.pipeline_name),
        numbers,
        record if fits else None,
        dumps(metrics).decode() if fits and metrics is not None else None,
        fields.get("started_at"),
    )
