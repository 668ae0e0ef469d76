from __future__ import annotations

import pytest
from rich.console import Console

from swisper_ctx.cli.charts import Bucket, bar, buckets, chart, crossover, table, verdict
from swisper_ctx.cli.cost import TurnCost


def row(first: int, last: int, ours: float, document: float) -> Bucket:
    return Bucket(first, last, 1, ours, document, 0.001, 0.002)


ROWS = [row(1, 10, 20_000, 10_000), row(11, 25, 20_000, 40_000)]


def test_turns_are_gathered_by_length() -> None:
    lengths = [3, 10, 11, 60, 70]
    ours = [TurnCost(length, 1000, 0.001) for length in lengths]
    document = [TurnCost(length, length * 100, 0.002) for length in lengths]
    found = buckets(ours, document)
    assert [(each.label, each.turns) for each in found] == [("1-5", 1), ("6-10", 1), ("11-25", 1), ("51-70", 2)]
    assert [each.document for each in found] == [300, 1000, 1100, 6500]
    assert found[0].ours == 1000
    assert (found[0].ours_seconds, found[0].document_seconds) == (0.001, 0.002)


def test_no_turns_make_no_table_rows() -> None:
    assert buckets([], []) == []
    assert list(chart([], 80, ascii_only=True)) == []


@pytest.mark.parametrize(
    ("value", "drawn"), [(0, ""), (100, "#" * 10), (50, "#" * 5), (1, "#")], ids=["nothing", "full", "half", "a trace"]
)
def test_ascii_bar(value: float, drawn: str) -> None:
    assert bar(value, 100, 10, ascii_only=True) == drawn


@pytest.mark.parametrize(("value", "drawn"), [(0, ""), (100, "█" * 10), (55, "█" * 5 + "▌"), (0.01, "▏")])
def test_block_bar(value: float, drawn: str) -> None:
    assert bar(value, 100, 10, ascii_only=False) == drawn


def test_chart_has_two_lines_for_each_range_and_fits() -> None:
    lines = [line.plain for line in chart(ROWS, 60, ascii_only=True)]
    assert [line.split()[:2] for line in lines[:2]] == [["1-10", "swisper"], ["document", "########"]]
    assert lines[3].endswith("40.0 kB")
    assert max(map(len, lines)) <= 60
    assert "".join(lines).isascii()


def test_ascii_table_is_ascii_and_names_the_winner() -> None:
    console = Console(width=96)
    with console.capture() as capture:
        console.print(table(ROWS, ascii_only=True))
    shown = capture.get()
    assert shown.isascii()
    assert "2.0x more" in shown
    assert "2.0x less" in shown


def test_verdict_without_a_count() -> None:
    assert verdict(row(1, 10, 0, 10)) == "?"


def test_crossover_says_who_wins_where() -> None:
    loss, win = ROWS
    written, time = crossover([loss, win])
    assert written == "Bytes: up to 10 messages the document needs less; beyond that, swisper."
    assert time == "Time: swisper needs less at every length."
    assert crossover([win])[0] == "Bytes: swisper needs less at every length."
    assert crossover([loss])[0] == "Bytes: the document needs less at every length."
    assert crossover([win, loss])[0] == "Bytes: now the one needs less, now the other; see the table."
