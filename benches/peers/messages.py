"""The messages of the benches as others would keep them: dataclasses, structs, dicts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from swisper_ctx import Message

FIELDS = ("message_id", "role", "content", "timestamp", "name", "tool_calls", "tool_call_id", "metadata")


@dataclass
class DataclassMessage:
    """With the fields that the messages have: fewer bytes than ours would be with the others as null."""

    message_id: str
    role: str
    content: str
    timestamp: datetime
    metadata: dict[str, Any]


class StructMessage(msgspec.Struct):
    message_id: str
    role: str
    content: str
    timestamp: datetime
    metadata: dict[str, Any]


class FullStruct(msgspec.Struct):
    """With all the fields that ours has, of the types that ours accepts."""

    message_id: str | None = None
    role: str | None = None
    content: str | list[Any] | None = None
    timestamp: datetime | None = None
    name: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    metadata: dict[str, Any] | None = None


def as_dataclass(message: Message) -> DataclassMessage:
    return DataclassMessage(**_fields(message))


def as_struct(message: Message) -> StructMessage:
    return StructMessage(**_fields(message))


def _fields(message: Message) -> dict[str, Any]:
    content, timestamp, metadata = message.content, message.timestamp, message.metadata
    assert isinstance(content, str)
    assert timestamp is not None
    assert metadata is not None
    names = {"message_id": message.message_id, "role": message.role}
    return {**names, "content": content, "timestamp": timestamp, "metadata": dict(metadata)}
