"""The bytes written over the life of a session, for each byte that has changed in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benches.disk import scratch
from benches.figure import Costs, Figure, Limit

PROJECT = Path(__file__).parents[2]
MESSAGES, BUFFER = 100_000, 5_000_000


def figures(quick: bool) -> list[Figure]:
    part = 20 if quick else 1
    counts = run(MESSAGES // part, BUFFER // part)
    changed = Costs("changed", "bytes", [counts["changed"]])
    label = f"bytes {{}} / changed in the life of a session, {MESSAGES:,} messages and {BUFFER:,} bytes in buffer_store"
    return [
        Figure(label.format("given to the store"), Limit("≤", 3), Costs("given", "bytes", [counts["given"]]), changed),
        Figure(label.format("sent to the disk by SQLite"), None, Costs("sent", "bytes", [counts["sent"]]), changed),
    ]


def run(messages: int, buffer: int) -> dict[str, float]:
    with scratch() as directory:
        command = [sys.executable, "-m", "benches.live", str(directory), str(messages), str(buffer)]
        done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    counts: dict[str, float] = json.loads(done.stdout)
    return counts
