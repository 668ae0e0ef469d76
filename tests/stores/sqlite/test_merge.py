"""Several processes talk into one session: every acknowledged message is there once, in the order of its writer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from swisper_ctx import SwisperContext
from swisper_ctx.stores.sqlite import SQLiteSessionStore

ROOT = Path(__file__).parents[3]
TASKS = 2


def start(path: Path, name: str, turns: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.stores.sqlite.merge_child", str(path), name, str(TASKS), str(turns)]
    package = Path(sys.modules["swisper_ctx"].__path__[0]).parent
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, env=environment, text=True)


def run(path: Path, turns: int, killed: int | None) -> dict[str, list[str]]:
    """What three processes said, by its first word; one of them is killed when it has said so much."""
    children = [start(path, name, turns) for name in "abc"]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    heard: dict[str, list[str]] = defaultdict(list)
    if killed is not None:
        victim = children[0]
        for _ in range(killed):
            hear(victim.stdout.readline(), heard)  # type: ignore[union-attr]
        victim.kill()
    for child in children:
        output, _ = child.communicate(timeout=120)
        for line in output.splitlines():
            hear(line, heard)
    codes = [child.returncode for child in children]
    assert codes == [0 if killed is None else -signal.SIGKILL, 0, 0]
    return heard


def hear(line: str, heard: dict[str, list[str]]) -> None:
    word, what = line.split()
    heard[word].append(what)


async def begin(path: Path) -> None:
    store = SQLiteSessionStore(path)
    await store.save_session(SwisperContext(session_id="s", user_id="u", performance_metrics={"turns": 0}))
    await store.aclose()


async def look(path: Path) -> tuple[list[str], int]:
    store = SQLiteSessionStore(path)
    context = await store.load_session("s")
    await store.aclose()
    assert context is not None
    return [str(message.message_id) for message in context.conversation_history], context.performance_metrics["turns"]


@pytest.mark.parametrize("is_killed", [False, True])
def test_every_acknowledged_message_is_there_once(path: Path, is_killed: bool, effort: int) -> None:
    turns = 60 * min(effort, 10)
    asyncio.run(begin(path))
    heard = run(path, turns, random.randint(5, TASKS * turns) if is_killed else None)
    said, counted = asyncio.run(look(path))
    assert len(set(said)) == len(said)
    assert set(heard["said"]) <= set(said)
    for writer in {one.partition(":")[0] for one in said}:
        own = [one for one in said if one.startswith(f"{writer}:")]
        assert own == [f"{writer}:{number}" for number in range(len(own))]
    # What a killed process had written and not yet told of: one thing of each of its tasks.
    most = TASKS if is_killed else 0
    assert 0 <= len(said) - len(heard["said"]) <= most
    assert 0 <= counted - len(heard["counted"]) <= most
    assert is_killed or len(said) == 3 * TASKS * turns
    assert sum(map(int, heard["session_merged"])) > turns
    assert sum(map(int, heard["checkpoint_written"])) > 0
