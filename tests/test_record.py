"""Building records, reading their fields, and changing them by making others."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from enum import IntEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.values import CLASSES, RecordClass, identical, objects, values

from swisper_ctx import EncodeError, Message, PIIEntity, PipelineExecution, Product, RecordList
from swisper_ctx.errors import DecodeError

NOON = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)
FIELDS: dict[RecordClass, dict[str, Any]] = {
    Message: {
        "message_id": "m-1",
        "role": "tool",
        "content": "42",
        "timestamp": NOON,
        "name": "search",
        "tool_calls": [{"id": "c-1", "arguments": {"q": "fridge"}}],
        "tool_call_id": "c-1",
        "metadata": {"tokens": 7},
    },
    Product: {
        "product_id": "p-1",
        "name": "Quiet fridge",
        "price": 899.0,
        "currency": "CHF",
        "url": "https://shop.example/p-1",
        "attributes": {"noise_db": 35},
        "score": 1,
    },
    PipelineExecution: {
        "execution_id": "e-1",
        "pipeline_name": "product_search",
        "status": "completed",
        "started_at": NOON,
        "finished_at": NOON + timedelta(microseconds=1),
        "duration_ms": 0.001,
        "input": ["fridge"],
        "result": 3,
        "error": False,
        "metrics": {"hits": 3},
    },
    PIIEntity: {
        "entity_type": "email",
        "start": 0,
        "end": 17,
        "score": 0.99,
        "detector": "regex",
        "message_id": "m-1",
        "path": "/content",
        "placeholder": "[EMAIL_1]",
        "fingerprint": "c0ffee",
    },
}
FIRST = {Message: "role", Product: "product_id", PipelineExecution: "pipeline_name", PIIEntity: "entity_type"}
FILLED_IN = {
    Message: {"message_id", "timestamp"},
    Product: set(),
    PipelineExecution: {"execution_id"},
    PIIEntity: set(),
}
every_class = pytest.mark.parametrize("record_class", CLASSES)


def build(record_class: Any, *args: Any, **fields: Any) -> Any:
    """A record whose arguments only the running code may judge."""
    return record_class(*args, **fields)


class Text(str):
    __slots__ = ()


class Object(dict[str, Any]):
    pass


class Array(list[Any]):
    pass


class Level(IntEnum):
    LOW = 1


class Nowhere(tzinfo):
    """A time zone that knows no offset: such a datetime is a naive one."""

    def utcoffset(self, _moment: datetime | None) -> None: ...
    def dst(self, _moment: datetime | None) -> None: ...
    def tzname(self, _moment: datetime | None) -> None: ...


# -- construction


@every_class
def test_every_field_by_keyword(record_class: RecordClass) -> None:
    fields = FIELDS[record_class]
    record = build(record_class, **fields)
    assert identical({name: copy.deepcopy(getattr(record, name)) for name in fields}, fields)
    assert list(record.to_dict()) == list(fields)
    assert record.extra == {}


@every_class
def test_keywords_in_any_order_give_the_same_text(record_class: RecordClass) -> None:
    fields = FIELDS[record_class]
    assert build(record_class, **dict(reversed(fields.items()))).to_json() == build(record_class, **fields).to_json()


def test_the_first_fields_are_positional() -> None:
    assert (Message("user", "hello").role, Message("user", "hello").content) == ("user", "hello")
    assert Product("p-1", "Fridge").to_dict() == {"product_id": "p-1", "name": "Fridge"}
    run = PipelineExecution("search", "failed")
    assert (run.pipeline_name, run.status) == ("search", "failed")
    assert PIIEntity("email", 3, 9).to_dict() == {"entity_type": "email", "start": 3, "end": 9}


@every_class
def test_what_is_left_out_is_absent(record_class: RecordClass) -> None:
    first = FIRST[record_class]
    record = build(record_class, FIELDS[record_class][first])
    assert set(record.to_dict()) == {first} | FILLED_IN[record_class]
    absent = set(FIELDS[record_class]) - set(record.to_dict())
    assert {name: getattr(record, name) for name in absent} == dict.fromkeys(absent)


def test_absent_null_and_empty_are_three_states() -> None:
    absent, null, empty = Product("p"), Product("p", name=None, attributes=None), Product("p", name="", attributes={})
    assert absent.to_json() == b'{"product_id":"p"}'
    assert null.to_json() == b'{"product_id":"p","name":null,"attributes":null}'
    assert empty.to_json() == b'{"product_id":"p","name":"","attributes":{}}'
    assert (absent.name, null.name, empty.name) == (None, None, "")
    assert absent != null != empty != absent


@every_class
@pytest.mark.parametrize(
    ("args", "fields", "problem"),
    [
        ((), {}, "needs"),
        (("a",), {"no_field": 1}, "no field 'no_field'"),
        (("a", "b", 1, 2), {}, "at most"),
    ],
)
def test_arguments_that_do_not_fit(
    record_class: RecordClass, args: tuple[Any, ...], fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TypeError, match=problem):
        build(record_class, *args, **fields)


def test_a_field_given_twice() -> None:
    with pytest.raises(TypeError, match="'role' twice"):
        build(Message, "user", role="user")


@pytest.mark.parametrize(
    ("record_class", "fields", "at"),
    [
        (Message, {"role": None}, "/role"),
        (Message, {"role": 1}, "/role"),
        (Message, {"role": Text("user")}, "/role"),
        (Message, {"message_id": None}, "/message_id"),
        (Message, {"message_id": UUID(int=1)}, "/message_id"),
        (Message, {"content": b"bytes"}, "/content"),
        (Message, {"content": {"type": "text"}}, "/content"),
        (Message, {"content": ("part",)}, "/content"),
        (Message, {"content": [{"text": {1, 2}}]}, "/content/0/text"),
        (Message, {"timestamp": "2024-01-01T00:00:00Z"}, "/timestamp"),
        (Message, {"timestamp": date(2024, 1, 1)}, "/timestamp"),
        (Message, {"timestamp": 1_700_000_000}, "/timestamp"),
        (Message, {"tool_calls": {}}, "/tool_calls"),
        (Message, {"tool_calls": Array()}, "/tool_calls"),
        (Message, {"metadata": []}, "/metadata"),
        (Message, {"metadata": Object()}, "/metadata"),
        (Message, {"metadata": {"a/b": [0, {"~": (1, 2)}]}}, "/metadata/a~1b/1/~0"),
        (Message, {"metadata": {"a": {1: 2}}}, "/metadata/a"),
        (Message, {"metadata": {"a": Message("user")}}, "/metadata/a"),
        (Product, {"price": True}, "/price"),
        (Product, {"price": "899"}, "/price"),
        (Product, {"price": Level.LOW}, "/price"),
        (Product, {"price": float("nan")}, "/price"),
        (Product, {"score": float("-inf")}, "/score"),
        (Product, {"attributes": {"size": complex(1)}}, "/attributes/size"),
        (PipelineExecution, {"status": Level.LOW}, "/status"),
        (PipelineExecution, {"input": NOON}, "/input"),
        (PipelineExecution, {"result": [Level.LOW]}, "/result/0"),
        (PIIEntity, {"start": 1.0}, "/start"),
        (PIIEntity, {"end": False}, "/end"),
    ],
)
def test_types_are_strict(record_class: RecordClass, fields: dict[str, Any], at: str) -> None:
    complete = {FIRST[record_class]: "x", **fields}
    with pytest.raises(EncodeError) as caught:
        build(record_class, **complete)
    assert caught.value.pointer == at
    with pytest.raises(EncodeError) as caught:
        build(record_class, "x").replace(**fields)
    assert caught.value.pointer == at


@pytest.mark.parametrize("record_class", [Message, PipelineExecution])
def test_ids_are_random_uuids(record_class: RecordClass) -> None:
    # More than are drawn from the system at once.
    texts = [next(iter(build(record_class, "x").to_dict().values())) for _ in range(1000)]
    ids = [UUID(text) for text in texts]
    assert {(found.version, found.variant) for found in ids} == {(4, "specified in RFC 4122")}
    assert [str(found) for found in ids] == texts
    assert len(set(ids)) == len(ids)


# -- times


def test_the_timestamp_is_the_present_in_utc() -> None:
    before = datetime.now(UTC)
    found = Message("user").timestamp
    after = datetime.now(UTC)
    assert found is not None
    assert found.tzinfo is UTC
    assert before <= found <= after


@given(
    moment=st.datetimes(),
    offset=st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)),
)
def test_times_are_converted_to_utc(moment: datetime, offset: timedelta) -> None:
    local = moment.replace(tzinfo=timezone(offset))
    try:
        expected = local.astimezone(UTC)
    except OverflowError:
        with pytest.raises(EncodeError, match="at /timestamp"):
            Message("user", timestamp=local)
        return
    found = Message("user", timestamp=local).timestamp
    assert found is not None
    assert identical([found, found.tzinfo], [expected, UTC])


@pytest.mark.parametrize("naive", [NOON.replace(tzinfo=None), NOON.replace(tzinfo=Nowhere())])
def test_naive_times_are_refused(naive: datetime) -> None:
    for build_one in (lambda: Message("user", timestamp=naive), lambda: PipelineExecution("p", started_at=naive)):
        with pytest.raises(EncodeError, match="time zone"):
            build_one()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29T12:30:15.250000Z", NOON),
        ("2024-02-29T14:30:15.25+02:00", NOON),
        ("2024-02-29T12:30:15Z", NOON.replace(microsecond=0)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_times_written_by_others_are_read(text: str, expected: datetime) -> None:
    record = Message.from_dict({"timestamp": text})
    assert identical(record.timestamp, expected)
    assert record.to_dict() == {"timestamp": text}


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2024-02-30T00:00:00Z", "2024-01-01T24:01:00Z", "2024-01-01T00:00:00", "0001-01-01T00:00:00+01:00"],
)
def test_text_that_is_no_time_is_an_error_where_it_is_read(text: str) -> None:
    record = Message.from_dict({"role": "user", "timestamp": text})
    assert record.role == "user"
    with pytest.raises(DecodeError, match="RFC 3339") as caught:
        _ = record.timestamp
    assert caught.value.pointer == "/timestamp"


# -- from_dict, to_dict, replace


@every_class
@given(source=objects)
def test_from_dict_neither_requires_nor_adds(record_class: RecordClass, source: dict[str, Any]) -> None:
    record = record_class.from_dict(source)
    assert identical(record.to_dict(), source)
    declared = FIELDS[record_class]
    assert identical(copy.deepcopy(record.extra), {key: value for key, value in source.items() if key not in declared})


def test_unknown_keys_are_kept_apart_and_stay() -> None:
    record = Message.from_dict({"x": [1.0], "role": "user", "y": None})
    assert identical(copy.deepcopy(record.extra), {"x": [1.0], "y": None})
    assert record.replace(role="tool").to_json() == b'{"x":[1.0],"role":"tool","y":null}'


def test_nothing_reaches_into_a_record() -> None:
    source = {"role": "user", "metadata": {"tags": ["a"]}}
    record = Message.from_dict(source)
    text = record.to_json()
    source["metadata"] = {}
    record.to_dict()["role"] = "tool"
    with pytest.raises(TypeError, match="replace"):
        record.extra["more"] = 1
    assert record.metadata is not None
    with pytest.raises(TypeError, match="replace"):
        record.metadata["tags"].append("b")
    assert record.to_json() == text
    assert record.metadata == {"tags": ["a"]}


@pytest.mark.parametrize("source", [None, 5, "text", [], [("role", "user")], Message("user")])
def test_from_dict_takes_dicts(source: Any) -> None:
    with pytest.raises(TypeError):
        Message.from_dict(source)
    with pytest.raises(EncodeError):
        Message.from_dict(Object(role="user"))


@every_class
def test_replace_changes_what_it_is_given(record_class: RecordClass) -> None:
    fields = FIELDS[record_class]
    record = build(record_class, **fields)
    others = {name: value for name, value in build(record_class, "x").to_dict().items() if name == FIRST[record_class]}
    changed = record.replace(**others)
    assert type(changed) is record_class
    assert identical(changed.to_dict(), {**record.to_dict(), **others})
    assert record == build(record_class, **fields)
    assert record.replace().to_json() == record.to_json()


def test_replace_keeps_id_and_time_and_adds_behind() -> None:
    record = Message("user", "a")
    changed = record.replace(content=None, name="n")
    assert (changed.message_id, changed.timestamp) == (record.message_id, record.timestamp)
    assert list(changed.to_dict()) == ["message_id", "role", "content", "timestamp", "name"]
    with pytest.raises(TypeError, match="no field 'extra'"):
        build(record.replace, extra={})


# -- what a record is in Python


@given(values)
def test_the_repr_holds_no_content(value: Any) -> None:
    secret = "Zeno-4711"
    record = Message(secret, secret, metadata={secret: value})
    for text in (repr(record), str(record), f"{record}"):
        assert secret not in text
        assert "Message" in text


@every_class
def test_records_are_frozen(record_class: RecordClass) -> None:
    record = build(record_class, "x")
    text = record.to_json()
    for name in (*FIELDS[record_class], "extra", "no_field"):
        with pytest.raises(AttributeError, match=r"replace\("):
            setattr(record, name, "y")
        with pytest.raises(AttributeError, match=r"replace\("):
            delattr(record, name)
    assert record.to_json() == text


def test_match_statement() -> None:
    found: list[Any] = []
    for record in (Message("user", "hi"), Product("p", "n"), PipelineExecution("x", "done"), PIIEntity("e", 1, 2)):
        match record:
            case Message(role, content):
                found.append((role, content))
            case Product(product_id, name):
                found.append((product_id, name))
            case PipelineExecution(pipeline_name, status):
                found.append((pipeline_name, status))
            case PIIEntity(entity_type, start, end):
                found.append((entity_type, start, end))
    assert found == [("user", "hi"), ("p", "n"), ("x", "done"), ("e", 1, 2)]


@every_class
@given(source=objects)
def test_copies_and_pickles_are_the_same_record(record_class: RecordClass, source: dict[str, Any]) -> None:
    record = record_class.from_dict(source)
    pickles = [pickle.loads(pickle.dumps(record, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (copy.copy(record), copy.deepcopy(record), copy.deepcopy([record])[0], *pickles):
        assert type(twin) is record_class
        assert twin.to_json() == record.to_json()
        assert twin == record


@pytest.mark.parametrize("final", [*CLASSES, RecordList])
def test_classes_are_final(final: type[Any]) -> None:
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Derived", (final,), {})
