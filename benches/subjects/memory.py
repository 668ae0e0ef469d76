"""The memory that a long session takes, and what it costs the garbage collector."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benches.disk import scratch
from benches.figure import Costs, Figure, Limit

PROJECT = Path(__file__).parents[2]
MESSAGES = 100_000
Weights = dict[str, float]


def figures(quick: bool) -> list[Figure]:
    rounds = 1 if quick else 3
    with scratch() as directory:
        run("stored", directory)
        appended = [weighed("appended", directory) for _ in range(rounds)]
        loaded = [weighed("loaded", directory) for _ in range(rounds)]
    return [
        per_byte("appended", appended, Limit("≤", 1.15)),
        per_byte("loaded and untouched", loaded, Limit("≤", 0.35)),
        Figure(
            f"full garbage collection: {MESSAGES:,} messages in memory / none",
            Limit("≤", 2),
            Costs("with them", "ns", [weights["gc_with"] for weights in appended]),
            Costs("without", "ns", [weights["gc_without"] for weights in appended]),
        ),
    ]


def per_byte(how: str, weighed: list[Weights], limit: Limit) -> Figure:
    memory = Costs("memory", "bytes", [weights["memory"] for weights in weighed])
    text = Costs("JSON", "bytes", [weights["json"] for weights in weighed])
    return Figure(f"memory per byte of JSON, {MESSAGES:,} messages, {how}", limit, memory, text)


def weighed(how: str, directory: Path) -> Weights:
    weights: Weights = json.loads(run(how, directory))
    return weights


def run(how: str, directory: Path) -> bytes:
    command = [sys.executable, "-m", "benches.weigh", how, str(directory / "session"), str(MESSAGES)]
    return subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE).stdout
