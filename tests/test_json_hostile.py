"""Texts and values that somebody means ill with: an answer or an error, in bounded memory, and nothing else."""

from __future__ import annotations

import random
import string
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from tests.values import strict_loads

from swisper_ctx import DecodeError, dumps, loads
from swisper_ctx.errors import CodecError

INPUTS = 100_000
FULL_INPUTS = 1_000_000
GROWTH = 4 * 2**20
PIECES = [
    *'{}[]",:\\ \n\t\0\x7f',
    *["0", "1", "9", "-", "+", ".", "e", "E", "1e5", "-0", "1.5", "true", "false", "null", "nul", "NaN", "Infinity"],
    '"a"', '"', '\\"', "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\\x", '{"a":', "[[", "]]", '"é€😀"', "\ufeff",
    "1" * 25, "0." + "3" * 30, "x" * 40, '"' + "y" * 70 + '"', "e" * 65, "1e400", "1e-400",
]  # fmt: skip


def resident() -> int:
    """The memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def texts(rng: random.Random) -> bytes:
    """A text that is almost one."""
    text = "".join(rng.choices(PIECES, k=rng.randrange(1, 25))).encode()
    if rng.random() < 0.3:
        at = rng.randrange(len(text))
        text = text[:at] + bytes(rng.choices(range(256), k=rng.randrange(1, 4))) + text[at + 1 :]
    return text


def nesting(rng: random.Random) -> bytes:
    """One that is deep, and often wrong at the end."""
    depth = rng.choice([1, 64, 127, 128, 129, 500])
    opened = [rng.choice(["[", '{"k":']) for _ in range(depth)]
    closed = ["]" if bracket == "[" else "}" for bracket in reversed(opened)]
    text = "".join(opened) + rng.choice(["1", '"x"', "", "nul"]) + "".join(closed)
    return text[: rng.choice([len(text), rng.randrange(len(text))])].encode()


def value(rng: random.Random, depth: int = 0) -> Any:
    """A value, not always one that JSON has."""
    kind = rng.randrange(14 if depth < 6 else 9)
    if kind < 4:
        alphabet = rng.choice([string.printable, "aé€😀", "a\ud800\0", '\x1f"\\é'])
        return "".join(rng.choices(alphabet, k=rng.choice([0, 1, 7, 8, 16, 17, 33, 64, 65, 100])))
    if kind < 9:
        wild: list[Any] = [rng.getrandbits(rng.randrange(1, 200)), -rng.getrandbits(64), rng.random(), None, True]
        return rng.choice([*wild, float("nan"), float("inf"), b"bytes", {1}, 1j, object()])
    items = [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind < 11:
        return rng.choice([list, tuple])(items)
    return {rng.choice(["k", "é", 1, None, "\udc00", "long key " * 5, str(n)]): item for n, item in enumerate(items)}


@pytest.fixture
def inputs(effort: int) -> int:
    return INPUTS if effort == 1 else FULL_INPUTS


def test_hostile_texts(inputs: int) -> None:
    rng = random.Random(17)
    accepted = before = 0
    refused = array("b")
    for n in range(inputs):
        if n == inputs // 10:
            before = resident()
        data = nesting(rng) if n % 50 == 0 else texts(rng)
        try:
            found = loads(data)
        except DecodeError as error:
            refused.append(error.index is not None and 0 <= error.index <= len(data))
            continue
        accepted += 1
        if n % 10 == 0:
            assert found == strict_loads(data)
    assert accepted > inputs / 100
    assert all(refused)
    assert sys.platform != "linux" or resident() - before < GROWTH


def test_hostile_values(inputs: int) -> None:
    rng = random.Random(18)
    written = before = 0
    for n in range(inputs):
        if n == inputs // 10:
            before = resident()
        given = value(rng)
        try:
            text = dumps(given, sort_keys=n % 7 == 0, indent=n % 3 if n % 5 == 0 else None)
        except CodecError:
            continue
        written += 1
        loads(text)
    assert written > inputs / 10
    assert sys.platform != "linux" or resident() - before < GROWTH
