"""Python code that calls `dumps` from inside of `dumps` without end: the stack must not end first."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from collections.abc import Callable
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

import pytest
from tests.values import nested

from swisper_ctx import dumps

Again = Callable[[], Any]


pytestmark = pytest.mark.usefixtures("way_of_encoding")


def mapping(again: Again) -> Any:
    class Keyed(dict[str, Any]):
        def items(self) -> Any:
            return [("text", again())]

    return Keyed(text=1)


def iterated(again: Again) -> Any:
    class Keyed(dict[str, Any]):
        def items(self) -> Any:
            return (("text", again()) for _ in range(1))

    return Keyed(text=1)


def zone(again: Again) -> tzinfo:
    class Zone(tzinfo):
        dst = tzname = tzinfo.utcoffset  # type: ignore[assignment]

        def utcoffset(self, _when: datetime | None) -> timedelta:
            return timedelta(minutes=len(again()) % 2)

    return Zone()


def moved(again: Again) -> Any:
    class Zone(tzinfo):
        dst = tzname = tzinfo.utcoffset  # type: ignore[assignment]

        def utcoffset(self, when: datetime | None) -> timedelta:
            # The second time it is `astimezone` that asks.
            calls.append(when)
            return timedelta(seconds=1 if len(calls) % 2 else len(again()) % 2)

    calls: list[Any] = []
    return datetime(2026, 1, 1, tzinfo=Zone())


def dataclass(again: Again) -> Any:
    @dataclasses.dataclass
    class Plain:
        text: Any = None

        def __getattribute__(self, name: str) -> Any:
            return again() if name == "text" else object.__getattribute__(self, name)

    return Plain()


def attribute(again: Again) -> Any:
    @dataclasses.dataclass
    class Plain:
        text: Any = None

    Plain.text = property(lambda self: again(), lambda self, value: None)
    return Plain()


def number(again: Again) -> Any:
    class Own(uuid.UUID):
        def __getattribute__(self, name: str) -> Any:
            return len(again()) if name == "int" else object.__getattribute__(self, name)

    return Own(int=1)


def enumeration(again: Again) -> Any:
    class Kind(enum.Enum):
        A = 1

        @property
        def value(self) -> Any:
            return again()

    return Kind.A


def members(again: Again) -> Any:
    class Context:
        def _json_members(self) -> dict[str, Any]:
            return {"text": again().decode()}

    return Context()


def to_dict(again: Again) -> Any:
    class Own:
        def to_dict(self) -> Any:
            return again()

    return Own()


def chain(again: Again) -> Any:
    """Many values that stand one for the other take stack too, though no container is open."""

    class Link:
        def __init__(self, rest: int) -> None:
            self.rest = rest

        def to_dict(self) -> Any:
            return Link(self.rest - 1) if self.rest else again()

    return Link(100)


def metaclass(again: Again) -> Any:
    class Meta(type):
        def __getattr__(cls, name: str) -> Any:
            again()
            raise AttributeError(name)

    class Own(metaclass=Meta):
        pass

    return Own()


KINDS: dict[str, Callable[[Again], Any]] = {
    "mapping": mapping,
    "iterated": iterated,
    "datetime": lambda again: datetime(2026, 1, 1, tzinfo=zone(again)),
    "time": lambda again: time(1, tzinfo=zone(again)),
    "moved": moved,
    "dataclass": dataclass,
    "attribute": attribute,
    "uuid": number,
    "enum": enumeration,
    "members": members,
    "to_dict": to_dict,
    "chain": chain,
    "metaclass": metaclass,
}


@pytest.mark.parametrize("around", [0, 1, 60, 118])
@pytest.mark.parametrize("kind", KINDS)
def test_without_end(kind: str, around: int) -> None:
    def again() -> Any:
        return dumps(nested(around, KINDS[kind](again)))

    with pytest.raises(RecursionError):
        again()
    assert dumps([1]) == b"[1]"


@pytest.mark.parametrize("around", [0, 1, 60, 118])
def test_default_without_end(around: int) -> None:
    def default(_value: Any) -> Any:
        return dumps(nested(around, object()), default=default).decode()

    with pytest.raises(RecursionError):
        default(None)
    assert dumps([1]) == b"[1]"


@pytest.mark.parametrize("calls", [1, 9])
def test_calls_that_end(calls: int) -> None:
    seen = []

    def default(rest: Any) -> Any:
        seen.append(rest.real)
        inner = complex(rest.real - 1) if rest.real > 1 else "end"
        return len(dumps(nested(118, inner), default=default))

    assert dumps(complex(calls), default=default).isdigit()
    assert seen == [float(left) for left in range(calls, 0, -1)]
