"""What a command prints: JSON for scripts, colours and moving bars on a terminal, plain text elsewhere."""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swisper_ctx.cli.screen import bar
from swisper_ctx.context import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# What is stored may hold escape sequences, and characters that turn text around.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

Cell = str | int | None

FOLDED = 30
"""A last column that is wider may be folded to so many characters."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line, for scripts.")


def printable(text: str) -> str:
    """The text on one line, with escapes in the place of what would act on a terminal."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def when(micros: int | None) -> str:
    """A time of the log to the second, for people; "-" for none."""
    time = moment(micros)
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M:%S}Z"


def compact(value: Any, *, ascii_only: bool = False) -> str:
    """A value as JSON on one line."""
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))


def plural(count: int, noun: str) -> str:
    """So many of something."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class Output:
    """The standard output of one command."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.is_terminal = sys.stdout.isatty() and not as_json
        self.unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        self.console = Console(force_terminal=self.is_terminal, highlight=False, emoji=False)

    def object(self, value: Any) -> None:
        """One JSON object, on one line of ASCII."""
        click.echo(compact(value, ascii_only=True))

    def line(self, text: str = "", style: str = "") -> None:
        """A line of text."""
        if self.is_terminal:
            self.console.print(Text(self._text(text), style), soft_wrap=True)
        else:
            click.echo(self._text(text))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Columns under headings; those without text stand on the right. In a terminal too narrow, without borders."""
        numeric = [not any(isinstance(row[n], str) for row in rows) for n in range(len(headings))]
        cells = [[self._cell(cell) for cell in row] for row in rows]
        if self.is_terminal and least_width(headings, cells) <= self.console.width:
            self.console.print(bordered(headings, cells, numeric, ascii_only=not self.unicode))
        else:
            for text in aligned([[heading.upper() for heading in headings], *cells], numeric):
                self.line(text)

    @contextmanager
    def working(self, unit: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar for `total` units of work, on a terminal only; call what it gives after each unit."""
        if self.is_terminal and self.unicode:
            with bar(self.console, unit, total) as advance:
                yield advance
        else:
            yield lambda: None

    def _cell(self, cell: Cell) -> str:
        if cell is None:
            return "-"
        return f"{cell:,}" if isinstance(cell, int) else self._text(cell)

    def _text(self, text: str) -> str:
        text = printable(text)
        return text if self.unicode else text.encode("ascii", "backslashreplace").decode()


def least_width(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """What a table needs, borders included: only the text of its last column may be folded."""
    *widths, last = (max(map(cell_len, column)) for column in zip(headings, *rows, strict=True))
    return sum(widths) + min(last, FOLDED) + 3 * len(headings) + 1


def bordered(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], ascii_only: bool
) -> Table:
    """A table for the terminal."""
    result = Table(box=box.ASCII2 if ascii_only else box.ROUNDED)
    for n, heading in enumerate(headings):
        is_last = n == len(headings) - 1
        result.add_column(heading, justify="right" if numeric[n] else "left", overflow="fold", no_wrap=not is_last)
    for row in rows:
        result.add_row(*map(Text, row))
    return result


def aligned(rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Iterator[str]:
    """The rows as plain lines; the last column is not filled up."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if is_numeric else cell.ljust(width)
            for cell, width, is_numeric in zip(row, widths, numeric, strict=True)
        )
        yield "  ".join(cells).rstrip()
