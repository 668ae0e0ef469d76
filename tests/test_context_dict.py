"""A context as a dict of JSON types, and back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.replay import Follower
from tests.values import identical, keys, objects, values

from swisper_ctx import Message, Product, RecordList, SwisperContext, deserialize_context, field, serialize_context
from swisper_ctx.context import METADATA
from swisper_ctx.errors import DecodeError, EncodeError

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


class Visit(SwisperContext):
    """Has a field of each kind of its own."""

    seen_at: datetime | None = None
    pages: list[str] = field(default_factory=list)
    asides: RecordList[Message] = field(default_factory=lambda: RecordList(Message))


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XXX-05:00")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


filled = st.fixed_dictionaries(
    {},
    optional={
        "conversation_history": st.lists(objects, max_size=3),
        "pii_extracted": st.lists(objects, max_size=2),
        "product_query": st.text(max_size=5),
        "hard_constraints": st.lists(st.text(max_size=5), max_size=3),
        "soft_preferences": objects,
        "metadata": objects,
        "seen_at": st.none() | st.datetimes(timezones=st.just(UTC)),
        "asides": st.lists(objects, max_size=2),
    },
)


def plain(value: Any) -> Any:
    return value.to_dicts() if isinstance(value, RecordList) else value


@given(fields=filled)
def test_there_and_back(fields: dict[str, Any]) -> None:
    context = Visit(user_id="u", **fields)
    whole = serialize_context(context)
    assert identical(json.loads(json.dumps(whole)), whole)
    again = deserialize_context(whole, Visit)
    assert identical(serialize_context(again), whole)
    assert identical({name: plain(getattr(again, name)) for name in fields}, fields)
    Follower(again).follow()
    assert identical(serialize_context(again), whole)


unknown = keys.filter(lambda key: key not in SwisperContext._fields and key not in METADATA)


@given(extra=st.dictionaries(unknown, values, max_size=5))
def test_unknown_keys_are_kept(extra: dict[str, Any]) -> None:
    whole = {**serialize_context(SwisperContext()), **extra}
    context = deserialize_context(whole)
    assert identical(serialize_context(context), {**serialize_context(context), **extra})
    follower = Follower(context)
    assert follower.follow()
    assert identical({name: json.loads(follower.text)[name] for name in extra}, extra)
    assert not follower.follow()


@pytest.mark.parametrize("name", ["transition_to", "_freeze", "_fields", "_position", "__class__"])
def test_unknown_keys_hide_nothing(name: str) -> None:
    context = deserialize_context({**serialize_context(SwisperContext()), name: [1]})
    assert serialize_context(context)[name] == [1]
    context.transition_to("searching")
    follower = Follower(context)
    assert follower.follow()
    assert json.loads(follower.text)[name] == [1]


def test_everything_is_there_in_order() -> None:
    names = list(serialize_context(Visit()))
    assert names == ["session_id", "user_id", *Visit._fields, "created_at", "updated_at", "version"]


def test_the_dict_shares_nothing_with_the_context() -> None:
    context = SwisperContext(metadata={"a": [1]})
    whole = serialize_context(context)
    again = deserialize_context(whole)
    whole["metadata"]["a"].append(2)
    whole["metadata"]["b"] = 3
    assert context.metadata == again.metadata == {"a": [1]}


def test_metadata_is_kept() -> None:
    context = deserialize_context(
        {
            "session_id": "s-1",
            "user_id": "u-1",
            "version": 7,
            "created_at": "2024-02-29T12:00:00Z",
            "updated_at": "2024-02-29T14:00:00.000001+02:00",
        }
    )
    assert (context.session_id, context.user_id, context.version) == ("s-1", "u-1", 7)
    assert identical([context.created_at, context.updated_at], [NOON, NOON + timedelta(microseconds=1)])
    whole = serialize_context(context)
    assert (whole["created_at"], whole["updated_at"]) == ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000001Z")


def test_what_is_missing_has_its_default() -> None:
    whole = serialize_context(deserialize_context({"session_id": "s"}))
    assert identical(whole, serialize_context(SwisperContext(session_id="s")))


@pytest.mark.usefixtures("far_from_utc")
@pytest.mark.parametrize("name", ["created_at", "updated_at", "seen_at"])
@pytest.mark.parametrize("text", ["soon", "", "2024-01-01T00:00:00", "0001-01-01T00:00:00+01:00"])
def test_what_is_no_time_is_refused(name: str, text: str) -> None:
    with pytest.raises(DecodeError, match=f"/{name}"):
        deserialize_context({name: text}, Visit)


def test_what_json_cannot_hold_is_refused() -> None:
    for source in ({"metadata": {"a": {1}}}, {"unknown": {"a": {1}}}, {"conversation_history": [{"a": {1}}]}):
        with pytest.raises(EncodeError, match="/a"):
            deserialize_context(source)


@pytest.mark.parametrize(
    ("wrong", "at"),
    [
        *(({name: wrong}, f"/{name}") for name in ("session_id", "user_id") for wrong in (None, 5, b"s", ["s"])),
        *(({"version": wrong}, "/version") for wrong in (None, "3", 1.0, True)),
        *(({name: 1.7e9}, f"/{name}") for name in ("created_at", "updated_at", "seen_at")),
        *(({"asides": wrong}, "/asides") for wrong in (None, 5, "text", {"a": 1}, [5], [Product("p")])),
    ],
)
def test_what_is_of_another_type_is_refused(wrong: dict[str, Any], at: str) -> None:
    with pytest.raises(DecodeError) as caught:
        deserialize_context(wrong, Visit)
    assert caught.value.pointer == at


@pytest.mark.parametrize(
    ("wrong", "at"),
    [
        ({"metadata": {"a": [0, {1}]}}, "/metadata/a/1"),
        ({"metadata": ("a",)}, "/metadata"),
        ({"un/known~": {"a": b""}}, "/un~1known~0/a"),
        ({"asides": [{"role": "user"}, {"metadata": {"a": {1}}}]}, "/asides/1/metadata/a"),
        *(({name: datetime(2024, 2, 29)}, f"/{name}") for name in ("created_at", "seen_at")),  # noqa: DTZ001
        ({1: 2}, ""),
    ],
)
def test_what_json_cannot_hold_is_found_by_its_pointer(wrong: dict[str, Any], at: str) -> None:
    with pytest.raises(EncodeError) as caught:
        deserialize_context(wrong, Visit)
    assert caught.value.pointer == at


def test_aware_times_are_taken_as_datetimes_too() -> None:
    context = deserialize_context({"created_at": NOON, "seen_at": NOON}, Visit)
    assert identical([context.created_at, context.seen_at], [NOON, NOON])
