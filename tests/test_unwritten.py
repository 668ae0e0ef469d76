"""Long strings in the fields of a context: referred to when a save begins, written where its frame is made."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swisper_ctx import EncodeError, SwisperContext
from swisper_ctx._core import Delta, Snapshot

LONG = 1024 * 1024
"""Of so many characters a string is long."""

LENGTHS = st.sampled_from([0, 1, 4095, LONG - 1, LONG, LONG + 1, LONG + 4096])


def strings(characters: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Of these characters, short ones and long ones."""
    pieces = st.text(characters, min_size=1)
    return st.builds(lambda piece, length: (piece * (length // len(piece) + 1))[:length], pieces, LENGTHS)


TEXTS = strings(st.characters(codec="utf-8")) | strings(st.characters(max_codepoint=127))
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=6,
)


def frozen(context: SwisperContext) -> tuple[Delta, Snapshot]:
    delta = context._freeze()
    assert delta is not None
    return delta, delta.snapshot


@given(VALUES)
def test_what_is_written_later_is_what_stood_there(value: Any) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    context.metadata["value"] = value
    delta, snapshot = frozen(context)
    (operation,) = json.loads(delta.patch())
    assert operation["value"]["metadata"] == {"value": value}
    assert snapshot.get("metadata") == {"value": value}
    assert snapshot.size == len(snapshot.to_json()) - sum(len(name) + 4 for name in snapshot.names) - 1


@given(VALUES, st.data())
def test_the_same_value_is_no_change_and_any_other_one_is(value: Any, data: st.DataObject) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    context.metadata["value"] = value
    _, snapshot = frozen(context)
    assert snapshot.freeze({"metadata": {"value": value}}) is None
    other = data.draw(st.just(f"{value}x") | VALUES.filter(lambda other: repr(other) != repr(value)))
    assert snapshot.freeze({"metadata": {"value": other}}) is not None


@pytest.mark.parametrize("place", [0, 1, 4095, 4096, 4097, LONG // 2, LONG - 1])
@pytest.mark.parametrize("character", ["b", '"', "\\", "\n", "\0", "\x7f"])
def test_a_string_that_differs_at_one_place_is_a_change(place: int, character: str) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    context.metadata["value"] = "a" * LONG
    _, snapshot = frozen(context)
    other = "a" * place + character + "a" * (LONG - place - 1)
    delta = snapshot.freeze({"metadata": {"value": other}})
    assert delta is not None
    assert delta.snapshot.get("metadata") == {"value": other}
    assert delta.snapshot.freeze({"metadata": {"value": other}}) is None


def test_a_long_string_is_referred_to_until_it_is_written() -> None:
    context = SwisperContext(session_id="s", user_id="u")
    text = "".join(["x"] * LONG)
    before = sys.getrefcount(text)
    context.metadata["value"] = text
    delta, snapshot = frozen(context)
    assert sys.getrefcount(text) == before + 2
    with ThreadPoolExecutor(1) as threads:
        patch = threads.submit(delta.patch).result()
    assert json.loads(patch)[0]["value"]["metadata"] == {"value": text}
    assert sys.getrefcount(text) == before + 1
    assert snapshot.get("metadata") == {"value": text}


def test_what_is_written_stays_when_nobody_else_has_the_string() -> None:
    context = SwisperContext(session_id="s", user_id="u")
    context.metadata["value"] = ["".join(["x"] * LONG), "short"]
    delta, _ = frozen(context)
    context.metadata["value"].clear()
    context.metadata["value"] = "".join(["y"] * LONG)
    assert json.loads(delta.patch())[0]["value"]["metadata"] == {"value": ["x" * LONG, "short"]}


def test_a_refused_value_beside_a_long_string_lets_go_of_it() -> None:
    context = SwisperContext(session_id="s", user_id="u")
    text = "".join(["x"] * LONG)
    context.metadata["value"] = [text, object()]
    before = sys.getrefcount(text)
    with pytest.raises(EncodeError, match="/metadata/value/1"):
        context._freeze()
    assert sys.getrefcount(text) == before
