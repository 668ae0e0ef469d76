"""Events: what a store, a manager or a cache tells its callback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, TypeAlias

__all__ = ["EventName", "OnEvent", "emit"]

EventName: TypeAlias = Literal[
    "session_loaded",
    "session_saved",
    "session_refused",
    "session_merged",
    "session_conflict",
    "session_failed",
    "session_deleted",
    "sessions_expired",
    "checkpoint_written",
    "checkpoint_refused",
    "cache_failed",
    "cache_restored",
    "cache_damaged",
    "pipeline_completed",
    "pipeline_failed",
    "result_hit",
    "result_computed",
    "result_failed",
    "result_expired",
]
"""Names that stay the same. A save that was refused lost its compare-and-set: it was written before, or it is merged
with what others have saved and tried again, or it is a conflict. Of sessions that have expired only the number is told
that a cleanup has deleted."""

OnEvent: TypeAlias = Callable[[EventName, dict[str, int | float | str]], object]
"""Called with a name and with numbers, ids of sessions, names of pipelines and error classes: never with content, and
keys of results may hold that."""

LOGGERS = {"pipeline": "swisper_ctx.manager", "result": "swisper_ctx.cache"}


def emit(on_event: OnEvent | None, name: EventName, **details: float | str) -> None:
    """Tell a callback. What it raises is logged and goes no further."""
    if on_event is None:
        return
    try:
        on_event(name, {**details})
    except Exception:
        logger = LOGGERS.get(name.partition("_")[0], "swisper_ctx.store")
        logging.getLogger(logger).exception("on_event failed at %s", name)
