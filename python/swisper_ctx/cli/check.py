"""Comparing what is stored with the conversation that it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from swisper_ctx.cli.conversations import Conversation, JsonObject, messages_of
from swisper_ctx.cli.flights import products_of
from swisper_ctx.cli.replay import execution_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from swisper_ctx.cli.crash import Ack

ADDED = frozenset({"message_id", "timestamp", "execution_id", "status", "started_at", "finished_at", "duration_ms"})
ABSENT = object()


class Record(Protocol):
    """What the check needs of a stored record."""

    def to_dict(self) -> JsonObject:
        """The keys that the record has, and their values."""


class Stored(Protocol):
    """What the check needs of a loaded context."""

    @property
    def version(self) -> int:
        """One for the created session, and one for each save."""

    @property
    def conversation_history(self) -> Sequence[Record]:
        """The messages."""

    @property
    def search_results(self) -> Sequence[Record]:
        """The products found."""

    @property
    def pipeline_executions(self) -> Sequence[Record]:
        """One for each turn."""


def check(context: Stored | None, conversation: Conversation, ack: Ack | None) -> list[str]:
    """What is wrong with a session after the crash: turns acknowledged and lost, or content that differs."""
    if context is None:
        return [f"the session is gone, {ack.turn} of its turns were acknowledged"] if ack else []
    held = conversation.turns_in(len(context.conversation_history))
    problems = list(differences(context, conversation, held))
    if ack and held < ack.turn:
        problems.append(f"turn {ack.turn} was acknowledged, but only {held} turns are stored")
    if ack and context.version - ack.version != held - ack.turn:
        problems.append(f"version {context.version} does not fit {held} turns")
    return problems


def differences(context: Stored, conversation: Conversation, turns: int) -> Iterator[str]:
    """Each place where the session is not exactly the first `turns` turns of its conversation."""
    expected = conversation.turns[:turns]
    yield from compare("message", messages_of(expected), context.conversation_history)
    yield from compare("search result", products_of(expected), context.search_results)
    yield from compare("execution", [execution_of(turn) for turn in expected], context.pipeline_executions)


def compare(kind: str, expected: Sequence[JsonObject], stored: Sequence[Record]) -> Iterator[str]:
    """Each record that is not as expected, by the names of its differing keys; what the library adds is left out."""
    if len(stored) != len(expected):
        yield f"{len(stored)} {kind}s are stored instead of {len(expected)}"
    for number, (source, record) in enumerate(zip(expected, stored, strict=False), start=1):
        found = {key: value for key, value in record.to_dict().items() if key not in ADDED}
        if found != source:
            keys = sorted(key for key in {*found, *source} if found.get(key, ABSENT) != source.get(key, ABSENT))
            yield f"{kind} {number}: {', '.join(keys)} differs"
