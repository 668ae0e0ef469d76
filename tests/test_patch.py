from __future__ import annotations

import copy
import json
import pickle
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jsonpatch
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from tests.edits import edit
from tests.jsonpatch_cases import cases
from tests.values import MAX_DEPTH, compact, identical, integers, keys, nested, objects, scalars, values

from swisper_ctx import (
    DecodeError,
    EncodeError,
    Message,
    Patch,
    PatchError,
    RecordList,
    SwisperContext,
    apply_patch,
    diff,
)

CASES = cases()


def same(a: object, b: object) -> bool:
    return identical(a, b, ordered=False)


@pytest.mark.parametrize("case", CASES, ids=[str(n) for n in range(len(CASES))])
@pytest.mark.parametrize("as_bytes", [False, True], ids=["objects", "bytes"])
def test_json_patch_tests(case: dict[str, Any], as_bytes: bool) -> None:
    document = compact(case["doc"]) if as_bytes else copy.deepcopy(case["doc"])
    if "error" in case:
        with pytest.raises(PatchError):
            apply_patch(document, Patch(case["patch"]))
    else:
        patched = apply_patch(document, Patch(case["patch"]))
        found = json.loads(patched) if as_bytes else patched
        assert same(found, case.get("expected", case["doc"]))
    assert document == (compact(case["doc"]) if as_bytes else case["doc"])


def check(source: Any, target: Any) -> Patch:
    """The patch from the one to the other, which objects, text and another library take alike, and back."""
    before, after = copy.deepcopy(source), copy.deepcopy(target)
    patch = diff(source, target)
    assert same(apply_patch(source, patch), target)
    assert same(apply_patch(apply_patch(source, patch), patch.invert(source)), source)
    assert Patch(list(patch)) == Patch.from_json(patch.to_json()) == patch
    assert identical(source, before)
    assert identical(target, after)
    texts = diff(compact(source), compact(target))
    assert same(json.loads(apply_patch(compact(source), texts)), target)
    assert same(json.loads(apply_patch(json.dumps(source, indent=1).encode(), patch)), target)
    assert same(apply_patch(source, diff(json.dumps(source, indent=2).encode(), json.dumps(target).encode())), target)
    assert same(jsonpatch.apply_patch(source, list(patch)), target)
    return patch


pairs = st.tuples(values, values)


@given(pairs)
def test_any_value_is_led_to_any_other(pair: tuple[Any, Any]) -> None:
    check(*pair)
    assert len(diff(pair[0], copy.deepcopy(pair[0]))) == 0


@given(objects, st.data())
def test_small_edits_are_led_back_and_forth(source: dict[str, Any], data: st.DataObject) -> None:
    target = copy.deepcopy(source)
    for _ in range(data.draw(st.integers(1, 3))):
        edit(target, data)
    check(source, target)


elements = st.lists(st.fixed_dictionaries({"id": st.integers(0, 12), "body": scalars}), max_size=12)


@given(elements, elements, st.booleans())
def test_elements_with_ids(source: list[dict[str, Any]], target: list[dict[str, Any]], unique: bool) -> None:
    if unique:
        source, target = (list({item["id"]: item for item in items}.values()) for items in (source, target))
    patch = check(source, target)
    event(f"moves: {Counter(operation['op'] for operation in patch)['move'] > 0}")


few = st.lists(st.integers(0, 3), max_size=30)


@given(few, few)
def test_elements_without_ids(source: list[int], target: list[int]) -> None:
    check([[n] for n in source], [[n] for n in target])


@given(objects, st.lists(st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), max_size=6), st.data())
def test_all_operations_agree_with_another_library(
    document: dict[str, Any], verbs: list[str], data: st.DataObject
) -> None:
    def pointers(value: Any, at: str = "") -> list[str]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        escaped = [(str(key).replace("~", "~0").replace("/", "~1"), part) for key, part in inner]
        return [at, *(found for key, part in escaped for found in pointers(part, f"{at}/{key}"))]

    expected, operations = copy.deepcopy(document), []
    for verb in verbs:
        places = st.sampled_from(pointers(expected))
        target = places | places.map(lambda place: f"{place}/-") | places.map(lambda place: f"{place}/new")
        path, source = data.draw(target), data.draw(places)
        operation = {"op": verb, "path": path, "from": source, "value": data.draw(values)}
        if verb == "test":
            operation |= {"path": source, "value": jsonpatch.JsonPointer(source).resolve(expected)}
        # Where that library departs from the RFC it cannot judge.
        if operation["path"] == "" or operation["from"] == "":
            continue
        try:
            expected = jsonpatch.apply_patch(expected, [operation])
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError):
            continue
        operations.append(operation)
    patch = Patch(operations)
    before = copy.deepcopy(document)
    patched = apply_patch(document, patch)
    assert same(patched, expected)
    assert same(json.loads(apply_patch(compact(document), patch)), expected)
    assert same(apply_patch(patched, patch.invert(document)), document)
    assert identical(document, before)


