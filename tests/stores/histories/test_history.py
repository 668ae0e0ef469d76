"""The judge of histories: what no store could have answered is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stores.histories.history import Operation, heard, violations

LOG = {"s": ["a", "b", "c"]}


def write(name: str, invoked: int, returned: int | None, version: int = 0) -> Operation:
    return Operation(name, "s", True, 0, invoked, returned, version)


def read(invoked: int, returned: int, version: int, staleness: int = 0, last: tuple[str, ...] = ()) -> Operation:
    return Operation(f"r{invoked}", "s", False, staleness, invoked, returned, version, version - 1, last)


WRITES = [write("a", 10, 20, 2), write("b", 15, 40, 3), write("c", 41, 60, 4)]


@pytest.mark.parametrize(
    "reads",
    [
        [read(16, 17, 1), read(18, 30, 3, last=("a", "b")), read(31, 33, 3)],
        [read(21, 22, 2, last=("a",)), read(23, 50, 4, last=("b", "c"))],
        [read(65, 66, 3, staleness=10)],
        [Operation("r", "s", False, 0, 5)],
    ],
)
def test_what_may_be(reads: list[Operation]) -> None:
    assert violations(WRITES + reads, LOG) == []


@pytest.mark.parametrize(
    ("reads", "what"),
    [
        ([read(21, 22, 1)], "too old"),
        ([read(16, 17, 2), read(18, 19, 1)], "too old"),
        ([read(65, 66, 3, staleness=4)], "too old"),
        ([read(21, 22, 3, last=("b", "a"))], "never so"),
        ([read(21, 22, 3)._replace(messages=3)], "never so"),
        ([read(30, 31, 4)], "older than what was known"),
        ([read(5, 6, 3)], "older than what was known"),
    ],
)
def test_what_cannot_be(reads: list[Operation], what: str) -> None:
    assert what in " ".join(violations(WRITES + reads, LOG))


@pytest.mark.parametrize(
    ("writes", "log"),
    [
        ([write("a", 10, 20, 2)], []),
        ([write("a", 10, 20, 2)], ["a", "a"]),
        ([write("a", 10, 20, 2)], ["a", "z"]),
        ([write("a", 10, 20, 3)], ["a"]),
        ([write("a", 10, 20, 3), write("b", 30, 40, 2)], ["b", "a"]),
        ([write("a", 10, 20, 3), write("b", 30, None)], ["b", "a"]),
    ],
)
def test_writes_that_cannot_be(writes: list[Operation], log: list[str]) -> None:
    assert violations(writes, {"s": log})


def test_a_write_that_nobody_heard_of_may_be_there_or_not() -> None:
    for log in ([], ["a"]):
        assert violations([write("a", 10, None)], {"s": log}) == []


def test_what_a_process_wrote_down_is_read(tmp_path: Path) -> None:
    one = read(21, 22, 2, last=("a",))
    lost = write("a", 10, None)
    (tmp_path / "p").write_text(f"{one.began()}\n{lost.began()}\n{one.ended()}\n")
    assert heard([tmp_path / "p"]) == [one, lost]
