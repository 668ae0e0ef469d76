"""Records, lists and contexts as pydantic models: requests are checked as the constructors check."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from tests.values import CLASSES, RecordClass, identical, objects, values

from swisper_ctx import (
    EncodeError,
    Message,
    PIIEntity,
    PipelineExecution,
    Product,
    RecordList,
    SwisperContext,
    field,
    serialize_context,
)

messages = TypeAdapter(Message)


class Everything(SwisperContext):
    price: float = 0.0
    limit: int | None = None
    mode: Literal["a", "b"] = "a"
    nested: dict[str, list[int]] = field(default_factory=dict)
    due: datetime | None = None
    begun: datetime = datetime(2020, 1, 1, tzinfo=UTC)


class Envelope(BaseModel):
    message: Message
    products: RecordList[Product]
    context: Everything | None = None


def test_a_dict_is_completed_as_the_constructor_does() -> None:
    before = datetime.now(UTC)
    made = messages.validate_python({"role": "user", "content": "hi", "own": {"a": [1, 1.0, True, None]}})
    assert type(made) is Message
    assert made.message_id is not None
    assert len(made.message_id) == 36
    assert made.timestamp is not None
    assert before <= made.timestamp <= datetime.now(UTC)
    assert identical(made.to_dict()["own"], {"a": [1, 1.0, True, None]})
    assert made.to_dict().keys() == {"message_id", "role", "content", "timestamp", "own"}
    assert "name" in messages.validate_python({"role": "user", "name": None}).to_dict()


def test_instances_pass_through() -> None:
    record, products, context = Message("user"), RecordList(Product, [Product("p")]), Everything(user_id="u")
    made = Envelope(message=record, products=products, context=context)
    assert made.message is record
    assert made.products is products
    assert made.context is context


def test_a_list_of_another_class_does_not_pass() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RecordList[Product]).validate_python(RecordList(Message, [Message("user")]))
    made = TypeAdapter(RecordList[Product]).validate_python([Product("p"), {"product_id": "q", "price": 5}])
    assert type(made) is RecordList
    assert [(one.product_id, one.price) for one in made] == [("p", None), ("q", 5)]
    with pytest.raises(TypeError, match="RecordList"):
        TypeAdapter(RecordList)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901+05:30", datetime(2026, 1, 1, 21, 34, 5, 678901, tzinfo=UTC)),
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1))), datetime(2026, 1, 1, 23, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339_text_or_datetimes(text: Any, expected: datetime) -> None:
    assert messages.validate_python({"role": "user", "timestamp": text}).timestamp == expected
    run = TypeAdapter(PipelineExecution).validate_python({"pipeline_name": "p", "started_at": text})
    assert run.started_at == expected


@pytest.mark.parametrize(
    "wrong", ["2026-01-02T03:04:05", "yesterday", "1767322800", 1767322800, 1.5, True, "0001-01-01T00:00:00+23:00"]
)
def test_others_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        messages.validate_python({"role": "user", "timestamp": wrong})


def accepted(cls: RecordClass, members: dict[str, Any]) -> bool:
    """Whether the constructor takes these."""
    try:
        cls(**members)
    except (EncodeError, TypeError):
        return False
    return True


@pytest.mark.parametrize("cls", CLASSES)
@given(data=st.data())
def test_a_field_is_accepted_if_and_only_if_the_constructor_accepts_it(cls: RecordClass, data: st.DataObject) -> None:
    names = [name for name, _, _ in cls._fields]
    required = {"role": "r", "product_id": "p", "pipeline_name": "p", "entity_type": "e"}
    members: dict[str, Any] = {name: required[name] for name in names if name in required}
    # Times are the one kind for which requests may have text.
    times = {name for name, kind, _ in cls._fields if kind in ("now", "time")}
    several = st.dictionaries(st.sampled_from(sorted({*names} - times)), values, max_size=3)
    members |= data.draw(several)
    try:
        made = TypeAdapter(cls).validate_python(members)
    except ValidationError:
        assert not accepted(cls, members)
    else:
        assert accepted(cls, members)
        given_back = {name: made.to_dict()[name] for name in members}
        assert identical(given_back, members)


@given(extra=objects)
def test_unknown_keys_are_kept_whatever_they_are(extra: dict[str, Any]) -> None:
    known = {name for name, _, _ in Message._fields}
    extra = {name: value for name, value in extra.items() if name not in known}
    made = messages.validate_python({"role": "user", **extra})
    assert identical({name: made.to_dict()[name] for name in extra}, extra)


def test_what_json_cannot_hold_is_refused() -> None:
    for wrong in ({"role": "user", "own": {1, 2}}, {"role": "user", "metadata": {"a": (1,)}}):
        with pytest.raises(ValidationError):
            messages.validate_python(wrong)
    with pytest.raises(ValidationError):
        TypeAdapter(Product).validate_json('{"product_id":"p","price":NaN}')


def test_every_fault_is_told_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        messages.validate_python({"content": 3, "message_id": None, "name": 1})
    assert {error["loc"][0] for error in caught.value.errors()} == {"role", "content", "message_id", "name"}


def test_json_text_and_python_objects_are_checked_alike() -> None:
    text = '{"product_id":"p","price":1,"score":1.0,"attributes":{"n":100000000000000000000}}'
    made = TypeAdapter(Product).validate_json(text)
    assert made == TypeAdapter(Product).validate_python(json.loads(text))
    assert identical(made.to_dict(), json.loads(text), ordered=False)


def test_responses_are_what_to_dict_gives() -> None:
    record = Message("user", "é", metadata={"n": 10**30, "f": 1.0})
    products = RecordList(Product, [Product("p", price=2.5)])
    context = Everything(user_id="u", due=datetime(2026, 1, 2, tzinfo=UTC))
    context.conversation_history.append(record)
    envelope = Envelope(message=record, products=products, context=context)
    expected = {
        "message": record.to_dict(),
        "products": products.to_dicts(),
        "context": serialize_context(context),
    }
    assert identical(envelope.model_dump(), expected)
    assert identical(json.loads(envelope.model_dump_json()), expected)


def test_a_context_is_checked_by_its_own_declarations() -> None:
    adapter = TypeAdapter(Everything)
    made = adapter.validate_python(
        {
            "user_id": "u",
            "price": 1,
            "limit": None,
            "mode": "b",
            "nested": {"a": [1, 2]},
            "due": "2026-01-02T03:04:05+01:00",
            "conversation_history": [{"role": "user"}],
            "not_declared": [1],
        }
    )
    assert type(made) is Everything
    assert (made.price, type(made.price), made.mode) == (1, int, "b")
    assert made.due == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert made.begun == datetime(2020, 1, 1, tzinfo=UTC)
    assert made.conversation_history[0].message_id is not None
    assert (made.version, made.session_id != "") == (0, True)
    assert serialize_context(made)["not_declared"] == [1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": "1"},
        {"limit": 1.5},
        {"mode": "c"},
        {"nested": {"a": ["1"]}},
        {"due": "soon"},
        {"begun": None},
        {"version": "1"},
        {"user_id": None},
        {"conversation_history": [{"content": "no role"}]},
        {"consent_status": {"a": 1}},
        {"own": {1}},
        {"data_retention_policy": "7y"},
        {"data_retention_policy": None},
        {"created_at": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_and_refused_for_what_they_do_not_allow(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Everything).validate_python(wrong)


def test_a_context_survives_its_own_response() -> None:
    context = Everything(user_id="u", price=2.5, nested={"a": [1]}, due=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    context.conversation_history.append(Message("user", "hi"))
    context.pii_extracted.append(PIIEntity("EMAIL", 0, 5))
    adapter = TypeAdapter(Everything)
    again = adapter.validate_json(adapter.dump_json(context))
    assert identical(serialize_context(again), serialize_context(context))


def test_json_schemas_have_the_fields_with_their_types() -> None:
    schema = TypeAdapter(Everything).json_schema()
    properties = schema["properties"]
    assert properties["price"]["type"] == "number"
    assert properties["nested"]["additionalProperties"] == {"items": {"type": "integer"}, "type": "array"}
    assert properties["due"]["anyOf"] == [{"format": "date-time", "type": "string"}, {"type": "null"}]
    assert properties["search_results"]["items"] == {"$ref": "#/$defs/Product"}
    assert properties["session_id"]["type"] == "string"
    product = schema["$defs"]["Product"]
    assert product["required"] == ["product_id"]
    assert product["properties"]["attributes"]["anyOf"][0]["type"] == "object"
    assert TypeAdapter(Message).json_schema(mode="serialization")["properties"]["role"]["type"] == "string"


def test_pydantic_is_imported_only_when_it_asks() -> None:
    modules = {"pydantic", "pydantic_core", "swisper_ctx.pydantic_schema"}
    probe = f"import sys, swisper_ctx; assert not {modules} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", probe], check=True)
