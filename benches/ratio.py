"""All figures that are required, each against its peer: `python -m benches.ratio [--quick] [--only WORD]`.

A figure that misses what is required of it is shown, and is no failure; an output that is wrong is.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from benches import machine, table
from benches.figure import Figure
from benches.interleave import frozen

SUBJECTS = (
    "construct",
    "turn",
    "whole",
    "dumps",
    "loads",
    "opening",
    "read",
    "memory",
    "instructions",
    "lru",
    "merge",
    "patches",
    "manager",
    "cached",
    "durable",
    "served",
    "postgres",
    "beside",
    "others",
    "crowd",
    "encryption",
    "rotation",
    "written",
    "life",
    "redis_cache",
)
"""Modules of `benches.subjects`, each with a function `figures`."""
IN_README = ("construct", "turn", "durable", "served", "others")
"""The first required figure of each of these."""
RESULT = Path(__file__).parents[1] / "target" / "ratio.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.ratio", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in a minute: that all runs and agrees")
    parser.add_argument(
        "--only", metavar="WORD", default="", help=f"only what has it in its name: {', '.join(SUBJECTS)}"
    )
    options = parser.parse_args()
    about = machine.describe()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    found, failed = measure([name for name in SUBJECTS if options.only in name], options.quick)
    figures = [figure for each in found.values() for figure in each]
    save(figures, about, options.quick)
    if not (failed or options.quick or options.only):
        table.write(table.table(figures, about), table.ALL)
        first = [next(figure for figure in found[name] if figure.limit is not None) for name in IN_README]
        table.write(table.table(first, about), table.README)
    return 1 if failed or not figures else 0


def measure(subjects: Sequence[str], quick: bool) -> tuple[dict[str, list[Figure]], bool]:
    """The figures of these subjects, and whether one of them has failed; the others are measured all the same."""
    measured: dict[str, list[Figure]] = {}
    failed = False
    for name in subjects:
        start = datetime.now(UTC)
        try:
            # In a process of its own: what one leaves in the heap and in the modules is no part of another.
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                found = process.submit(figures_of, name, quick).result()
        except Exception:  # noqa: BLE001 - whatever it is, the others run
            traceback.print_exc()
            failed = True
            continue
        print(f"\n{name}, {(datetime.now(UTC) - start).total_seconds():.0f} s")
        for figure in found:
            show(figure)
        measured[name] = found
    return measured, failed


def figures_of(name: str, quick: bool) -> list[Figure]:
    subject = import_module(f"benches.subjects.{name}")
    with frozen():
        found: list[Figure] = subject.figures(quick)
    return found


def show(figure: Figure) -> None:
    verdict = "" if figure.limit is None else f", required {figure.required}: {'met' if figure.is_met else 'MISSED'}"
    print(f"  {figure.name}: {figure.measured}{verdict}")
    for side in (figure.over, figure.under):
        if side is not None:
            print(f"    {side}")


def save(figures: Sequence[Figure], about: Mapping[str, str], quick: bool) -> None:
    result = {
        "measured_at": datetime.now(UTC).isoformat(),
        "quick": quick,
        "machine": dict(about),
        "figures": [figure.as_json() for figure in figures],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
