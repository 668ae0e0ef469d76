"""kill -9 at every failpoint and at random moments: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from tests.stores.crash_log import Told, look, run_until_killed

from swisper_ctx.stores.sqlite import SQLiteSessionStore

FAILPOINTS = [f"{job}.{step}" for job in ("commit", "checkpoint", "delete") for step in ("begin", "applied", "done")]


def check(path: Path, told: Told) -> bool:
    """Whether the process died between beginning something and hearing that it was done."""
    in_between = told.check(asyncio.run(look(SQLiteSessionStore(path))))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for table in ("heads", "blocks", "frames"):
            orphans = f"SELECT count(*) FROM {table} WHERE session NOT IN (SELECT key FROM sessions)"
            assert database.execute(orphans).fetchone() == (0,)
    return in_between


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_a_failpoint(path: Path, failpoint: str, effort: int) -> None:
    told = Told()
    for _ in range(min(effort, 5)):
        told.hear(run_until_killed(f"sqlite:///{path}", failpoint, str(random.randint(1, 5))))
        assert told.what == failpoint.partition(".")[0]
        assert check(path, told)


def test_killed_at_random(path: Path, effort: int) -> None:
    told, rounds = Told(), 50 * min(effort, 10)
    inside: Counter[str] = Counter()
    for _ in range(rounds):
        told.hear(run_until_killed(f"sqlite:///{path}", begins=random.randint(1, 60), delay=random.uniform(0, 0.003)))
        in_between = check(path, told)
        inside[told.what if in_between else ""] += 1
    assert rounds - inside[""] >= 0.3 * rounds
    # About a tenth of them; at each of its steps a process dies above.
    assert inside["checkpoint"] >= rounds // 100
