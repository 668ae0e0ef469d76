"""The bytes that a durable turn sends to the disk, with a short and a long history."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benches.disk import scratch
from benches.figure import Costs, Figure, Limit

PROJECT = Path(__file__).parents[2]
LIMITS = {"alone": Limit("≤", 21, " kB"), "groups of 64": Limit("≤", 9, " kB")}
GROWTH = Limit("≤", 1.1)
Counts = dict[str, dict[str, float]]


def figures(quick: bool) -> list[Figure]:
    short, long = 10, 10_000
    runs: dict[int, list[Counts]] = {short: [], long: []}
    for _ in range(1 if quick else 2):
        for history, counts in runs.items():
            counts.append(run(history, 20 if quick else 240))
    found = []
    for how, limit in LIMITS.items():
        low, high = (costs(runs[history], history, how, "written") for history in (short, long))
        found += [
            Figure(f"bytes to disk a turn, {how}: {long:,} messages / {short}", GROWTH, high, low),
            Figure(f"bytes to disk a turn, {how}", limit, high),
            Figure(f"growth of the file a turn, {how}", None, costs(runs[long], long, how, "growth")),
        ]
    return found


def run(history: int, rounds: int) -> Counts:
    with scratch() as directory:
        command = [sys.executable, "-m", "benches.write_turns", str(directory), str(history), str(rounds)]
        done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    counts: Counts = json.loads(done.stdout)
    return counts


def costs(runs: list[Counts], history: int, how: str, what: str) -> Costs:
    return Costs(f"{history:,} messages", "bytes", [counts[how][what] for counts in runs])
