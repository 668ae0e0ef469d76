"""A history in the form of chat APIs."""

from __future__ import annotations

from typing import Any

from swisper_ctx._core import Message, RecordList, chat_form


def chat(history: RecordList[Message], last: int | None = None) -> list[dict[str, Any]]:
    """The last messages as chat APIs take them; see `SwisperContext.chat`."""
    start = 0 if last is None else _start(history, last)
    return [chat_form(message) for message in history[start:]]


def _start(history: RecordList[Message], last: int) -> int:
    """The index of the n-th last message, or of the one that opened the tool-call group it stands in.

    A group is a run of messages with calls and the run of answers behind it.
    """
    if last < 0:
        raise ValueError("last counts messages: it is not negative")
    start = max(len(history) - last, 0)
    if last == 0 or start == 0:
        return start
    at = start
    while at > 0 and _answers(history[at]):
        at -= 1
    if not _calls(history[at]):
        return start  # no message opened a group
    while at > 0 and _calls(history[at - 1]):
        at -= 1
    return at


def _answers(message: Message) -> bool:
    return message.role == "tool" or message.tool_call_id is not None


def _calls(message: Message) -> bool:
    return bool(message.tool_calls)
