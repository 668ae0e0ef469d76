"""The changes of swisper_ctx.testing, under the name by which tests of SQLite still import them."""

from __future__ import annotations

from swisper_ctx.testing.changes import append, commit, committed, creation, grow, moved, new_block, new_head
from swisper_ctx.testing.clock import DAY, MINUTE, START, ManualClock

__all__ = [
    "DAY",
    "MINUTE",
    "START",
    "ManualClock",
    "append",
    "commit",
    "committed",
    "creation",
    "grow",
    "moved",
    "new_block",
    "new_head",
]
