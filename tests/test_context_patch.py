"""Patches lead to the very bytes of the context, also when a change is given back and handed over again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from tests.edits import edit
from tests.replay import Follower, parse, write
from tests.values import MAX_DEPTH, nested, objects, values

from swisper_ctx import MemorySessionStore, Message, PipelineExecution, RecordList, SwisperContext

FILLER = {"filler": "x" * 500}


def with_messages(*messages: dict[str, Any]) -> SwisperContext:
    return SwisperContext(conversation_history=RecordList(Message, messages))


@given(start=objects, data=st.data())
def test_small_edits_replay(start: dict[str, Any], data: st.DataObject) -> None:
    # Beside something long, the patch of a small part is worth its while.
    context = SwisperContext(metadata={**FILLER, "it": start}, soft_preferences=start)
    follower = Follower(context)
    follower.follow()
    for _ in range(data.draw(st.integers(1, 6))):
        edit(context.metadata["it"], data)
        follower.follow()
    context.soft_preferences = context.metadata["it"]
    follower.follow()
    assert not follower.follow()


@given(before=values, after=values)
@example(1, 1.0)
@example(1.0, True)
@example({"a": 1, "b": 2}, {"b": 2, "a": 1})
@example({"a": {"b": 1}, "c": 2}, {"c": 2, "a": {"b": 1}})
@example([1, 2, 3], [3, 2, 1])
@example([[1], [2], [3]], [[3], [1], [2]])
@example({"-": 1, "0": 2, "": 3}, {"-": [], "0": {}, "": None})
@example({"a/b": [0], "~": [1], "~1": [2]}, {"a/b": [0, 0], "~": [], "~1": [2, 3]})
@example({"\0": 1, '"\\': 2}, {"\0": 2, '"\\': 1})
@example({"0": {"1": 2}}, [[0, 2]])
def test_any_value_becomes_any_other(before: Any, after: Any) -> None:
    context = SwisperContext(metadata={**FILLER, "it": before}, buffer_store={"it": before})
    follower = Follower(context)
    follower.follow()
    context.metadata["it"] = context.buffer_store["it"] = after
    changed = follower.follow()
    assert changed is (write(parse(json.dumps(before).encode())) != write(parse(json.dumps(after).encode())))


def test_a_small_edit_is_a_small_patch() -> None:
    context = SwisperContext(metadata={str(number): {"text": "x" * 100, "turns": [0, 1]} for number in range(500)})
    follower = Follower(context)
    follower.follow()
    context.metadata["250"]["turns"].append(2)
    context.conversation_history.append({"role": "user"})
    follower.follow()
    assert {operation["path"] for operation in follower.patch} == {"/conversation_history/-", "/metadata/250/turns/-"}
    assert len(follower.steps[-1].delta.patch()) < 200


@pytest.mark.parametrize("start", [0, 3, 2000])
def test_the_patch_of_a_record_does_not_grow_with_the_list(start: int) -> None:
    context = with_messages(*({"message_id": str(number)} for number in range(start)))
    follower = Follower(context)
    follower.follow()
    context.conversation_history.append({"message_id": "new"})
    follower.follow()
    assert json.loads(follower.steps[-1].delta.patch()) == [
        {"op": "add", "path": "/conversation_history/-", "value": {"message_id": "new"}}
    ]


def test_an_indexed_edit_tests_the_id_of_the_record() -> None:
    context = with_messages({"message_id": "a"}, {"role": "anonymous"}, {"message_id": "c"})
    follower = Follower(context)
    follower.follow()
    context.conversation_history[0] = Message("user", message_id="a2")
    context.conversation_history[1] = Message("user", message_id="b2")
    del context.conversation_history[2]
    follower.follow()
    place = "/conversation_history"
    assert [(operation["op"], operation["path"]) for operation in follower.patch] == [
        ("test", f"{place}/0/message_id"),
        ("replace", f"{place}/0"),
        ("replace", f"{place}/1"),
        ("test", f"{place}/2/message_id"),
        ("remove", f"{place}/2"),
    ]


class SavingMachine(RuleBasedStateMachine):
    """Edits of several fields between saves of which some fail: no edit is lost, none is made twice."""

    def __init__(self) -> None:
        super().__init__()
        self.context = SwisperContext()
        self.follower = Follower(self.context)

    @rule(text=st.text(max_size=3))
    def set_text(self, text: str) -> None:
        self.context.product_query = text

    @rule(data=st.data())
    def edit_metadata(self, data: st.DataObject) -> None:
        edit(self.context.metadata, data)

    @rule(number=st.integers(0, 9), often=st.integers(1, 3))
    def append(self, number: int, often: int) -> None:
        self.context.conversation_history.extend({"message_id": str(number), "n": n} for n in range(often))

    @rule(number=st.integers(0, 9), at=st.integers(-5, 5))
    def insert(self, number: int, at: int) -> None:
        self.context.conversation_history.insert(at, {"message_id": str(number)})
        self.context.pipeline_executions.append({"execution_id": str(number)})

    @precondition(lambda self: len(self.context.conversation_history) > 0)
    @rule(data=st.data())
    def change_a_record(self, data: st.DataObject) -> None:
        history = self.context.conversation_history
        at = data.draw(st.integers(0, len(history) - 1))
        if data.draw(st.booleans()):
            history[at] = history[at].replace(name=data.draw(st.text(max_size=2)))
        else:
            del history[at : at + data.draw(st.integers(1, 3))]

    @rule(often=st.integers(0, 4))
    def clear_or_reverse(self, often: int) -> None:
        if often == 0:
            self.context.conversation_history.clear()
        elif often == 1:
            self.context.conversation_history.reverse()

    @rule()
    def save(self) -> None:
        self.follower.follow()

    @rule()
    def save_all_over(self) -> None:
        self.append(0, 1)
        assert self.follower.follow()
        assert not self.follower.follow()

    @precondition(lambda self: self.follower.steps)
    @rule(count=st.sampled_from([1, 1, 2, 5]), then=st.booleans())
    def fail(self, count: int, then: bool) -> None:
        shown = [record.to_json() for record in self.context.conversation_history]
        self.follower.give_back(min(count, len(self.follower.steps)))
        assert [record.to_json() for record in self.context.conversation_history] == shown
        if then:
            self.follower.follow()

    def teardown(self) -> None:
        self.follower.follow()
        self.follower.check()
        self.follower.check_history()


def test_changes_that_are_given_back_come_again() -> None:
    run_state_machine_as_test(SavingMachine, settings=settings(stateful_step_count=40))


def test_edits_made_meanwhile_follow_those_given_back() -> None:
    context = with_messages({"message_id": "1"}, {"message_id": "2"})
    follower = Follower(context)
    follower.follow()
    history = context.conversation_history
    history.insert(0, {"message_id": "0"})
    history.append({"message_id": "3"})
    follower.follow()
    del history[1]
    history.append({"message_id": "4"})
    follower.give_back(1)
    follower.follow()
    assert [record.message_id for record in history] == ["0", "2", "3", "4"]
    assert [record["message_id"] for record in json.loads(follower.text)["conversation_history"]] == [
        "0",
        "2",
        "3",
        "4",
    ]


def test_a_record_that_is_appended_by_itself_survives_a_clear() -> None:
    context = SwisperContext(pipeline_executions=RecordList(PipelineExecution, [{"execution_id": "old"}]))
    follower = Follower(context)
    follower.follow()
    context.pipeline_executions.clear()
    context.pipeline_executions.append({"execution_id": "new"})
    follower.append_alone("pipeline_executions", PipelineExecution.from_dict({"execution_id": "alone"}))
    follower.follow()
    assert [record.execution_id for record in context.pipeline_executions] == ["alone", "new"]


# -- what is stored can be read


@pytest.mark.parametrize("first", [True, False])
async def test_the_deepest_record_can_be_stored(first: bool) -> None:
    store, context = MemorySessionStore(), SwisperContext()
    if not first:
        await store.save_session(context)
    context.pipeline_executions.append(PipelineExecution.from_dict({"input": nested(MAX_DEPTH - 1)}))
    await store.save_session(context)
    found = await store.load_session(context.session_id)
    assert found is not None
    assert found.pipeline_executions[0].input == nested(MAX_DEPTH - 1)


@pytest.mark.parametrize("first", [True, False])
async def test_the_deepest_value_can_be_stored(first: bool) -> None:
    store, context = MemorySessionStore(), SwisperContext()
    if not first:
        await store.save_session(context)
    context.metadata = {"it": nested(MAX_DEPTH - 1)}
    await store.save_session(context)
    found = await store.load_session(context.session_id)
    assert found is not None
    assert found.metadata == context.metadata
