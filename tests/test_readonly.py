"""What is read from a record cannot be changed, passes for its builtin, and is plain again once it is copied."""

from __future__ import annotations

import copy
import gc
import json
import pickle
from collections.abc import Callable, Iterator
from sys import getrefcount
from typing import Any

import pytest

from swisper_ctx import Message, RecordList, SwisperContext
from swisper_ctx._core import read_directly
from swisper_ctx.readonly import ReadOnlyDict, ReadOnlyList

METADATA = {"tags": ["a", {"b": [1.0]}], "n": {"deep": {}}}


def metadata() -> Any:
    return Message("user", metadata=METADATA).metadata


CHANGES: list[Callable[[Any], object]] = [
    lambda d: d.__setitem__("x", 1),
    lambda d: d.__delitem__("n"),
    lambda d: d.__ior__({"x": 1}),
    lambda d: d.clear(),
    lambda d: d.pop("n"),
    lambda d: d.popitem(),
    lambda d: d.setdefault("x", 1),
    lambda d: d.update(x=1),
    lambda d: d["n"]["deep"].update(x=1),
    lambda d: d["tags"].__setitem__(0, "x"),
    lambda d: d["tags"].__delitem__(0),
    lambda d: d["tags"].__iadd__(["x"]),
    lambda d: d["tags"].__imul__(2),
    lambda d: d["tags"].append("x"),
    lambda d: d["tags"].clear(),
    lambda d: d["tags"].extend(["x"]),
    lambda d: d["tags"].insert(0, "x"),
    lambda d: d["tags"].pop(),
    lambda d: d["tags"].remove("a"),
    lambda d: d["tags"].reverse(),
    lambda d: d["tags"].sort(),
    lambda d: d["tags"][1]["b"].append(2),
]


@pytest.mark.parametrize("change", CHANGES)
def test_no_mutator_works(change: Callable[[Any], object]) -> None:
    found = metadata()
    with pytest.raises(TypeError, match="replace"):
        change(found)
    assert found == METADATA


@pytest.mark.parametrize(("ours", "builtin"), [(ReadOnlyDict, dict), (ReadOnlyList, list)])
def test_every_method_that_changes_the_builtin_is_refused(ours: type, builtin: type) -> None:
    reading = {"copy", "count", "fromkeys", "get", "index", "items", "keys", "values"}
    for name in set(dir(builtin)) - reading:
        if not name.startswith("__") or name in {"__setitem__", "__delitem__", "__iadd__", "__imul__", "__ior__"}:
            assert getattr(ours, name) is not getattr(builtin, name), name


def test_it_passes_for_the_builtin() -> None:
    found = metadata()
    assert isinstance(found, dict)
    assert isinstance(found["tags"], list)
    assert json.loads(json.dumps(found)) == METADATA
    assert {**found} == METADATA


@pytest.mark.parametrize("made", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_are_plain_all_the_way_down(made: Callable[[Any], Any]) -> None:
    found = made(metadata())
    assert found == METADATA
    assert [type(found), type(found["tags"]), type(found["tags"][1]), type(found["n"]["deep"])] == [
        dict,
        list,
        dict,
        dict,
    ]
    assert type(copy.copy(metadata())) is dict
    assert type(copy.copy(metadata()["tags"])) is list


def test_it_may_be_put_into_another_record_or_field() -> None:
    found = metadata()
    history = RecordList(Message, [Message("user", found["tags"], metadata=found)])
    assert history[0].metadata == METADATA
    context = SwisperContext(metadata=found)
    assert context._freeze() is not None
    assert context._position.snapshot.get("metadata") == METADATA
    assert type(context._position.snapshot.get("metadata")) is dict


@pytest.mark.parametrize("directly", [True, False])
def test_what_is_read_again_and_again_is_read_only_each_time(directly: bool, reading: None) -> None:
    read_directly(directly)
    message, kinds = Message("user", metadata=METADATA), (ReadOnlyDict, ReadOnlyList, ReadOnlyDict, ReadOnlyList)
    assert message.metadata == METADATA
    before = [getrefcount(own) for own in (ReadOnlyDict, ReadOnlyList)]
    for _ in range(2000):
        found: Any = message.metadata
        assert (type(found), type(found["tags"]), type(found["tags"][1]), type(found["tags"][1]["b"])) == kinds
        assert (found, list(found), type(dict(found))) == (METADATA, list(METADATA), dict)
        with pytest.raises(TypeError, match="replace"):
            found["tags"][1]["b"].append(2)
        with pytest.raises(TypeError, match="replace"):
            found["n"]["deep"].update(x=1)
    del found
    gc.collect()
    assert [getrefcount(own) for own in (ReadOnlyDict, ReadOnlyList)] == before


@pytest.fixture
def reading() -> Iterator[None]:
    """Afterwards objects are read as they are at import."""
    yield
    read_directly(True)
