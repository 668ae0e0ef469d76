"""What a RecordList takes and gives, at the edges where it could differ from a list."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, MutableSequence
from functools import partial
from typing import Any

import pytest

from swisper_ctx import DecodeError, EncodeError, MemorySessionStore, Message, Product, RecordList, SwisperContext


def two() -> RecordList[Message]:
    return RecordList(Message, [Message("user", "a"), {"role": "assistant"}])


def test_construction() -> None:
    assert len(RecordList(Message)) == 0
    assert [record.role for record in two()] == ["user", "assistant"]
    records = two()
    assert RecordList(Message, records) == records
    assert RecordList(Message, (record for record in records)) == records
    assert records.to_dicts()[1] == {"role": "assistant"}
    for wrong in (dict, RecordList, Message("user"), None):
        with pytest.raises(TypeError):
            RecordList(wrong)  # type: ignore[call-overload,type-var,arg-type,unused-ignore]


def test_is_a_mutable_sequence_and_no_key() -> None:
    records: Any = two()
    assert isinstance(records, MutableSequence)
    assert not hasattr(records, "__dict__")
    with pytest.raises(TypeError, match="unhashable"):
        hash(records)


def test_repr_holds_no_content() -> None:
    assert repr(RecordList(Message, [Message("Zeno-4711", "Zeno-4711")])) == "<RecordList of 1 Message records>"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (5, TypeError),
        (None, TypeError),
        ("text", TypeError),
        ([], TypeError),
        (Product("p"), TypeError),
        ({"content": {1}}, EncodeError),
        ({"content": float("nan")}, EncodeError),
        ({1: 2}, EncodeError),
    ],
)
def test_what_is_no_record_is_refused_and_changes_nothing(wrong: Any, error: type[Exception]) -> None:
    records: Any = two()
    before = list(records)
    attempts: list[Callable[[], object]] = [
        lambda: records.append(wrong),
        lambda: records.insert(0, wrong),
        lambda: records.extend([Message("user"), wrong]),
        lambda: records.__iadd__([wrong]),
        lambda: records.__setitem__(0, wrong),
        lambda: records.__setitem__(slice(0, 1), [Message("user"), wrong]),
        lambda: RecordList(Message, [wrong]),
    ]
    for attempt in attempts:
        with pytest.raises(error):
            attempt()
    assert list(records) == before


def test_an_iterable_that_fails_changes_nothing() -> None:
    def failing() -> Iterator[Message]:
        yield Message("user")
        raise LookupError

    records = two()
    before = list(records)
    with pytest.raises(LookupError):
        records.extend(failing())
    with pytest.raises(LookupError):
        records[:] = failing()
    assert list(records) == before


@pytest.mark.parametrize("how", ["new", "extend", "add", "slice", "field"])
def test_lists_of_another_class_are_refused(how: str) -> None:
    products: Any = RecordList(Product, [Product("p-1")])
    context = SwisperContext()
    records: Any = context.conversation_history
    ways: dict[str, Callable[[], object]] = {
        "new": lambda: RecordList(Message, products),
        "extend": lambda: records.extend(products),
        "add": lambda: records.__iadd__(products),
        "slice": lambda: records.__setitem__(slice(None), products),
        "field": lambda: setattr(context, "conversation_history", products),
    }
    with pytest.raises(TypeError):
        ways[how]()
    assert len(records) == 0


@pytest.mark.parametrize("where", ["a", 1.0, None, (0,)])
def test_what_is_no_index(where: Any) -> None:
    records: Any = two()
    for attempt in (records.__getitem__, records.__delitem__):
        with pytest.raises(TypeError):
            attempt(where)
    with pytest.raises(TypeError):
        records[where] = Message("user")
    with pytest.raises(ValueError, match="zero"):
        records[::0]


@pytest.mark.parametrize("far", [2**63, -(2**63) - 1, 10**30])
def test_no_index_is_too_large(far: int) -> None:
    records: Any = two()
    plain = list(records)
    assert records[-abs(far) : abs(far)] == plain
    for target in (plain, records):
        for attempt in (target.__getitem__, target.__delitem__):
            with pytest.raises(IndexError):
                attempt(far)
        with pytest.raises(IndexError):
            target[far] = Message("user")
        assert target.index(target[1], -abs(far), abs(far)) == 1


def test_indexes_are_what_says_so() -> None:
    class Index:
        def __index__(self) -> int:
            return -1

    records = two()
    assert records[Index()] == records[True] == records[1]
    del records[Index()]
    assert len(records) == 1


def test_an_index_may_edit_the_list() -> None:
    class Editing:
        def __init__(self, target: Any, number: int) -> None:
            self.target, self.number = target, number

        def __index__(self) -> int:
            self.target.append(Message("tool", "new", message_id="n", timestamp=None))
            return self.number

    other = Message("system", message_id="o", timestamp=None)
    edits: list[Callable[[Any, Callable[[int], Any]], Any]] = [
        lambda target, index: target[index(-1)],
        lambda target, index: target[index(-2) : index(9) : index(1)],
        lambda target, index: target[:: index(-1)],
        lambda target, index: target.__setitem__(index(-1), other),
        lambda target, index: target.__setitem__(slice(index(1), index(2)), [other, other]),
        lambda target, index: target.__delitem__(index(-1)),
        lambda target, index: target.__delitem__(slice(None, None, index(2))),
        lambda target, index: target.insert(index(-1), other),
        lambda target, index: target.pop(index(-1)),
        lambda target, index: target.index(other, index(0), index(9)) if other in target else None,
    ]
    for edit in edits:
        records: Any = two()
        plain = list(records)
        results = [edit(target, partial(Editing, target)) for target in (plain, records)]
        assert results[0] == results[1]
        assert records == plain


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda records: pickle.loads(pickle.dumps(records))])
def test_a_copy_is_an_equal_list_of_its_own(again: Callable[[Any], Any]) -> None:
    for records in (two(), RecordList(Message), RecordList(Message, [Message("user", "x" * 900) for _ in range(200)])):
        before = list(records)
        made = again(records)
        assert type(made) is RecordList
        assert made == records
        made.append(Message("tool"))
        made[0] = Message("system")
        assert list(records) == before
        records.append(Message("assistant"))
        assert made[-1].role in ("tool", "system")
        with pytest.raises(TypeError):
            made.append(Product("p-1"))


async def test_a_copy_of_saved_records_is_written_where_it_goes() -> None:
    store, context = MemorySessionStore(), SwisperContext()
    context.conversation_history.extend([Message("user", "a"), Message("user", "b")])
    await store.save_session(context)
    other = SwisperContext(conversation_history=copy.copy(context.conversation_history))
    await store.save_session(other)
    found = await store.load_session(other.session_id)
    assert found is not None
    assert found.conversation_history == context.conversation_history


def test_an_exhausted_iterator_stays_exhausted() -> None:
    for target in ([Message("user")], RecordList(Message, [Message("user")])):
        iterator = iter(target)
        assert len(list(iterator)) == 1
        target.append(Message("user"))
        assert list(iterator) == []


def test_iteration_goes_on_while_the_list_shrinks() -> None:
    records = two()
    iterator = iter(records)
    first = next(iterator)
    records.clear()
    assert list(iterator) == []
    assert first.role == "user"


def test_records_outlive_their_place() -> None:
    records = RecordList(Message, [Message("user", str(number) * 40_000) for number in range(8)])
    found = records[3], records[7]
    records.clear()
    del records
    assert [record.content for record in found] == ["3" * 40_000, "7" * 40_000]


def test_other_objects_are_looked_for_by_their_own_equality() -> None:
    class Role:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Message) and other.role == "assistant"

        __hash__ = None  # type: ignore[assignment]

    class Failing:
        def __eq__(self, other: object) -> bool:
            raise LookupError

        __hash__ = None  # type: ignore[assignment]

    records: Any = two()
    assert (Role() in records, records.index(Role()), records.count(Role())) == (True, 1, 1)
    assert (None in records, records.count({}), records == [{}, {}], records == ()) == (False, 0, False, False)
    searches: list[Callable[[], object]] = [
        lambda: Failing() in records,
        lambda: records.index(Failing()),
        lambda: records.count(Failing()),
        lambda: records.remove(Failing()),
        lambda: records == [Failing(), Failing()],
    ]
    for search in searches:
        with pytest.raises(LookupError):
            search()


def test_a_list_may_change_while_it_is_searched() -> None:
    class Clearing:
        def __eq__(self, other: object) -> bool:
            records.clear()
            return False

        __hash__ = None  # type: ignore[assignment]

    for search in ("__contains__", "count"):
        records = two()
        assert not getattr(records, search)(Clearing())
        assert len(records) == 0


def test_lists_with_the_same_records_are_equal() -> None:
    records, twin = two(), two()
    twin[0] = records[0]
    assert records == twin
    assert records == list(twin)
    assert (records != twin) is False
    twin.append(twin[0])
    assert records != twin
    assert records != tuple(records)
    assert RecordList(Message, [{"a": 1}]) != RecordList(Message, [{"a": 1.0}])
    assert RecordList(Message, [{"a": 1}]) != RecordList(Product, [{"a": 1}])


def test_the_error_of_a_record_leads_through_its_list() -> None:
    messages = RecordList(Message, [{"role": "user"}, {"role": "tool", "timestamp": "2024-01-01T00:00:00"}])
    with pytest.raises(DecodeError) as of_time:
        messages.select("role", "timestamp")
    assert (of_time.value.pointer, messages.select("role")) == ("/1/timestamp", [("user",), ("tool",)])
    for take in (messages.extend, lambda records: RecordList(Message, records)):
        with pytest.raises(EncodeError) as caught:
            take([{"role": "user"}, {"metadata": {"a": {1}}}])
        assert caught.value.pointer == "/1/metadata/a"
    assert len(messages) == 2
