"""The instructions of a turn in the process, counted by valgrind, with a short and a long history."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benches.figure import Costs, Figure, Limit

PROJECT = Path(__file__).parents[2]
SHORT, LONG, QUICK = 100, 100_000, 2_000
LIMIT = Limit("≤", 1.2)
FEW = 100
"""Turns of the run that is subtracted: what is left is turns alone, without what comes before and after them."""


def figures(quick: bool) -> list[Figure]:
    if shutil.which("valgrind") is None:
        print("\ninstructions: not counted, for there is no valgrind on this machine (apt-get install valgrind)")
        return []
    more, long = (100, QUICK) if quick else (1_000, LONG)
    runs = [(SHORT, 0), (long, 0), (SHORT, 1), (long, 1)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        costs = list(pool.map(lambda run: a_turn(run[0], run[1], more), runs))
    label = f"instructions of a turn{{}}: {long:,} messages / {SHORT}"
    return [
        Figure(label.format(""), LIMIT, costs[1], costs[0]),
        Figure(label.format(", a reader holds an old snapshot"), LIMIT, costs[3], costs[2]),
    ]


def a_turn(messages: int, readers: int, more: int) -> Costs:
    few, many = (count(messages, turns, readers) for turns in (FEW, FEW + more))
    return Costs(f"{messages:,} messages", "instructions", [(many - few) / more])


def count(messages: int, turns: int, readers: int) -> int:
    """All instructions of one process."""
    arguments = [str(number) for number in (messages, turns, readers)]
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "benches.count_turns", *arguments],
        cwd=PROJECT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])
