from __future__ import annotations

from typing import NamedTuple

import pytest

from swisper_ctx.cli.check import check, differences
from swisper_ctx.cli.conversations import SAMPLE, Conversation, JsonObject, load_source, messages_of
from swisper_ctx.cli.crash import Ack, parse_acks
from swisper_ctx.cli.flights import products_of
from swisper_ctx.cli.replay import execution_of


class FakeRecord(NamedTuple):
    values: JsonObject

    def to_dict(self) -> JsonObject:
        return dict(self.values)


class FakeContext(NamedTuple):
    version: int
    conversation_history: list[FakeRecord]
    search_results: list[FakeRecord]
    pipeline_executions: list[FakeRecord]


@pytest.fixture
def conversation(monkeypatch: pytest.MonkeyPatch) -> Conversation:
    monkeypatch.setenv("SWISPER_DATA", str(SAMPLE))
    return load_source(2).conversations[1]


def stored(conversation: Conversation, turns: int) -> FakeContext:
    held = conversation.turns[:turns]
    messages = [FakeRecord({"message_id": "m", "timestamp": "t"} | message) for message in messages_of(held)]
    executions = [FakeRecord(execution_of(turn) | {"status": "completed", "duration_ms": 1.0}) for turn in held]
    return FakeContext(1 + turns, messages, [FakeRecord(found) for found in products_of(held)], executions)


def ack(conversation: Conversation, turn: int) -> Ack:
    return Ack("s", 1 + turn, len(messages_of(conversation.turns[:turn])), turn)


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_equal_session_passes_even_one_turn_ahead_of_its_acknowledgement(
    conversation: Conversation, ahead: int
) -> None:
    assert check(stored(conversation, 9 + ahead), conversation, ack(conversation, 9)) == []


def test_a_lost_turn_is_found(conversation: Conversation) -> None:
    assert check(stored(conversation, 8), conversation, ack(conversation, 9)) == [
        "turn 9 was acknowledged, but only 8 turns are stored"
    ]


def test_a_lost_session_is_found_only_if_it_was_acknowledged(conversation: Conversation) -> None:
    assert check(None, conversation, None) == []
    assert check(None, conversation, ack(conversation, 3)) == ["the session is gone, 3 of its turns were acknowledged"]


def test_a_torn_turn_is_found(conversation: Conversation) -> None:
    context = stored(conversation, 1)
    context.conversation_history.pop()
    assert check(context, conversation, None)[0] == "2 messages are stored instead of 0"


def test_a_version_that_skips_is_found(conversation: Conversation) -> None:
    context = stored(conversation, 5)._replace(version=9)
    assert check(context, conversation, ack(conversation, 5)) == ["version 9 does not fit 5 turns"]


def test_changed_content_is_named_by_its_keys_only(conversation: Conversation) -> None:
    context = stored(conversation, 5)
    context.conversation_history[2].values["content"] = "secret"
    assert list(differences(context, conversation, 5)) == ["message 3: content differs"]


def test_absent_is_not_null(conversation: Conversation) -> None:
    context = stored(conversation, 1)
    context.conversation_history[0].values["name"] = None
    assert list(differences(context, conversation, 1)) == ["message 1: name differs"]


def test_changed_search_results_and_executions_are_found(conversation: Conversation) -> None:
    turns = len(conversation.turns)
    context = stored(conversation, turns)
    context.search_results[0].values["price"] = 1
    del context.pipeline_executions[-1]
    assert list(differences(context, conversation, turns)) == [
        "search result 1: price differs",
        f"{turns - 1} executions are stored instead of {turns}",
    ]


def test_a_line_cut_short_is_no_acknowledgement() -> None:
    assert list(parse_acks([b"demo-1-u 4 12 3\n", b"demo-1-u 5 1"])) == [Ack("demo-1-u", 4, 12, 3)]
