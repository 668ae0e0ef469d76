"""Instructions, counted by valgrind: of a turn with a short and a long history, and of a message encoded and decoded.

valgrind has no AVX-512: what is counted of the codecs are their kernels for AVX2.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benches.figure import Costs, Figure, Limit
from benches.peers.codecs import MESSAGES, OURS

PROJECT = Path(__file__).parents[2]
SHORT, LONG, QUICK = 100, 100_000, 2_000
LIMIT = Limit("≤", 1.2)
FASTEST = {
    "dumps of dicts": "ssrjson",
    "dumps of dataclasses": "orjson",
    "dumps of slots dataclasses": "msgspec",
    "loads": "ssrjson",
}
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
        messages = list(pool.map(of_messages, list(FASTEST)[: 1 if quick else None]))
    label = f"instructions of a turn{{}}: {long:,} messages / {SHORT}"
    return [
        Figure(label.format(""), LIMIT, costs[1], costs[0]),
        Figure(label.format(", a reader holds an old snapshot"), LIMIT, costs[3], costs[2]),
        *messages,
    ]


def a_turn(messages: int, readers: int, more: int) -> Costs:
    few, many = (count("count_turns", messages, turns, readers) for turns in (FEW, FEW + more))
    return Costs(f"{messages:,} messages", "instructions", [(many - few) / more])


def of_messages(what: str) -> Figure:
    """What the fastest of the others needs for a message, by what we need."""
    peer, ours = (a_message(what, codec) for codec in (FASTEST[what], OURS))
    return Figure(f"instructions of a message, {what}: {FASTEST[what]} (the fastest) / ours", None, peer, ours)


def a_message(what: str, codec: str) -> Costs:
    few, many = (count("count_messages", what, codec, times) for times in (1, 11))
    return Costs(codec, "instructions", [(many - few) / 10 / MESSAGES])


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
