"""Instructions of a process, and of a turn in it, as valgrind counts them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from benches.figure import Costs

PROJECT = Path(__file__).parents[1]
FEW = 100
"""Turns of the run that is subtracted: what is left is turns alone, without what comes before and after them."""


def a_turn(messages: int, readers: int, more: int) -> Costs:
    few, many = (count("count_turns", messages, turns, readers) for turns in (FEW, FEW + more))
    return Costs(f"{messages:,} messages", "instructions", [(many - few) / more])


def count(program: str, *arguments: object) -> int:
    """All instructions of one process."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*command, sys.executable, "-m", f"benches.{program}", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])
