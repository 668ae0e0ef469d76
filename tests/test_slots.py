from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import Any

import pytest

from swisper_ctx import Message, PIIEntity, PipelineExecution, Product, RecordList

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
