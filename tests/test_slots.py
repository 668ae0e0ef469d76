from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import Any

import pytest

from swisper_ctx import Message, PIIEntity, PipelineExecution, Product, RecordList, SwisperContext

RECORDS = [Message("user", "hello"), Product("p"), PipelineExecution("search"), PIIEntity("EMAIL", 1, 2)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_the_collector_does_not_follow_records(record: object) -> None:
    assert not gc.is_tracked(record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_that_is_freed_gives_back_its_class_and_its_text(record: Message) -> None:
    cls, text = type(record), record.to_json()
    held = sys.getrefcount(cls), sys.getrefcount(text)
    copies = [cls.from_json(text) for _ in range(100)]
    assert sys.getrefcount(cls) == held[0] + 100
    del copies
    assert (sys.getrefcount(cls), sys.getrefcount(text)) == held


def test_making_and_freeing_records_keeps_no_memory() -> None:
    history = RecordList(Message, [Message("user", "x" * 300) for _ in range(400)])

    def make_and_free() -> None:
        for number in range(2_000):
            Message(role="user", content="y" * 300).to_json()
            assert history[number % 400].to_json()

    make_and_free()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        make_and_free()
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()


def test_to_json_belongs_to_its_class() -> None:
    with pytest.raises(TypeError):
        Message.to_json(Product("p"))
    with pytest.raises(TypeError):
        Message("user").to_json(1)  # type: ignore[call-arg]
    assert Message.to_json(Message.from_dict({"role": "user"})) == b'{"role":"user"}'


def test_calls_that_share_their_names_keep_their_classes() -> None:
    for _ in range(3):
        # The compiler keeps one tuple of names for both calls.
        made = Message("user", message_id="m"), PIIEntity("EMAIL", message_id="m")
        assert [(type(record), record.message_id) for record in made] == [(Message, "m"), (PIIEntity, "m")]
        assert made[0].role == "user"
        assert made[1].entity_type == "EMAIL"
        pair = Message(role="a", content="b"), Message("c", content="d"), Message("e", "f")
        assert [(message.role, message.content) for message in pair] == [("a", "b"), ("c", "d"), ("e", "f")]


def test_a_call_with_made_up_names_is_planned_anew_each_time() -> None:
    for number in range(200):
        fields: dict[str, Any] = {"role": "user", "content": f"text {number}"}
        order = sorted(fields, reverse=bool(number % 2))
        assert Message(**{name: fields[name] for name in order}).content == f"text {number}"


def test_append_belongs_to_its_class_and_takes_one_record() -> None:
    history = RecordList(Message)
    with pytest.raises(TypeError):
        RecordList.append([], Message("user"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        history.append()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        history.append(Message("user"), Message("user"))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        history.append(record=Message("user"))  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        history.append(Product("p"))  # type: ignore[arg-type]
    assert len(history) == 0


def test_a_record_that_is_appended_is_not_held() -> None:
    history, message = RecordList(Message), Message("user", "hello")
    held = sys.getrefcount(message), sys.getrefcount(history), sys.getrefcount(None)
    for _ in range(1_000):
        history.append(message)
    # Other code counts none too.
    assert (sys.getrefcount(message), sys.getrefcount(history)) == held[:2]
    assert abs(sys.getrefcount(None) - held[2]) < 100
    history.append(history[0])
    assert history[1_000] == message


def test_changes_and_versions_whose_memory_is_used_again_are_new() -> None:
    context = SwisperContext()
    first = context._freeze()
    assert first is not None
    classes = type(first), type(first.snapshot)
    held = [sys.getrefcount(each) for each in classes]
    for number in range(100):
        context.current_state = str(number)
        delta = context._freeze()
        assert delta is not None
        assert f'"{number}"'.encode() in delta.patch()
        assert delta.snapshot.count("conversation_history") == 0
    # The context holds one version and `delta` one change, as before with `first`.
    del delta
    assert [sys.getrefcount(each) for each in classes] == held
