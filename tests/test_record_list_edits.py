"""A RecordList does what a list does, whatever is done to it, and its edits replay to the same document."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.replay import Follower

from swisper_ctx import Message, RecordList, SwisperContext

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
