"""A context is plain attributes, and knows what has changed in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.replay import Follower
from tests.values import identical

from swisper_ctx import (
    InvalidTransitionError,
    MemorySessionStore,
    Message,
    PIIEntity,
    PipelineExecution,
    Product,
    RecordList,
    SwisperContext,
    serialize_context,
)
from swisper_ctx.context import METADATA
from swisper_ctx.errors import EncodeError

DEFAULTS: dict[str, Any] = {
    "current_state": "idle",
    "conversation_history": [],
    "product_query": "",
    "hard_constraints": [],
    "soft_preferences": {},
    "search_results": [],
    "pipeline_executions": [],
    "performance_metrics": {},
    "cache_keys": [],
    "buffer_store": {},
    "summary_store": {},
    "semantic_memory_refs": [],
    "pii_extracted": [],
    "consent_status": {},
    "data_retention_policy": "session",
    "metadata": {},
}
RECORDS: dict[str, Any] = {
    "conversation_history": Message,
    "search_results": Product,
    "pipeline_executions": PipelineExecution,
    "pii_extracted": PIIEntity,
}
DICTS = [name for name, default in DEFAULTS.items() if default == {}]
LISTS = [name for name, default in DEFAULTS.items() if default == [] and name not in RECORDS]
TEXTS = [name for name, default in DEFAULTS.items() if isinstance(default, str)]
TABLE = {"idle": ["searching"], "searching": ["idle", "presenting"]}


def followed(**fields: Any) -> tuple[SwisperContext, Follower]:
    """A context that was handed over once."""
    context = SwisperContext(**fields)
    follower = Follower(context)
    assert follower.follow()
    return context, follower


async def reloaded(context: SwisperContext) -> SwisperContext:
    """What a store gives back of a context."""
    store = MemorySessionStore()
    await store.save_session(context)
    found = await store.load_session(context.session_id)
    assert found is not None
    return found


# -- what there is at first


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name: str) -> None:
    context = SwisperContext()
    value = getattr(context, name)
    if name in RECORDS:
        assert type(value) is RecordList
        assert len(value) == 0
        value.append(RECORDS[name].from_dict({}))
    else:
        assert identical(value, DEFAULTS[name])
    assert getattr(context, name) is value
    assert getattr(SwisperContext(), name) is not value or isinstance(value, str)
    assert DEFAULTS.keys() == SwisperContext._fields.keys()


def test_defaults_of_metadata() -> None:
    context = SwisperContext()
    assert (context.user_id, context.version, context.created_at, context.updated_at) == ("", 0, None, None)
    named = SwisperContext(session_id="s-1", user_id="u-1")
    assert (named.session_id, named.user_id) == ("s-1", "u-1")


def test_session_ids_are_random() -> None:
    ids = {SwisperContext().session_id for _ in range(100)}
    assert len(ids) == 100
    # 128 bits in hexadecimal.
    assert {len(session_id) for session_id in ids} == {32}


def test_the_first_version_has_every_field() -> None:
    _, follower = followed(product_query="fridge")
    assert identical(json.loads(follower.text), {**DEFAULTS, "product_query": "fridge"})
    assert [operation["op"] for operation in follower.patch] == ["add"]


def test_fields_may_be_given_at_the_start() -> None:
    context = SwisperContext(
        conversation_history=[Message("user", "hi"), {"role": "tool"}],  # type: ignore[arg-type]
        metadata={"a": [1]},
    )
    assert [record.role for record in context.conversation_history] == ["user", "tool"]
    assert type(context.conversation_history) is RecordList
    assert context.metadata == {"a": [1]}


# -- attributes


@pytest.mark.parametrize("name", ["conversation_histroy", "_private", "_position", ""])
def test_typos_are_errors(name: str) -> None:
    context: Any = SwisperContext()
    with pytest.raises(AttributeError, match="not a field"):
        setattr(context, name, 1)
    with pytest.raises(AttributeError):
        type(context)(**{name: 1})
    if name != "_position":
        with pytest.raises(AttributeError):
            getattr(context, name)


@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_for_the_store_to_set(name: str) -> None:
    context, follower = followed()
    before = getattr(context, name)
    with pytest.raises(AttributeError, match="set by the store"):
        setattr(context, name, before)
    with pytest.raises(AttributeError):
        delattr(context, name)
    assert getattr(context, name) is before
    assert not follower.follow()


@pytest.mark.parametrize("name", ["conversation_history", "metadata", "product_query"])
def test_a_field_cannot_be_deleted_with_its_edits(name: str) -> None:
    context, _ = followed()
    context.conversation_history.append(Message("user"))
    context.metadata["a"] = 1
    context.product_query = "fridge"
    before = serialize_context(context)
    with suppress(AttributeError):
        delattr(context, name)
    assert serialize_context(context) == before


def test_the_repr_holds_no_content() -> None:
    context = SwisperContext(session_id="s-1", user_id="Zeno", product_query="Zeno", metadata={"Zeno": "Zeno"})
    context.conversation_history.append(Message("user", "Zeno"))
    assert repr(context) == "<SwisperContext s-1 version 0>"


@pytest.mark.parametrize("name", RECORDS)
def test_assigning_to_a_list_of_records_keeps_the_list(name: str) -> None:
    context, follower = followed()
    records = getattr(context, name)
    for new in ([RECORDS[name].from_dict({"n": 1})], [{"n": 1.0}, {}], (record for record in ({"n": True},)), []):
        setattr(context, name, new)
        assert getattr(context, name) is records
        assert follower.follow()
    setattr(context, name, records)
    assert not follower.follow()


@pytest.mark.parametrize("wrong", [5, None, "text", [5], {"a": 1}])
def test_only_records_become_lists_of_records(wrong: Any) -> None:
    context, follower = followed()
    context.conversation_history.append(Message("user"))
    with pytest.raises(TypeError):
        context.conversation_history = wrong
    assert len(context.conversation_history) == 1
    assert follower.follow()


def test_a_list_of_records_belongs_into_its_field() -> None:
    context, follower = followed(metadata={"a": 1})
    context.metadata = RecordList(Message)  # type: ignore[assignment]
    with pytest.raises(EncodeError, match="at /metadata"):
        follower.follow()


def test_a_value_that_cannot_be_encoded_leaves_every_edit_of_a_list_to_the_next_save() -> None:
    context, follower = followed(conversation_history=[Message(role="user", content=text) for text in "abcd"])
    history = context.conversation_history
    history[1] = Message(role="user", content="e")
    del history[0]
    history.append(Message(role="user", content="f"))
    wrong: Any = object()
    context.performance_metrics["wrong"] = wrong
    with pytest.raises(EncodeError, match="at /performance_metrics/wrong"):
        follower.follow()
    history.append(Message(role="user", content="g"))
    context.performance_metrics["wrong"] = 1
    assert follower.follow()
    assert [entry["op"] for entry in follower.patch] == ["test", "replace", "test", "remove", "add", "add", "add"]


# -- what has changed


def test_what_is_only_read_has_not_changed() -> None:
    context, follower = followed(metadata={"a": [1, {"b": 2.0}]})
    for name in DEFAULTS:
        getattr(context, name)
    list(context.conversation_history)
    serialize_context(context)
    assert not follower.follow()
    assert "metadata" in vars(context)


async def test_what_was_loaded_has_not_changed() -> None:
    context = await reloaded(
        SwisperContext(metadata={"a": [-0.0, 10**30]}, conversation_history=RecordList(Message, [{}]))
    )
    for name in DEFAULTS:
        getattr(context, name)
    assert context._freeze() is None


@pytest.mark.parametrize("name", RECORDS)
def test_edits_of_records_are_noticed(name: str) -> None:
    context, follower = followed()
    records, record_class = getattr(context, name), RECORDS[name]
    edits: list[Callable[[], object]] = [
        lambda: records.append(record_class.from_dict({"n": 1})),
        lambda: records.extend([{"n": 2}, {"n": 3}]),
        lambda: records.__setitem__(0, records[0].replace(**dict.fromkeys(record_class.__match_args__[:1], "x"))),
        lambda: records.insert(1, {}),
        records.reverse,
        records.pop,
        lambda: records.__delitem__(0),
        records.clear,
    ]
    for edit in edits:
        edit()
        assert follower.follow()
        assert {operation["path"].split("/")[1] for operation in follower.patch} == {name}
        assert not follower.follow()


@pytest.mark.parametrize("name", LISTS)
def test_edits_of_lists_are_noticed(name: str) -> None:
    context, follower = followed()
    items = getattr(context, name)
    edits: list[Callable[[], object]] = [
        lambda: items.extend(["a", "b", "c"]),
        items.reverse,
        lambda: items.insert(1, "d"),
        lambda: items.__setitem__(0, "e"),
        items.pop,
        items.clear,
    ]
    for edit in edits:
        edit()
        assert follower.follow()
        assert not follower.follow()


@pytest.mark.parametrize("name", DICTS)
def test_edits_of_dicts_are_noticed(name: str) -> None:
    context, follower = followed()
    members = getattr(context, name)
    edits: list[Callable[[], object]] = [
        lambda: members.update(a={"deep": [{"deeper": []}]}, b=1),
        lambda: members["a"]["deep"][0]["deeper"].append(None),
        lambda: members["a"].setdefault("more", False),
        lambda: members.__setitem__("b", 1.0),
        lambda: members.__setitem__("b", True),
        lambda: members.__setitem__("a", members.pop("a")),
        lambda: members.pop("b"),
        members.clear,
    ]
    for edit in edits:
        edit()
        assert follower.follow()
        assert not follower.follow()


@pytest.mark.parametrize("name", TEXTS)
def test_new_texts_are_noticed(name: str) -> None:
    context, follower = followed()
    setattr(context, name, getattr(context, name) + "")
    assert not follower.follow()
    setattr(context, name, "4w:idle" if name == "data_retention_policy" else "é\0😀")
    assert follower.follow()


def test_what_was_undone_has_not_changed() -> None:
    context, follower = followed(metadata={"a": 1})
    context.metadata["b"] = 2
    del context.metadata["b"]
    context.metadata = {"a": 1}
    context.product_query = "x"
    context.product_query = ""
    assert not follower.follow()


# -- what cannot be encoded


class Odd(dict[str, Any]):
    pass


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ({"a": [0, {"b/~": {1}}]}, "/metadata/a/1/b~1~0"),
        ({"a": {2: 3}}, "/metadata/a"),
        ({"a": (1, 2)}, "/metadata/a"),
        ({"a": b""}, "/metadata/a"),
        ({"a": Odd()}, "/metadata/a"),
        ({"a": float("inf")}, "/metadata/a"),
        ({"a": "\ud800"}, "/metadata/a"),
        ({"a": datetime(2024, 1, 1, tzinfo=UTC)}, "/metadata/a"),
        ({"a": Message("user")}, "/metadata/a"),
        (Odd(), "/metadata"),
    ],
)
def test_an_encode_error_leads_to_its_value_and_changes_nothing(value: Any, at: str) -> None:
    context, follower = followed(metadata={"old": 1})
    first = Message("user", "before")
    context.conversation_history.append(first)
    context.product_query, context.metadata = "fridge", value
    for _ in range(2):
        with pytest.raises(EncodeError) as caught:
            follower.follow()
        assert caught.value.pointer == at
        assert str(caught.value).endswith(f"(at {at})")
    context.conversation_history.append(Message("user", "after"))
    context.metadata = {"new": 1}
    assert follower.follow()
    assert [operation["path"] for operation in follower.patch].count("/conversation_history/-") == 2
    assert context.conversation_history[0] == first


def test_an_encode_error_before_the_first_version() -> None:
    context = SwisperContext(metadata={"a": {1}})
    context.conversation_history.append(Message("user"))
    follower = Follower(context)
    with pytest.raises(EncodeError, match="at /metadata/a"):
        follower.follow()
    with pytest.raises(EncodeError, match="/a"):
        serialize_context(context)
    context.metadata["a"] = 1
    assert follower.follow()
    assert len(json.loads(follower.text)["conversation_history"]) == 1


# -- transitions


def test_a_transition_tests_the_state_that_it_leaves() -> None:
    context, follower = followed()
    context.transition_to("searching")
    assert context.current_state == "searching"
    assert follower.follow()
    assert [(operation["op"], operation["value"]) for operation in follower.patch] == [
        ("test", "idle"),
        ("replace", "searching"),
    ]
    assert {operation["path"] for operation in follower.patch} == {"/current_state"}


def test_transitions_by_a_table() -> None:
    context, follower = followed()
    for state in ("searching", "presenting"):
        context.transition_to(state, TABLE)
        assert context.current_state == state
    for start, target, allowed in (("presenting", "idle", ()), ("searching", "sold", ("idle", "presenting"))):
        context.current_state = start
        with pytest.raises(InvalidTransitionError, match=f"'{start}' cannot become '{target}'") as caught:
            context.transition_to(target, TABLE)
        assert (caught.value.current, caught.value.target, caught.value.allowed) == (start, target, allowed)
        assert context.current_state == start
    assert follower.follow()
