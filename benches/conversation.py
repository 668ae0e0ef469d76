"""What is said in the benches: two messages of about 440 bytes of JSON, and a small dict that changes."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from itertools import cycle, islice
from random import Random
from typing import Any

from swisper_ctx import Message, SwisperContext

MESSAGE_ID = "0198f1f2-5c1e-7d64-9f5e-3b2a7c1d4e5f"
ANSWER_ID = "0198f1f2-8a40-7b0c-a1d3-94f0c27e6b18"
TIMESTAMP = datetime(2026, 11, 22, 9, 30, 15, 123456, tzinfo=UTC)
METADATA: dict[str, Any] = {"channel": "app", "locale": "de-CH", "tokens": 87, "edited": False}
QUESTION = (
    "We are looking for a fridge for a small kitchen: at most 60 cm wide, freezer below, and it has to be quiet "
    "because the kitchen is open to the living room. The budget is 900 francs, delivery to the 3rd floor included, "
    "and the old one should be taken away."
)
ANSWER = (
    "Three models fit: all are 59.5 cm wide, run at 34 to 36 dB and cost between 749 and 889 francs. The quietest "
    "has no ice maker; the cheapest needs 20 % more power in a year. Shall I compare them in detail, or reserve "
    "a delivery slot for next week first?"
)
FIRST_NUMBER = 100_000
"""Turns are counted from here, so that every number has as many digits."""


def question() -> Message:
    return Message(role="user", content=QUESTION, message_id=MESSAGE_ID, timestamp=TIMESTAMP, metadata=METADATA)


def answer() -> Message:
    return Message(role="assistant", content=ANSWER, message_id=ANSWER_ID, timestamp=TIMESTAMP, metadata=METADATA)


@cache
def texts() -> list[str]:
    """10,000 different ones, which compress about as well as what people say."""
    words, size = f"{QUESTION} {ANSWER}".split(), len(QUESTION)
    text = " ".join(Random(17).choices(words, k=500_000))
    return [text[start : start + size] for start in range(0, 10_000 * size, size)]


def context_of(messages: int) -> SwisperContext:
    """A context with a history, as it is before its first save."""
    context = SwisperContext(user_id="u-17")
    history = context.conversation_history
    for text in islice(cycle(texts()), messages):
        history.append(Message(role="user", content=text, timestamp=TIMESTAMP, metadata=METADATA))
    context.performance_metrics["turns"] = FIRST_NUMBER
    return context


def add_turn(context: SwisperContext, number: int, said: str = QUESTION, answered: str = ANSWER) -> None:
    """Two messages built from their fields, and a number in a small dict."""
    history = context.conversation_history
    history.append(Message(role="user", content=said, message_id=MESSAGE_ID, timestamp=TIMESTAMP, metadata=METADATA))
    history.append(
        Message(role="assistant", content=answered, message_id=ANSWER_ID, timestamp=TIMESTAMP, metadata=METADATA)
    )
    context.performance_metrics["turns"] = number


def operations(number: int) -> list[dict[str, Any]]:
    """The JSON Patch of such a turn."""
    return [
        {"op": "add", "path": "/conversation_history/-", "value": question().to_dict()},
        {"op": "add", "path": "/conversation_history/-", "value": answer().to_dict()},
        {"op": "replace", "path": "/performance_metrics/turns", "value": number},
    ]