def test_types_differ() -> None:
    for source, target in [(1, 1.0), (1, True), (0, False), (1.0, True), (0.0, -0.0), ([1], [True]), (None, False)]:
        patch = diff({"a": source}, {"a": target})
        assert len(patch) == 1
        assert identical(apply_patch({"a": source}, patch), {"a": target})
        assert len(diff(compact({"a": source}), compact({"a": target}))) == 1
        with pytest.raises(PatchError, match="does not hold"):
            apply_patch({"a": source}, Patch([{"op": "test", "path": "/a", "value": target}]))
    assert diff({"a": 1, "b": 2}, {"b": 2, "a": 1}) == diff(b'{"a":1,"b":2}', b'{"b":2,"a":1}') == Patch()


def test_a_patch_that_does_not_fit_changes_nothing() -> None:
    patch = Patch([{"op": "add", "path": "/a/b/-", "value": 1}, {"op": "remove", "path": "/a/x"}])
    document = {"a": {"b": [0]}}
    with pytest.raises(PatchError) as caught:
        apply_patch(document, patch)
    assert (caught.value.operation, caught.value.path) == (1, "/a/x")
    assert document == {"a": {"b": [0]}}
    for target in (b'{"a":{"b":[0]}}', RecordList(Message), SwisperContext(user_id="u")):
        with pytest.raises(PatchError):
            apply_patch(target, patch)


def test_what_is_not_touched_is_shared_and_copies_are_not() -> None:
    document: dict[str, Any] = {"a": {"b": [1]}, "kept": {"x": []}}
    patch = Patch([{"op": "add", "path": "/a/b/-", "value": {}}, {"op": "copy", "from": "/kept", "path": "/copy"}])
    patched = apply_patch(document, patch)
    assert patched["kept"] is document["kept"]
    assert patched["a"] is not document["a"]
    assert patched["copy"] is not document["kept"]
    assert patched["copy"]["x"] is not document["kept"]["x"]
    patched["a"]["b"][1]["y"] = 1
    assert apply_patch(document, patch)["a"]["b"] == [1, {}]
    # A value that was put there by the patch and changed by it is its own.
    twice = Patch([{"op": "move", "from": "/a", "path": "/z"}, {"op": "add", "path": "/z/b/0", "value": 0}])
    assert apply_patch(document, twice) == {"kept": {"x": []}, "z": {"b": [0, 1]}}
    assert document == {"a": {"b": [1]}, "kept": {"x": []}}


def test_read_only_values_of_records_are_compared_and_patched() -> None:
    message = Message(role="user", content="x", metadata={"a": {"b": [1]}})
    metadata = message.metadata
    assert metadata is not None
    assert diff(metadata, {"a": {"b": [1]}}) == Patch()
    patched = apply_patch(metadata, Patch([{"op": "add", "path": "/a/b/-", "value": 2}]))
    assert patched == {"a": {"b": [1, 2]}}
    assert type(patched) is dict
    assert message.metadata == {"a": {"b": [1]}}


def test_a_patch_is_an_immutable_sequence() -> None:
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": "/a", "value": {"n": 1}},
        {"op": "move", "from": "/a", "path": "/b"},
        {"op": "remove", "path": "/b"},
    ]
    patch = Patch(operations)
    assert isinstance(patch, Sequence)
    assert list(patch) == operations
    assert list(reversed(patch)) == operations[::-1]
    assert patch[-1] == operations[2]
    assert patch[1:] == Patch(operations[1:])
    assert patch[::-2] == Patch(operations[::-2])
    assert operations[1] in patch
    assert patch.index(operations[1]) == 1
    assert patch.count(operations[0]) == 1
    assert {"op": "add", "path": "/a", "value": {"n": True}} not in patch
    assert 5 not in patch  # type: ignore[comparison-overlap]
    with pytest.raises(ValueError, match="no such operation"):
        patch.index(operations[0], 1)
    with pytest.raises(IndexError):
        patch[3]
    patch[0]["value"]["n"] = 2
    assert patch[0] == operations[0]
    assert patch != Patch([{**operations[0], "value": {"n": 1.0}}, *operations[1:]])
    assert patch != operations
    assert patch == Patch(patch)
    assert hash(patch) == hash(Patch(patch))
    assert pickle.loads(pickle.dumps(patch)) == copy.deepcopy(patch) == copy.copy(patch) == patch
    with pytest.raises(AttributeError):
        patch.x = 1  # type: ignore[attr-defined]
    assert len(Patch()) == 0
    assert Patch() == Patch([])
    assert str(Patch()) == ""


