"""`dumps` of dataclasses: each field as `getattr` shows it, wherever it stands."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar

import pytest

from swisper_ctx import dumps

pytestmark = pytest.mark.usefixtures("way_of_encoding")


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
