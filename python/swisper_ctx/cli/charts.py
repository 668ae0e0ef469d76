"""The table and the chart of what a turn costs, by length of the conversation."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean, median
from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from swisper_ctx.cli.cost import TurnCost

BOUNDS = (5, 10, 25, 50, 100, 200, 300, 400)
OURS, DOCUMENT = "green", "yellow"
EIGHTHS = " ▏▎▍▌▋▊▉"


class Bucket(NamedTuple):
    """The turns of one range of conversation lengths: mean bytes and median seconds of each."""

    first: int
    last: int
    turns: int
    ours: float
    document: float
    ours_seconds: float
    document_seconds: float

    @property
    def label(self) -> str:
        """The range of lengths, in messages."""
        return f"{self.first}-{self.last}"


def buckets(ours: Sequence[TurnCost], document: Sequence[TurnCost]) -> list[Bucket]:
    """The same turns written in two ways, gathered by the length of the conversation after the turn."""
    longest = max((cost.messages for cost in ours), default=0)
    edges = [0, *(bound for bound in BOUNDS if bound < longest), longest]
    found: list[Bucket] = []
    for low, high in pairwise(edges):
        pairs = [pair for pair in zip(ours, document, strict=True) if low < pair[0].messages <= high]
        if pairs:
            found.append(bucket(low + 1, high, pairs))
    return found


def bucket(first: int, last: int, pairs: Sequence[tuple[TurnCost, TurnCost]]) -> Bucket:
    """The averages of some turns, each written in both ways."""
    ours, document = zip(*pairs, strict=True)
    written = (mean(cost.written for cost in ours), mean(cost.written for cost in document))
    seconds = (median(cost.seconds for cost in ours), median(cost.seconds for cost in document))
    return Bucket(first, last, len(pairs), *written, *seconds)


def table(rows: Sequence[Bucket], ascii_only: bool) -> Table:
    """Bytes and time of a turn, in both ways, and how much less swisper wrote."""
    result = Table(box=box.ASCII2 if ascii_only else box.ROUNDED)
    for heading in ("messages", "turns", "swisper\nkB/turn", "document\nkB/turn", "swisper\nwrites"):
        result.add_column(heading, justify="right")
    for heading in ("swisper\nms/save", "document\nms/save"):
        result.add_column(heading, justify="right")
    for row in rows:
        written = (f"{row.ours / 1000:.1f}", f"{row.document / 1000:.1f}", verdict(row))
        seconds = (f"{row.ours_seconds * 1000:.2f}", f"{row.document_seconds * 1000:.2f}")
        result.add_row(row.label, str(row.turns), *written, *seconds)
    return result


def verdict(row: Bucket) -> str:
    """How many times less, or more, swisper writes than the document does."""
    if not row.ours or not row.document:
        return "?"
    if row.document >= row.ours:
        return f"{row.document / row.ours:.1f}x less"
    return f"{row.ours / row.document:.1f}x more"


def chart(rows: Sequence[Bucket], width: int, ascii_only: bool) -> Iterator[Text]:
    """Two bars for each range of lengths, on one scale; bars and figures fit into `width` columns."""
    peak = max((max(row.ours, row.document) for row in rows), default=0.0)
    margin = max((len(row.label) for row in rows), default=0)
    room = max(10, width - margin - len("  document  1234.5 kB"))
    for row in rows:
        for label, name, value, style in (
            (row.label, "swisper ", row.ours, OURS),
            ("", "document", row.document, DOCUMENT),
        ):
            drawn = bar(value, peak, room, ascii_only)
            yield Text.assemble(f"{label:>{margin}} {name} ", (drawn, style), f" {value / 1000:.1f} kB")


def bar(value: float, peak: float, width: int, ascii_only: bool) -> str:
    """A bar as long as `value` is of `peak`; anything above zero shows."""
    if value <= 0 or peak <= 0:
        return ""
    eighths = max(1, round(value / peak * width * 8))
    if ascii_only:
        return "#" * max(1, round(eighths / 8))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def crossover(rows: Sequence[Bucket]) -> tuple[str, str]:
    """In a sentence each for bytes and for time: at which lengths swisper needs less, and at which the document."""
    heavier = [row for row in rows if row.ours > row.document]
    slower = [row for row in rows if row.ours_seconds > row.document_seconds]
    return winner("Bytes", rows, heavier), winner("Time", rows, slower)


def winner(what: str, rows: Sequence[Bucket], lost: Sequence[Bucket]) -> str:
    """The sentence for one measure, of which swisper needs more in the `lost` rows."""
    if not lost:
        return f"{what}: swisper needs less at every length."
    if len(lost) == len(rows):
        return f"{what}: the document needs less at every length."
    if list(lost) == list(rows[: len(lost)]):
        return f"{what}: up to {lost[-1].last} messages the document needs less; beyond that, swisper."
    return f"{what}: now the one needs less, now the other; see the table."
