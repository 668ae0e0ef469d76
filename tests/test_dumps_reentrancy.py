"""Python code that runs while something is encoded, and does what it should not."""

from __future__ import annotations

import dataclasses
import gc
import threading
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

from swisper_ctx import EncodeError, Message, RecordList, dumps, loads


class Acting:
    """Does something when it is encoded."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def to_dict(self) -> Any:
        self.act()
        gc.collect()
        return ["done"]


def test_a_list_that_changes() -> None:
    for act in (list.clear, lambda own: own.append(1), lambda own: own.extend(range(1000)), list.pop):
        items: list[Any] = ["a" * 100]
        items += [Acting(lambda items=items, act=act: act(items)), {"b": "c" * 50}, ["d"]]
        with pytest.raises(EncodeError, match="changed"):
            dumps({"items": items})


def test_a_dict_that_changes() -> None:
    for act in (dict.clear, dict.popitem, lambda own: own.update({f"k{n}": n for n in range(1000)})):
        for first in ({}, {1: 1}):
            own: dict[Any, Any] = dict(first)
            own.clear()
            own["before"] = "a" * 100
            own["acting"] = Acting(lambda own=own, act=act: act(own))
            own["behind"] = {"b": ["c"]}
            with pytest.raises(EncodeError, match="changed"):
                dumps([own])


def test_a_dict_that_is_replaced_under_the_same_size() -> None:
    own: dict[Any, Any] = {}

    def act() -> None:
        own.clear()
        own.update({f"other {n}": "x" * 60 for n in range(3)})

    own.update({"a": "b" * 60, "acting": Acting(act), "c": "d" * 60})
    assert loads(dumps(own))["acting"] == ["done"]


def test_a_dict_that_becomes_another_kind_of_dict() -> None:
    own: dict[Any, Any] = {}

    def act() -> None:
        del own["c"]
        own[1] = "x"

    own.update({"a": 1, "acting": Acting(act), "c": 2})
    with pytest.raises(EncodeError, match="key"):
        dumps(own)


def test_the_last_reference_goes_away_meanwhile() -> None:
    holder: list[Any] = [None]
    holder[0] = [Acting(lambda: holder.__setitem__(0, None)), "x" * 100, {"y": "z" * 100}]
    assert dumps(holder) == b'[[["done"],"%b",{"y":"%b"}]]' % (b"x" * 100, b"z" * 100)
    own: dict[str, Any] = {}
    own["a"] = [Acting(lambda: own.__setitem__("a", None)), "x" * 100]
    assert loads(dumps(own)) == {"a": [["done"], "x" * 100]}


class Dying:
    """Does something when it is gone, which is as soon as it is encoded."""

    def __init__(self, let_go: Any, act: Any) -> None:
        self.let_go = let_go
        self.act = act

    def to_dict(self) -> Any:
        self.let_go()
        return ["done"]

    def __del__(self) -> None:
        self.act()


def test_what_dies_when_it_is_encoded_changes_its_dict() -> None:
    own: dict[str, Any] = {}

    def act() -> None:
        own.clear()
        gc.collect()

    own["dying"] = Dying(lambda: own.__setitem__("dying", None), act)
    own["behind"] = "a" * 100
    with pytest.raises(EncodeError, match="changed"):
        dumps(own)


def test_what_dies_when_it_is_encoded_changes_its_object() -> None:
    value = Plain(None, second="a" * 100)

    def act() -> None:
        vars(value).update({f"other {n}": n for n in range(100)})
        value.second = "new"

    value.first = Dying(lambda: setattr(value, "first", None), act)
    assert loads(dumps(value)) == {"first": ["done"], "second": "new", "third": "third"}


@dataclasses.dataclass
class Plain:
    first: Any
    second: Any = None
    third: Any = "third"


@dataclasses.dataclass(slots=True)
class Slotted:
    first: Any
    second: Any = None
    third: Any = "third"


@pytest.mark.parametrize("cls", [Plain, Slotted])
def test_a_dataclass_that_changes(cls: Any) -> None:
    value = cls("x" * 100)

    def act() -> None:
        value.first = value.third = ["new"]
        value.second = None

    value.second = [Acting(act), "y" * 100]
    assert loads(dumps(value)) == {"first": "x" * 100, "second": [["done"], "y" * 100], "third": ["new"]}

    def delete() -> None:
        del value.third

    value.second = Acting(delete)
    if cls is Slotted:
        with pytest.raises(AttributeError):
            dumps(value)
    else:
        assert loads(dumps(value))["third"] == "third"


def test_a_dataclass_whose_dict_is_made_and_whose_class_changes_meanwhile() -> None:
    @dataclasses.dataclass
    class Other:
        first: Any
        unrelated: Any = 1

    value = Plain(1)

    def act() -> None:
        vars(value)["third"] = "by dict"
        value.__class__ = Other  # type: ignore[assignment]

    value.second = Acting(act)
    assert loads(dumps(value)) == {"first": 1, "second": ["done"], "third": "by dict"}


def test_a_class_that_changes_meanwhile() -> None:
    @dataclasses.dataclass(slots=True)
    class Changing:
        first: Any
        second: Any = 2

    def act() -> None:
        delattr(Changing, "second")
        Changing.to_dict = lambda self: {}  # type: ignore[attr-defined]

    # The object that is being written is finished as it was begun.
    assert loads(dumps([Changing(Acting(act)), Changing(1)])) == [{"first": ["done"], "second": 2}, {}]


def test_dumps_inside_of_dumps() -> None:
    def default(value: Any) -> Any:
        return dumps({"inner": [value.real, "x" * 100_000]}).decode()

    text = dumps(["y" * 50_000, 1j, {"k": 2j}, "z" * 50_000], default=default)
    outer = loads(text)
    assert [len(part) for part in (outer[0], outer[3])] == [50_000, 50_000]
    assert loads(outer[1])["inner"] == [0.0, "x" * 100_000]


def test_default_that_gives_the_same_again() -> None:
    with pytest.raises(EncodeError, match="deeper"):
        dumps(object(), default=lambda value: value)
    with pytest.raises(EncodeError, match="deeper"):
        dumps(object(), default=lambda value: [value])


def test_a_time_zone_that_changes_the_list() -> None:
    class Zone(tzinfo):
        dst = tzname = tzinfo.utcoffset  # type: ignore[assignment]

        def utcoffset(self, _when: datetime | None) -> timedelta:
            items.clear()
            return timedelta(hours=1)

    items: list[Any] = [datetime(2026, 1, 1, tzinfo=Zone()), "x" * 100]
    with pytest.raises(EncodeError, match="changed"):
        dumps(items)


def test_a_getattr_that_changes_the_object() -> None:
    @dataclasses.dataclass
    class Wild:
        first: Any = 1
        second: Any = 2

        def __getattr__(self, name: str) -> Any:
            self.__dict__.clear()
            raise AttributeError(name)

    value = Wild()
    del value.first, Wild.first
    with pytest.raises(AttributeError):
        dumps(value)


def test_records_that_are_added_meanwhile() -> None:
    records = RecordList(Message, [Message("user", "x")])

    def act() -> None:
        records.extend([Message("user", "y")] * 200)

    found = loads(dumps([records, Acting(act), records]))
    assert (len(found[0]), len(found[2])) == (1, 201)


def test_threads_that_take_turns_inside_of_default() -> None:
    barrier = threading.Barrier(4, timeout=60)
    failures: list[Any] = []

    def default(value: Any) -> Any:
        barrier.wait()
        return {"n": value.real, "text": "x" * 40_000}

    def work(n: int) -> None:
        expected = {"n": float(n), "text": "x" * 40_000}
        values = [complex(n), "é" * n, complex(n)]
        found = [loads(dumps(values, default=default)) for _ in range(20)]
        failures.extend(one for one in found if one != [expected, "é" * n, expected])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
