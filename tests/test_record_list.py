"""A RecordList does what a list does, whatever is done to it, and its edits replay to the same document."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.replay import Follower

from swisper_ctx import EncodeError, MemorySessionStore, Message, Product, RecordList, SwisperContext

MOST_RECORDS = 150

# Few ids and sizes, so that equal records occur; a large record fills half a segment.
messages = st.builds(
    lambda number, size: Message.from_dict({"message_id": f"m-{number}", "content": "x" * size}),
    st.integers(0, 5),
    st.sampled_from([0, 1, 700, 6_000, 33_000]),
)
anonymous = st.builds(
    lambda number: Message.from_dict({"role": str(number), "metadata": {"n": number}}), st.integers(0, 2)
)
items = messages | anonymous
few = st.lists(items, max_size=6)
indexes = st.integers(-12, 12)
bounds = st.none() | indexes
slices = st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 1, 2, 3, -1, -2]))


def outcome(do: Callable[[Any], object], target: Any) -> object:
    """What an operation on a list gives, or the kind of error that it raises."""
    try:
        return do(target)
    except (IndexError, ValueError) as error:
        return type(error)


class ListMachine(RuleBasedStateMachine):
    """Does the same to a RecordList and to a list; hands the edits over at random points."""

    def __init__(self) -> None:
        super().__init__()
        self.context = SwisperContext()
        self.list: Any = self.context.conversation_history
        self.model: list[Any] = []
        self.follower = Follower(self.context)

    def both(self, do: Callable[[Any], object]) -> None:
        """Does it to both lists; what it gives must be the same."""
        expected, given = outcome(do, self.model), outcome(do, self.list)
        assert type(given) is type(expected)
        assert given == expected

    @invariant()
    def lists_are_equal(self) -> None:
        assert len(self.list) == len(self.model)
        assert list(self.list) == self.model

    # -- growing

    @precondition(lambda self: len(self.model) < MOST_RECORDS)
    @rule(record=items, as_dict=st.booleans())
    def append(self, record: Message, as_dict: bool) -> None:
        self.model.append(record)
        self.list.append(record.to_dict() if as_dict else record)

    @precondition(lambda self: len(self.model) < MOST_RECORDS)
    @rule(more=few)
    def extend(self, more: list[Message]) -> None:
        self.both(lambda target: target.extend(iter(more)))

    @precondition(lambda self: len(self.model) < MOST_RECORDS)
    @rule(record=messages, count=st.integers(10, 60))
    def grow(self, record: Message, count: int) -> None:
        self.both(lambda target: target.extend(record.replace(name=str(number)) for number in range(count)))

    @rule(more=few)
    def add_in_place(self, more: list[Message]) -> None:
        before = self.list
        self.model += more
        self.list += [record.to_dict() for record in more]
        self.context.conversation_history += []
        assert self.list is before

    @precondition(lambda self: len(self.model) < MOST_RECORDS / 2)
    @rule()
    def add_itself(self) -> None:
        self.model += self.model
        self.list += self.list

    @rule(index=indexes, record=items)
    def insert(self, index: int, record: Message) -> None:
        self.both(lambda target: target.insert(index, record))

    # -- shrinking

    @rule(index=st.just(()) | st.tuples(indexes))
    def pop(self, index: tuple[int, ...]) -> None:
        self.both(lambda target: target.pop(*index))

    @rule(index=indexes | slices)
    def delete(self, index: int | slice) -> None:
        self.both(lambda target: target.__delitem__(index))

    @rule(record=items)
    def remove(self, record: Message) -> None:
        self.both(lambda target: target.remove(record))

    @rule(often=st.integers(0, 3))
    def clear(self, often: int) -> None:
        if often == 0:
            self.both(lambda target: target.clear())

    # -- changing in place

    @rule(index=indexes, record=items, as_dict=st.booleans())
    def set_one(self, index: int, record: Message, as_dict: bool) -> None:
        given = record.to_dict() if as_dict else record
        self.both(lambda target: target.__setitem__(index, given if target is self.list else record))

    @rule(where=slices, more=few)
    def set_slice(self, where: slice, more: list[Message]) -> None:
        self.both(lambda target: target.__setitem__(where, more))

    @rule(where=slices, more=st.data())
    def set_slice_of_same_size(self, where: slice, more: st.DataObject) -> None:
        size = len(self.model[where])
        new = more.draw(st.lists(items, min_size=min(size, 8), max_size=min(size, 8)))
        self.both(lambda target: target.__setitem__(where, new + target[where][len(new) :]))

    @rule(where=slices)
    def set_slice_from_itself(self, where: slice) -> None:
        self.both(lambda target: target.__setitem__(slice(None), target[where]))

    @rule()
    def reverse(self) -> None:
        self.both(lambda target: target.reverse())

    # -- looking

    @rule(index=indexes | slices)
    def get(self, index: int | slice) -> None:
        self.both(lambda target: target[index])

    @rule(record=items, start=indexes, stop=indexes)
    def search(self, record: Message, start: int, stop: int) -> None:
        self.both(lambda target: (record in target, target.count(record)))
        self.both(lambda target: target.index(record))
        self.both(lambda target: target.index(record, start))
        self.both(lambda target: target.index(record, start, stop))

    @rule()
    def compare(self) -> None:
        assert self.list == self.model == list(reversed(list(reversed(self.list))))
        assert self.list == RecordList(Message, self.model)
        assert self.list != [*self.model, Message("user")]
        assert self.list.to_dicts() == [record.to_dict() for record in self.model]

    @rule(record=items)
    def append_while_iterating(self, record: Message) -> None:
        def seen(target: Any) -> list[Any]:
            end = len(target) + 2
            found = []
            for item in target:
                found.append(item)
                if len(target) < end:
                    target.append(record)
            return found

        self.both(seen)

    # -- saving

    @rule(record=items)
    def hand_over(self, record: Message) -> None:
        self.follower.follow()
        assert not self.follower.follow()
        self.append(record, as_dict=False)
        assert self.follower.follow()

    @rule()
    def hand_over_what_there_is(self) -> None:
        self.follower.follow()

    @rule(count=st.sampled_from([0, 0, 0, 1, 2, 9]))
    def give_back(self, count: int) -> None:
        self.follower.give_back(min(count, len(self.follower.steps)))

    def teardown(self) -> None:
        self.follower.follow()
        self.follower.check()
        self.follower.check_history()
        assert not self.follower.follow()


class AppendingMachine(ListMachine):
    """Records are also appended to what is saved by themselves, while other edits of the same list still wait."""

    @precondition(lambda self: self.follower.steps)
    @rule(number=st.integers(0, 3))
    def append_alone(self, number: int) -> None:
        record = Message.from_dict({"message_id": f"alone-{number}"})
        before = list(self.list)
        self.follower.append_alone("conversation_history", record)
        self.model = list(self.list)
        # It stands somewhere behind what was saved, where exactly is for the list to say.
        assert any(before == self.model[:at] + self.model[at + 1 :] for at in range(len(self.model)))
        assert self.model.count(record) == before.count(record) + 1


def test_does_what_a_list_does() -> None:
    run_state_machine_as_test(ListMachine, settings=settings(stateful_step_count=60))


def test_records_appended_by_themselves_join_the_others() -> None:
    run_state_machine_as_test(AppendingMachine, settings=settings(stateful_step_count=60))


# -- edits of what is saved


def save_again(context: SwisperContext, follower: Follower, expected: list[Any]) -> None:
    follower.follow()
    assert list(context.conversation_history) == expected


@given(
    saved=st.integers(0, 7),
    edits=st.lists(st.tuples(slices | st.slices(7), few, st.booleans()), min_size=1, max_size=5),
)
def test_slices_of_a_saved_list_replay(saved: int, edits: list[tuple[slice, list[Any], bool]]) -> None:
    model: list[Any] = [Message.from_dict({"message_id": f"saved-{number}"}) for number in range(saved)]
    context = SwisperContext(conversation_history=RecordList(Message, model))
    follower = Follower(context)
    follower.follow()
    for where, new, save in edits:
        for target in (model, context.conversation_history):
            with suppress(ValueError):
                target[where] = new
        if save:
            save_again(context, follower, model)
    save_again(context, follower, model)


def test_many_edits_make_no_longer_a_patch_than_the_list() -> None:
    context = SwisperContext(conversation_history=RecordList(Message, [{"message_id": "a"}, {"message_id": "b"}]))
    follower = Follower(context)
    follower.follow()
    for number in range(200):
        context.conversation_history[number % 2] = Message.from_dict({"message_id": str(number)})
    save_again(context, follower, [Message.from_dict({"message_id": text}) for text in ("198", "199")])
    assert len(follower.patch) < 10


# -- what a list takes and gives


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
