"""`dumps` against the standard library, and what it has beyond that."""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.values import MAX_DEPTH, compact, identical, nested, values

from swisper_ctx import EncodeError, Message, Product, RecordList, SwisperContext, dumps, loads, serialize_context
from swisper_ctx._core import choose_kernels, read_directly

LEVELS = ["baseline", "avx2", "avx512", "vbmi2"]
texts = st.text(max_size=200) | st.text('aé€😀"\n\\\x00\x1f ', max_size=200) | st.text("abcäöü ", max_size=300)


@pytest.fixture(scope="module", params=[*LEVELS, "public functions"], autouse=True)
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of it with each kind of kernel, and without looking past the interpreter's public functions."""
    if request.param in LEVELS:
        choose_kernels(request.param)
    else:
        read_directly(False)
    yield
    read_directly(True)
    choose_kernels("vbmi2")


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
    except OverflowError:  # near the ends of the calendar, with an offset that is not whole minutes
        return
    read = datetime.fromisoformat(text)
    assert read == moment or moment.fold or moment.utcoffset() != moment.replace(fold=1).utcoffset()
    assert (read.tzinfo is None) == (moment.tzinfo is None)


def test_a_time_of_day_with_an_uneven_offset_is_refused() -> None:
    with pytest.raises(EncodeError, match="minutes"):
        dumps(time(1, tzinfo=timezone(timedelta(seconds=1))))


@dataclasses.dataclass
class Plain:
    text: str
    number: int = 0
    _private: Any = None
    inner: Any = dataclasses.field(default_factory=dict)
    shared: ClassVar[int] = 1
    given: dataclasses.InitVar[int] = 2


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    text: str
    number: int = 0
    inner: Any = None


@dataclasses.dataclass
class Derived(Plain):
    more: float = 0.5


@dataclasses.dataclass(slots=True, frozen=True)
class DerivedSlots(Slotted):
    more: float = 0.5


class Base:
    __slots__ = ("text",)


@dataclasses.dataclass
class HalfSlotted(Base):
    text: str
    number: int


@dataclasses.dataclass
class Computed:
    text: str

    @property
    def number(self) -> int:
        return 7

    def __getattribute__(self, name: str) -> Any:
        return "seen" if name == "text" else object.__getattribute__(self, name)


@dataclasses.dataclass
class Empty:
    pass


def members(value: Any) -> Any:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


@pytest.mark.parametrize(
    "value",
    [
        Plain("ä", 1),
        Plain("ä", 1, 2, [1]),
        Slotted("ä", 1, {"a": [1]}),
        Derived("x", 1, more=1.5),
        DerivedSlots("x", 1),
        HalfSlotted("x", 1),
        Computed("x"),
        Empty(),
    ],
)
def test_dataclasses(value: Any) -> None:
    for _ in range(3):
        assert dumps(value) == dumps(members(value))
        assert dumps([value, [value]]) == dumps([members(value), [members(value)]])
    assert list(json.loads(dumps(value, sort_keys=True))) == sorted(members(value))
    assert dumps(value, indent=2) == dumps(members(value), indent=2)


def test_fields_with_long_names_and_many_of_them() -> None:
    names = [f"field_{'x' * n}" for n in range(60)]
    for slots in (True, False):
        made = dataclasses.make_dataclass("Made", names, slots=slots)
        value = made(*range(60))
        assert json.loads(dumps(value)) == dict(zip(names, range(60), strict=True))


def test_attributes_that_were_set_in_another_order_deleted_and_changed() -> None:
    values = [Plain(str(n), n) for n in range(20)]
    object.__delattr__(values[1], "number")  # the default of the class is left
    values[2].extra = 1  # type: ignore[attr-defined]
    assert vars(values[3])
    vars(values[4])["number"] = 44
    values[5].__dict__ = {"text": "own", "number": 5, "_private": 0, "inner": 0}
    values[6].__class__ = Derived
    values[6].more = 1.25  # type: ignore[attr-defined]
    for value in values:
        assert json.loads(dumps(value)) == members(value)
    del values[7].text
    with pytest.raises(AttributeError, match="text"):
        dumps(values)
    slotted = object.__new__(Slotted)
    with pytest.raises(AttributeError, match="text"):
        dumps(slotted)


def test_a_class_that_is_changed_is_looked_at_anew() -> None:
    @dataclasses.dataclass
    class Changing:
        text: str

    value = Changing("x")
    assert dumps(value) == b'{"text":"x"}'
    Changing.to_dict = lambda self: {"other": 1}  # type: ignore[attr-defined]
    assert dumps(value) == b'{"other":1}'
    del Changing.to_dict  # type: ignore[attr-defined]
    Changing.text = property(lambda self: "property", lambda self, value: None)  # type: ignore[assignment]
    assert dumps(value) == b'{"text":"property"}'


def test_many_classes() -> None:
    for n in range(500):
        made = dataclasses.make_dataclass(f"Made{n}", [f"a{n % 7}", f"b{n}"], slots=n % 2 == 0)
        assert json.loads(dumps([made(1, "x"), made(2, "y")])) == [
            {f"a{n % 7}": 1, f"b{n}": "x"},
            {f"a{n % 7}": 2, f"b{n}": "y"},
        ]


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
        (Plain("x", inner=[{1}]), "set is not", "/inner/0"),
        ((1, b"x"), "bytes is not", "/1"),
        ({"a": {"b": 1j}}, "complex is not", "/a/b"),
    ],
)
def test_what_is_refused(value: Any, kind: str, pointer: str) -> None:
    for options in ({}, {"indent": 1}, {"sort_keys": True}):
        with pytest.raises(EncodeError, match=kind) as caught:
            dumps(value, **options)
        assert caught.value.pointer == pointer


def deep(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


def test_depth() -> None:
    assert loads(dumps(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    record = Product("p")
    for value in (
        nested(MAX_DEPTH + 1),
        deep(MAX_DEPTH, {}),
        deep(MAX_DEPTH, ()),
        deep(MAX_DEPTH, Plain("x")),
        deep(MAX_DEPTH, record),
        deep(MAX_DEPTH - 1, RecordList(Product, [record])),
        deep(MAX_DEPTH, SwisperContext()),
        deep(MAX_DEPTH, OrderedDict()),
        [Message("user", "x", metadata={"deep": nested(MAX_DEPTH - 2)})],
    ):
        with pytest.raises(EncodeError, match="deeper than 128"):
            dumps(value)
    for value in (deep(MAX_DEPTH - 1, record), deep(MAX_DEPTH - 2, RecordList(Product, [record]))):
        assert loads(dumps(value))
    assert loads(dumps(deep(MAX_DEPTH, Colour.RED)))
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


def test_what_python_code_raises_is_raised() -> None:
    with pytest.raises(LookupError, match="today"):
        dumps([datetime(2026, 1, 1, tzinfo=Zone())])
    with pytest.raises(ZeroDivisionError):
        dumps({"a": [object()]}, default=lambda value: 1 / 0)
