from __future__ import annotations

import json
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from swisper_ctx import Product

KEYS = st.one_of(st.text(max_size=3), st.sampled_from([f"key {n}" for n in range(40)]))


def encoded(members: dict[str, Any]) -> list[tuple[str, Any]]:
    """The members of a dict in the order in which they stand in a record."""
    text = Product(product_id="p", attributes=members).to_json()
    return list(json.loads(text)["attributes"].items())


@given(st.lists(st.tuples(st.sampled_from(["put", "pop", "pop last", "copy", "clear"]), KEYS), max_size=60))
def test_every_member_is_encoded_whatever_was_removed_before(steps: list[tuple[str, str]]) -> None:
    members: dict[str, Any] = {}
    for number, (step, key) in enumerate(steps):
        if step == "put":
            members[key] = number
        elif step == "pop":
            event("removed" if key in members else "was not there")
            members.pop(key, None)
        elif step == "pop last" and members:
            members.popitem()
        elif step == "copy":
            members = dict(members)
        elif step == "clear" and number % 7 == 0:
            members.clear()
        assert encoded(members) == list(members.items())


@given(st.dictionaries(KEYS, st.integers(), min_size=1))
def test_a_dict_that_once_had_other_keys_is_encoded(members: dict[str, Any]) -> None:
    general: dict[Any, Any] = {1: "gone", **members, (2,): "gone"}
    del general[1], general[2,]
    assert encoded(general) == list(members.items())


class Plain:
    """Its instances share the keys of their dicts."""

    def __init__(self, a: int, b: int) -> None:
        self.a, self.b = a, b


def test_the_dict_of_an_instance_is_encoded() -> None:
    first, second = Plain(1, 2), Plain(3, 4)
    del second.a
    second.a = 5
    vars(first)["c"] = 6
    assert encoded(vars(first)) == [("a", 1), ("b", 2), ("c", 6)]
    assert encoded(vars(second)) == [("b", 4), ("a", 5)]
    assert encoded(vars(Plain(7, 8))) == [("a", 7), ("b", 8)]


def test_keywords_and_large_dicts_are_encoded() -> None:
    def keywords(**given: Any) -> dict[str, Any]:
        return given

    assert encoded(keywords(b=1, a=2)) == [("b", 1), ("a", 2)]
    large = {f"key {number}": number for number in range(100_000)}
    for number in range(0, 100_000, 3):
        del large[f"key {number}"]
    assert encoded(large) == list(large.items())
