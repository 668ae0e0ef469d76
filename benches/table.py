"""The figures as tables: the first of them in the README, all in docs/FIGURES.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from benches.figure import Figure

PROJECT = Path(__file__).parents[1]
README, ALL = PROJECT / "README.md", PROJECT / "docs" / "FIGURES.md"
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"


def table(figures: Sequence[Figure], machine: Mapping[str, str]) -> list[str]:
    """The lines between the markers."""
    rows = [f"| {figure.name} | {figure.required} | {figure.measured} |" for figure in figures]
    versions = ", ".join(f"{name} {version}" for name, version in machine.items() if name not in ("CPU", "system"))
    return [
        "| figure | required | measured: minima, medians |",
        "|---|---|---|",
        *rows,
        "",
        f"`make bench`, {date.today():%Y-%m-%d}, {machine['CPU']}, {machine['system']}; {versions}.",  # noqa: DTZ011
    ]


def write(lines: Sequence[str], file: Path) -> None:
    """Put the lines between the markers, in place of what is there."""
    text = file.read_text(encoding="utf-8").splitlines()
    begin, end = text.index(BEGIN), text.index(END)
    file.write_text("\n".join([*text[: begin + 1], *lines, *text[end:], ""]), encoding="utf-8")
