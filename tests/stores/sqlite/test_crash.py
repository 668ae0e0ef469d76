"""kill -9 at every failpoint and at random moments: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from tests.stores.sqlite.crash_log import NAMES, Told, is_whole

from swisper_ctx.log import StoredSession
from swisper_ctx.stores.sqlite import SQLiteSessionStore

ROOT = Path(__file__).parents[3]
FAILPOINTS = [f"{job}.{step}" for job in ("commit", "checkpoint", "delete") for step in ("begin", "applied", "done")]


def run_until_killed(path: Path, *failpoint: str, begins: int = 0, delay: float = 0) -> list[str]:
    """The lines of a process that dies at a failpoint, or `delay` seconds after it began something so many times."""
    command = [sys.executable, "-m", "tests.stores.sqlite.crash_child", str(path), *failpoint]
    package = Path(sys.modules["swisper_ctx"].__path__[0]).parent
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True) as child:
        too_long = threading.Timer(60, child.terminate)
        too_long.start()
        for line in child.stdout or ():
            lines.append(line)
            begins -= line.startswith("begin")
            if begins == 0 and line.startswith("begin"):
                time.sleep(delay)
                child.kill()
        too_long.cancel()
    assert child.returncode == -signal.SIGKILL
    return lines


async def look(path: Path) -> dict[str, StoredSession | None]:
    store = SQLiteSessionStore(path)
    found = {name: await store.read(name) for name in NAMES}
    await store.aclose()
    return found


def check(path: Path, told: Told) -> bool:
    """Whether the process died between beginning something and hearing that it was done."""
    found = asyncio.run(look(path))
    assert [name for name in NAMES if not told.allows(name, found[name])] == []
    assert [name for name, stored in found.items() if stored and not is_whole(name, stored)] == []
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for table in ("heads", "blocks", "frames"):
            orphans = f"SELECT count(*) FROM {table} WHERE session NOT IN (SELECT key FROM sessions)"
            assert database.execute(orphans).fetchone() == (0,)
    told.agree(NAMES, found)
    return bool(told.in_flight)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_a_failpoint(path: Path, failpoint: str, effort: int) -> None:
    told = Told()
    for _ in range(min(effort, 5)):
        told.hear(run_until_killed(path, failpoint, str(random.randint(1, 5))))
        assert told.what == failpoint.partition(".")[0]
        assert check(path, told)


def test_killed_at_random(path: Path, effort: int) -> None:
    told, rounds = Told(), 50 * min(effort, 10)
    inside: Counter[str] = Counter()
    for _ in range(rounds):
        told.hear(run_until_killed(path, begins=random.randint(1, 60), delay=random.uniform(0, 0.003)))
        in_between = check(path, told)
        inside[told.what if in_between else ""] += 1
    assert rounds - inside[""] >= 0.3 * rounds
    # About a tenth of them; at each of its steps a process dies above.
    assert inside["checkpoint"] >= rounds // 100
