"""`dumps` against the standard library, and what it has beyond that."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import struct
import uuid
from collections import OrderedDict, defaultdict
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.values import MAX_DEPTH, compact, identical, nested, values

from swisper_ctx import EncodeError, Message, Product, RecordList, SwisperContext, dumps, loads, serialize_context

pytestmark = pytest.mark.usefixtures("way_of_encoding")
texts = st.text(max_size=200) | st.text('aé€😀"\n\\\x00\x1f ', max_size=200) | st.text("abcäöü ", max_size=300)


# -- against the standard library


@given(values)
@example("")
@example({})
@example([])
@example({"": ""})
def test_it_writes_what_the_standard_library_reads(value: Any) -> None:
    assert identical(json.loads(dumps(value)), value)
    assert identical(loads(dumps(value)), value)


@given(values.filter(lambda value: "e" not in compact(value).decode().lower()))
def test_without_exponents_it_is_the_same_text(value: Any) -> None:
    assert dumps(value) == compact(value)


@given(texts)
def test_strings_are_escaped_as_the_standard_library_does(text: str) -> None:
    # It writes DEL as it is, too.
    assert dumps(text) == compact(text)
    assert dumps([text, {text: text}]) == compact([text, {text: text}])


@pytest.mark.parametrize("length", [*range(1, 70), 127, 128, 129, 1023, 1024, 1025, 2049])
@pytest.mark.parametrize("filler", ["a", "é", "€", "😀"])
def test_every_place_in_a_string_is_looked_at(length: int, filler: str) -> None:
    for special in ['"', "\\", "\n", "\0", "\x1f", "ÿ", "\u0100", "\u07ff", "\u0800", "\uffff", "\U0010ffff"]:
        for at in {0, 1, length // 2, length - 1}:
            text = filler * at + special + filler * (length - at - 1)
            assert dumps(text) == compact(text)


@given(values, st.integers(0, 5), st.booleans())
def test_indents_and_sorts_like_the_standard_library(value: Any, indent: int, sort_keys: bool) -> None:
    text = dumps(value, indent=indent, sort_keys=sort_keys)
    expected = json.dumps(loads(dumps(value)), indent=indent, sort_keys=sort_keys, ensure_ascii=False)
    assert loads(text) == value
    if "e" not in expected.lower():
        assert text.decode() == expected


@given(values)
def test_sorted_keys(value: Any) -> None:
    expected = json.dumps(value, sort_keys=True)
    assert json.dumps(json.loads(dumps(value, sort_keys=True))) == expected


@given(st.integers() | st.integers(-(2**70), 2**70))
@example(2**63 - 1)
@example(2**63)
@example(-(2**63))
@example(-(2**63) - 1)
@example(2**64)
@example(2**30)
@example(-(2**30))
@example(2**60)
@example(-(2**60))
def test_integers_are_exact(number: int) -> None:
    assert dumps(number) == str(number).encode()
    assert dumps([number, -number]) == b"[%d,%d]" % (number, -number)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
@example(1e16)
@example(1e22)
@example(123456789012345680.0)
@example(1e-5)
def test_floats_read_back_as_they_were(number: float) -> None:
    assert identical(json.loads(dumps(number)), number)
    assert identical(loads(dumps(number)), number)
    assert len(dumps(number)) <= len(repr(number)) + 3


def test_floats_have_the_digits_of_repr(effort: int) -> None:
    random = Random(1)
    some = [random.uniform(-1000, 1000) * 10.0 ** random.randrange(-9, 16) for _ in range(4_000 * effort)]
    bits = [random.randrange(0x7FF << 52) for _ in range(4_000 * effort)]
    powers = [2.0**power for power in range(-1074, 1024)]
    numbers = [
        *some,
        *struct.unpack(f"<{len(bits)}d", struct.pack(f"<{len(bits)}Q", *bits)),
        *powers,
        *(math.nextafter(power, to) for power in powers for to in (0, 2e308)),
        *(round(number, random.randrange(8)) for number in some),
        *(number // 1 + random.randrange(64) / 64 for number in some),
    ]
    for number, text in zip(numbers, dumps(numbers)[1:-1].decode().split(","), strict=True):
        expected = repr(number)
        if "e" in expected or "e" in text:
            assert Decimal(text) == Decimal(expected)
        else:
            assert text == expected


# -- the other types


class Words(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Listed(list[Any]):
    pass


class Keyed(dict[str, Any]):
    def items(self) -> Any:
        return [("instead", 1)]


class Colour(enum.Enum):
    RED = "red"
    MIXED = ("a", 1)


class Level(enum.IntEnum):
    LOW = 1


class Name(enum.StrEnum):
    FIRST = "first"


class Bits(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (), ("a",)), [1, [], ["a"]]),
        (Words("wört"), "wört"),
        ({Words("k"): Words("v")}, {"k": "v"}),
        (Number(10**20), 10**20),
        (Real(0.5), 0.5),
        (Listed([1, Listed()]), [1, []]),
        (OrderedDict(a=1, b=2), {"a": 1, "b": 2}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Keyed(a=1), {"instead": 1}),
        (Point(1, 2), [1, 2]),
        (Colour.RED, "red"),
        (Colour.MIXED, ["a", 1]),
        (Level.LOW, 1),
        (Name.FIRST, "first"),
        ({Name.FIRST: Name.FIRST}, {"first": "first"}),
        (Bits.A | Bits.B, 3),
        (uuid.UUID("0198f1f2-5c1e-7d64-9f5e-3b2a7c1d4e5f"), "0198f1f2-5c1e-7d64-9f5e-3b2a7c1d4e5f"),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (uuid.UUID(int=2**128 - 1), "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        (date(2026, 11, 22), "2026-11-22"),
        (date(1, 1, 1), "0001-01-01"),
    ],
)
def test_other_types(value: Any, expected: Any) -> None:
    for _ in range(2):
        assert identical(json.loads(dumps(value)), expected)
        assert identical(json.loads(dumps([value, {"k": value}])), [expected, {"k": expected}])


def test_an_ordered_dict_has_its_own_order() -> None:
    ordered = OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    assert dumps(ordered) == b'{"b":2,"a":1}'
    assert dumps(ordered, sort_keys=True) == b'{"a":1,"b":2}'


EAST, WEST = timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=3, minutes=30))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 11, 22, 9, 30, 15, tzinfo=UTC), "2026-11-22T09:30:15Z"),
        (datetime(2026, 11, 22, 9, 30, 15, 7, tzinfo=UTC), "2026-11-22T09:30:15.000007Z"),
        (datetime(2026, 11, 22, 9, 30, 15, 7, tzinfo=EAST), "2026-11-22T09:30:15.000007+05:45"),
        (datetime(1, 1, 1, tzinfo=WEST), "0001-01-01T00:00:00-03:30"),
        (datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Zurich")), "2026-07-01T12:00:00+02:00"),
        (datetime(2026, 11, 22, tzinfo=UTC).replace(tzinfo=None), "2026-11-22T00:00:00"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999999Z"),
        # RFC 3339 has no seconds in an offset: the moment is told in UTC.
        (datetime(1880, 1, 1, tzinfo=timezone(timedelta(seconds=2048))), "1879-12-31T23:25:52Z"),
        (time(1, 2, 3), "01:02:03"),
        (time(1, 2, 3, 45, tzinfo=UTC), "01:02:03.000045Z"),
        (time(1, 2, tzinfo=WEST), "01:02:00-03:30"),
        (time(1, 2, tzinfo=ZoneInfo("Europe/Zurich")), "01:02:00"),
    ],
)
def test_times(value: Any, expected: str) -> None:
    assert json.loads(dumps([value])) == [expected]
    if isinstance(value, datetime):
        assert datetime.fromisoformat(expected) == value


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_a_time_is_the_same_moment(moment: datetime) -> None:
    try:
        text = loads(dumps(moment))
    except EncodeError:
        assert moment.year in (1, 9999)
        return
    read = datetime.fromisoformat(text)
    assert read == moment or moment.fold or moment.utcoffset() != moment.replace(fold=1).utcoffset()
    assert (read.tzinfo is None) == (moment.tzinfo is None)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(seconds=1))),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(-timedelta(seconds=1))),
    ],
)
def test_a_time_with_an_uneven_offset_that_utc_has_not_is_refused(moment: datetime) -> None:
    with pytest.raises(EncodeError, match="UTC") as refused:
        dumps({"at": moment})
    assert refused.value.pointer == "/at"


def test_a_time_of_day_with_an_uneven_offset_is_refused() -> None:
    with pytest.raises(EncodeError, match="minutes"):
        dumps(time(1, tzinfo=timezone(timedelta(seconds=1))))


class WithToDict:
    def __init__(self, given: Any) -> None:
        self.given = given

    def to_dict(self) -> Any:
        return self.given


@dataclasses.dataclass
class OwnForm:
    secret: str

    def to_dict(self) -> dict[str, str]:
        return {"shown": "x"}


def test_to_dict_tells() -> None:
    assert dumps(WithToDict({"a": [WithToDict(1)]})) == b'{"a":[1]}'
    assert dumps(OwnForm("s")) == b'{"shown":"x"}'
    with pytest.raises(EncodeError, match="not a JSON type"):
        dumps(WithToDict)


def test_default_is_asked_for_the_rest() -> None:
    asked = []

    def default(value: Any) -> Any:
        asked.append(value)
        return [str(value)] if isinstance(value, Decimal) else sorted(value)

    assert dumps({"a": Decimal("1.5"), "b": {2, 1}}, default=default) == b'{"a":["1.5"],"b":[1,2]}'
    assert asked == [Decimal("1.5"), {1, 2}]
    assert dumps(Decimal(1), default=lambda value: None) == b"null"
    with pytest.raises(TypeError, match="function"):
        dumps(1, default=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("indent", [-1, 65, "x", 1.5])
def test_indents_that_are_none(indent: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        dumps([1], indent=indent)


# -- what is refused


@dataclasses.dataclass
class Holder:
    inner: Any = None


@pytest.mark.parametrize(
    ("value", "kind", "pointer"),
    [
        ({"a": [1, {"b/c": object()}]}, "object is not a JSON type", "/a/1/b~1c"),
        ([float("nan")], "NaN", "/0"),
        ([[], float("inf")], "infinity", "/1"),
        ({"a": "\ud800"}, "surrogate", "/a"),
        (["x" * 2000 + "\udfff"], "surrogate", "/0"),
        (["😀\udfff"], "surrogate", "/0"),
        ({"\ud800": 1}, "surrogate", ""),
        ({1: 2}, "key", ""),
        ([{None: 2}], "key", "/0"),
        (Holder([{1}]), "set is not", "/inner/0"),
        ((1, b"x"), "bytes is not", "/1"),
        ({"a": {"b": 1j}}, "complex is not", "/a/b"),
    ],
)
def test_what_is_refused(value: Any, kind: str, pointer: str) -> None:
    for options in ({}, {"indent": 1}, {"sort_keys": True}):
        with pytest.raises(EncodeError, match=kind) as caught:
            dumps(value, **options)
        assert caught.value.pointer == pointer


def test_depth() -> None:
    assert loads(dumps(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    record = Product("p")
    for value in (
        nested(MAX_DEPTH + 1),
        nested(MAX_DEPTH, {}),
        nested(MAX_DEPTH, ()),
        nested(MAX_DEPTH, Holder()),
        nested(MAX_DEPTH, record),
        nested(MAX_DEPTH - 1, RecordList(Product, [record])),
        nested(MAX_DEPTH, SwisperContext()),
        nested(MAX_DEPTH, OrderedDict()),
        [Message("user", "x", metadata={"deep": nested(MAX_DEPTH - 2)})],
    ):
        with pytest.raises(EncodeError, match="deeper than 128"):
            dumps(value)
    for value in (nested(MAX_DEPTH - 1, record), nested(MAX_DEPTH - 2, RecordList(Product, [record]))):
        assert loads(dumps(value))
    assert loads(dumps(nested(MAX_DEPTH, Colour.RED)))
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(EncodeError, match="deeper than 128"):
        dumps(cycle)
    again = WithToDict(None)
    again.given = again
    with pytest.raises(EncodeError, match="deeper than 128"):
        dumps(again)


# -- records and contexts


def test_records_are_copied_as_they_are() -> None:
    text = b'{"message_id":"m","role":"user","content":"\\u0041\\/","x":[1.5]}'
    record = Message.from_json(text)
    assert dumps(record) == text
    assert dumps([record, {"r": record}], sort_keys=True) == b'[%b,{"r":%b}]' % (text, text)
    records = RecordList(Message, [record] * 500)
    assert dumps(records) == b"[" + b",".join([text] * 500) + b"]"
    assert dumps({"all": records, "none": RecordList(Message)}) == b'{"all":%b,"none":[]}' % dumps(records)
    assert dumps(record.replace(metadata={"a": [1]}).metadata) == b'{"a":[1]}'


class OwnContext(SwisperContext):
    due: datetime | None = None
    cart: list[str] = dataclasses.field(default_factory=list)


def test_a_context_is_what_serialize_context_makes_of_it() -> None:
    context = OwnContext(user_id="u")
    before = dict(vars(context))
    assert loads(dumps(context)) == serialize_context(context)
    assert dict(vars(context)) == before
    context.conversation_history.extend([Message("user", f"wört {n}") for n in range(300)])
    context.soft_preferences["a"] = [1.5, None]
    context.due = datetime(2026, 1, 1, tzinfo=EAST)
    assert loads(dumps(context)) == serialize_context(context)
    assert list(loads(dumps(context))) == list(serialize_context(context))
    assert loads(dumps({"c": [context]}, indent=1)) == {"c": [serialize_context(context)]}
    assert list(loads(dumps(context, sort_keys=True))) == sorted(serialize_context(context))
    context.cart = ("not", "a", "list")  # type: ignore[assignment]
    with pytest.raises(EncodeError, match="tuple") as caught:
        dumps([context])
    assert caught.value.pointer == "/0/cart"


class Zone(tzinfo):
    dst = tzname = tzinfo.utcoffset  # type: ignore[assignment]

    def utcoffset(self, _when: datetime | None) -> timedelta:
        raise LookupError("no offset today")


def test_a_text_may_have_any_length_behind_others_of_its_kind() -> None:
    for length in (40_000, 30_000, 1, 0, 2_000_000, 5, 900_000, 900_100, 32_760, 40_000, 200_000, 3):
        for text in ("x" * length, "\n" * length, "é" * length):
            assert dumps([text]) == json.dumps([text], ensure_ascii=False, separators=(",", ":")).encode()


def test_what_python_code_raises_is_raised() -> None:
    with pytest.raises(LookupError, match="today"):
        dumps([datetime(2026, 1, 1, tzinfo=Zone())])
    with pytest.raises(ZeroDivisionError):
        dumps({"a": [object()]}, default=lambda value: 1 / 0)