def test_repr_has_no_values_and_str_is_for_people() -> None:
    patch = Patch(
        [
            {"op": "replace", "path": "/a", "value": "secret"},
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "add", "path": "/c", "value": "é" * 100},
            {"op": "test", "path": "", "value": None},
        ]
    )
    assert repr(patch) == '<Patch of 4 operations: replace "/a", copy "/b", add "/c", 1 more>'
    shortened = '"' + "é" * 59
    assert str(patch) == f'~ /a: "secret"\n= /a to /b\n+ /c: {shortened}…\n? (all): null'


def test_malformed_patches() -> None:
    malformed: list[dict[str, Any]] = [{"op": "add"}, {"op": "x", "path": ""}, {"op": "move", "path": ""}, {"path": ""}]
    for operation in [{}, {"op": 1, "path": ""}, *malformed]:
        with pytest.raises(PatchError) as caught:
            Patch([{"op": "remove", "path": "/a"}, operation])
        assert caught.value.operation == 1
    for data in (b"", b"{}", b"[1]", b'[{"op":"add","path":"","value":1}', b"[] []", b"\xff", "[\ud800]"):
        with pytest.raises((DecodeError, PatchError, UnicodeEncodeError)):
            Patch.from_json(data)
    for operations in ([1], [{"op": "add", "path": "", "value": (1,)}], [{1: 2}]):
        with pytest.raises(EncodeError):
            Patch(operations)  # type: ignore[arg-type]
    for wrong in (5, None, object()):
        with pytest.raises(TypeError):
            Patch.from_json(wrong)  # type: ignore[arg-type]


def test_hostile_patches_are_refused() -> None:
    deep = nested(MAX_DEPTH)
    assert apply_patch({}, Patch([{"op": "add", "path": "", "value": deep}])) == deep
    with pytest.raises(PatchError, match="deeper than 128"):
        Patch([{"op": "add", "path": "/a", "value": deep}])
    doubling = Patch([{"op": "copy", "from": "", "path": "/-"}] * 60)
    for document in ([], ["x" * 1000], b"[]", b"[1]"):
        with pytest.raises(PatchError, match=r"16 MiB|deeper than 128"):
            apply_patch(document, doubling)
    nesting = Patch(
        [
            {"op": "add", "path": "/b", "value": nested(100)},
            {"op": "move", "from": "/b", "path": "/a" * 40},
        ]
    )
    inner: dict[str, Any] = {}
    for _ in range(39):
        inner = {"a": inner}
    for target in (inner, compact(inner)):
        with pytest.raises(PatchError, match="deeper than 128"):
            apply_patch(target, nesting)
    with pytest.raises(DecodeError):
        apply_patch(b"[" * 100_000, Patch())
    for wrap in (b"[%b]", b'{"a":%b}'):
        before, after = b"1", b"2"
        for _ in range(3_000):
            before, after = wrap % before, wrap % after
        with pytest.raises(DecodeError):
            diff(before, after)
    with pytest.raises(EncodeError):
        diff(nested(5000), nested(5001))
    with pytest.raises(EncodeError):
        diff([nested(5000)], [nested(5001)])


def test_what_cannot_be_compared() -> None:
    for source, target in [({"a": 1}, b"{}"), (Message(role="user"), {}), (SwisperContext(), {}), (b"1", 1)]:
        with pytest.raises(TypeError, match="one kind"):
            diff(source, target)
    with pytest.raises(EncodeError) as caught:
        diff({"a": [1, (2,)]}, {"a": [1, (3,)]})
    assert caught.value.pointer == "/a/1"
    for bad in ({"a": float("nan")}, {1: 2}, {"a": {2}}, object()):
        with pytest.raises(EncodeError):
            diff({}, bad)
    for text in (b"{", b"", b"[1,]", b'{"a":01}'):
        with pytest.raises(DecodeError):
            diff(b"{}", text)
        with pytest.raises(DecodeError):
            apply_patch(text, Patch())


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_bytes_of_any_kind_raise_or_differ(a: bytes, b: bytes) -> None:
    try:
        patch = diff(a, b)
    except DecodeError:
        return
    assert len(patch) == (a != b) or len(patch) > 0


@given(st.dictionaries(keys, scalars, min_size=1, max_size=4), integers)
def test_keys_that_stand_twice_are_replaced_with_their_object(members: dict[str, Any], number: int) -> None:
    text = compact(members)
    doubled = text[:-1] + b"," + text[1:]
    patch = diff(doubled, doubled[:-1] + b',"more":' + str(number).encode() + b"}")
    assert [operation["path"] for operation in patch] == [""]
