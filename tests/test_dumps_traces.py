"""What encoding leaves behind, and what it takes meanwhile."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest

from swisper_ctx import Message, dumps, loads
from swisper_ctx._core import read_directly

OTHERS = ["é" * 50, "€" * 50, "😀" * 50, "wört\n" * 20]


@pytest.mark.parametrize("text", OTHERS)
def test_no_copy_stays_in_a_string(text: str) -> None:
    fresh = "".join(list(text))
    before = sys.getsizeof(fresh)
    dumps([fresh, {fresh: fresh}], sort_keys=True)
    Message("user", fresh, metadata={fresh: fresh})
    loads(f'["{"".join(list(text.strip()))}"]'.replace("\n", " "))
    assert sys.getsizeof(fresh) == before


def test_no_copy_stays_in_a_text_that_is_read() -> None:
    text = '["' + "€" * 50 + '"]'
    before = sys.getsizeof(text)
    assert loads(text) == ["€" * 50]
    assert sys.getsizeof(text) == before


@dataclasses.dataclass
class Plain:
    a: str
    b: int = 1


@pytest.mark.parametrize("directly", [True, False])
def test_no_dict_is_made_for_an_object(directly: bool) -> None:
    read_directly(directly)
    try:
        objects, others = ([Plain("x", n) for n in range(1000)] for _ in range(2))
        dumps(others)
        before = sys.getallocatedblocks()
        dumps(objects)
        assert sys.getallocatedblocks() - before < 100
        assert all(vars(item) for item in objects)
        assert sys.getallocatedblocks() - before > 800
    finally:
        read_directly(True)


def test_nothing_leaks(effort: int) -> None:
    class Own:
        def to_dict(self) -> Any:
            return {"a": object()}

    values: list[Any] = [{"k": ["é" * 30, Plain("x"), 1.5, 10**30]}, [Own()], {1: 2}, ["\ud800"], Plain([object()])]  # type: ignore[arg-type]
    texts = [b'{"a":[1,"x"', b'["\\ud800"]', b'{"a":{"b":[1.5,"' + "é".encode() * 40 + b'"]}}', b"[1,]"]

    def work() -> None:
        for function, inputs in ((dumps, values), (loads, texts)):
            for given in inputs:
                with suppress(ValueError):
                    function(given)

    def blocks() -> int:
        for _ in range(200 * effort):
            work()
        gc.collect()
        return sys.getallocatedblocks()

    blocks()
    before = blocks()
    assert blocks() - before < 150


def growth(code: str) -> tuple[float, float, float]:
    """Runs code that defines `prepare() -> value` and `work(value) -> result`: by how many bytes memory grows at most
    while that works, by how many it has grown then, and the size of the result."""
    program = f"""
import sys
from swisper_ctx import dumps, loads
{code}
def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
value = prepare()
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = status("VmRSS")
result = work(value)
print(status("VmHWM") - before, status("VmRSS") - before, len(result))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    most, grown, size = map(float, done.stdout.split())
    return most, grown, size


MEBIBYTE = 2**20
MANY = {
    "dicts": "prepare = lambda: [{'id': n, 'text': 'some text that is longer ' * 4} for n in range(200_000)]",
    "strings": "prepare = lambda: ['x' * 900] * 40_000",
    "one string": "prepare = lambda: '€' * 12_000_000",
    "escapes": "prepare = lambda: '\\n' * 20_000_000",
    "integers": "prepare = lambda: list(range(10**15, 10**15 + 1_500_000))",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("warm", [False, True])
def test_encoding_takes_little_more_than_the_output(name: str, warm: bool) -> None:
    first = "len(dumps(value)) and " if warm else ""
    most, _, size = growth(f"{MANY[name]}\nwork = lambda value: {first}dumps(value)")
    assert size > 20 * MEBIBYTE
    assert most < 1.3 * size + MEBIBYTE


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("name", "kind"),
    # What can change and a str that is not ASCII are copied, which counts where all there is is one string.
    [*((name, "bytes") for name in MANY), ("dicts", "bytearray"), ("integers", "str"), ("one string", "memoryview")],
)
def test_decoding_takes_little_more_than_what_is_made(name: str, kind: str) -> None:
    made = {
        "bytes": "dumps(built())",
        "bytearray": "bytearray(dumps(built()))",
        "memoryview": "memoryview(dumps(built()))",
        "str": "dumps(built()).decode()",
    }
    code = f"{MANY[name].replace('prepare', 'built')}\nprepare = lambda: {made[kind]}\nwork = loads"
    most, grown, _ = growth(code)
    assert grown > 10 * MEBIBYTE
    assert most < 2 * grown + MEBIBYTE
