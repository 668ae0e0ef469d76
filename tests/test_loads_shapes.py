"""`loads` of objects whose keys come again and again."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swisper_ctx import dumps, loads
from swisper_ctx._core import read_directly

KEYS = ["", "a", "id", "role", "content", "a key that is longer than those which are kept" * 2, "é", "€", "x\ny"]
VALUES = st.sampled_from(["1", "null", "[]", '{"id":1}', '"text"', '{"id":[{"id":2}],"role":{}}'])


@pytest.fixture(params=[True, False], ids=["directly", "public functions"], autouse=True)
def way_of_decoding(request: pytest.FixtureRequest) -> Iterator[None]:
    read_directly(request.param)
    yield
    read_directly(True)


def members(found: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in found) + "}"


# What the fixture sets does not change from one example to the next.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(KEYS), max_size=5), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.lists(VALUES, min_size=5, max_size=5)), max_size=30),
)
def test_they_are_read_as_by_json(shapes: list[list[str]], objects: list[tuple[int, list[str]]]) -> None:
    texts = [members(list(zip(shapes[at % len(shapes)], values, strict=False))) for at, values in objects]
    text = "[" + ",".join(texts) + "]"
    expected = json.loads(text)
    for _ in range(3):
        found = loads(text)
        # With the order of their keys.
        assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize("length", [1, 2, 5, 6, 10, 11, 63, 64, 65, 200])
def test_each_is_a_dict_of_its_own(length: int) -> None:
    expected = {f"key {n}": [n] if n == length - 1 else n for n in range(length)}
    text = dumps([expected] * 20)
    for _ in range(3):
        found: list[dict[str, Any]] = loads(text)
        for number, each in enumerate(found):
            each["more"] = number
            del each["key 0"]
            each["key 0"] = None
            assert list(each) == [*list(expected)[1:], "more", "key 0"]
            each.clear()
        assert loads(text) == [expected] * 20


def test_those_with_containers_are_collected() -> None:
    text = b'[{"inner":{"id":1},"list":[]},{"inner":{"id":1},"list":[]}]'
    for _ in range(5):
        for each in loads(text):
            each["list"].append(each)
            assert gc.is_tracked(each)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(100):
        for each in loads(text):
            each["list"].append(each)
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_no_reference_is_left() -> None:
    text = dumps([{"id": n, "role": "user", "none": None, "metadata": {"id": 1}} for n in range(100)])

    key = next(iter(loads(text)[0]))

    def count() -> list[int]:
        for _ in range(50):
            loads(text)
        return [sys.getrefcount(None), sys.getrefcount(key), sys.getallocatedblocks()]

    count()
    before, after = count(), count()
    assert all(abs(later - earlier) < 50 for earlier, later in zip(before, after, strict=True))


def test_keys_that_are_doubled_come_again() -> None:
    text = b'[{"id":1,"role":2,"id":3},{"id":1,"role":2,"id":3},{"id":1,"role":2,"id":3}]'
    for _ in range(5):
        assert [list(each.items()) for each in loads(text)] == [[("id", 3), ("role", 2)]] * 3
