"""Following a context by nothing but its patches: with a JSON Patch reader that shares no code with the core."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.values import identical

from swisper_ctx import SwisperContext, serialize_context
from swisper_ctx._core import Delta, Snapshot
from swisper_ctx.context import METADATA


class Number(NamedTuple):
    """A number as it is written: `1`, `1.0` and `1e0` differ, and none of them is `true`."""

    text: str


def parse(text: bytes) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number)


def write(document: Any) -> str:
    """Compact text with the keys in their order."""
    match document:
        case Number(text):
            return text
        case dict():
            return "{" + ",".join(f"{write(key)}:{write(value)}" for key, value in document.items()) + "}"
        case list():
            return "[" + ",".join(map(write, document)) + "]"
    return json.dumps(document, ensure_ascii=False)


def apply(document: Any, patch: list[dict[str, Any]]) -> Any:
    """What RFC 6902 makes of a document, which may be changed on the way; a ValueError where it makes nothing."""
    root = {"": document}
    for operation in patch:
        tokens = ["", *pointer(operation["path"])]
        parent: Any = root
        for token in tokens[:-1]:
            parent = child(parent, token)
        apply_one(parent, tokens[-1], operation)
    return root[""]


def pointer(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError(f"no JSON Pointer: {path}")
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def child(container: Any, token: str) -> Any:
    return container[index(token, len(container) - 1)] if isinstance(container, list) else container[token]


def index(token: str, last: int) -> int:
    at = int(token)
    if str(at) != token or not 0 <= at <= last:
        raise ValueError(f"no such place: {token}")
    return at


def apply_one(parent: Any, token: str, operation: dict[str, Any]) -> None:
    match operation["op"]:
        case "test":
            if child(parent, token) != operation["value"]:
                raise ValueError(f"test of {operation['path']} failed")
        case "add" if isinstance(parent, list):
            parent.insert(len(parent) if token == "-" else index(token, len(parent)), operation["value"])
        case "add" if isinstance(parent, dict):
            parent[token] = operation["value"]
        case "replace":
            child(parent, token)
            parent[token if isinstance(parent, dict) else int(token)] = operation["value"]
        case "remove":
            child(parent, token)
            del parent[token if isinstance(parent, dict) else int(token)]
        case other:
            raise ValueError(f"unexpected operation: {other}")


class Step(NamedTuple):
    """A change that was handed over, with what was there before it."""

    before: Snapshot
    text: str
    delta: Delta


class Follower:
    """A document that is kept equal to a context by applying its patches.

    It takes the place of a store: what it hands over counts as saved, unless it gives it back.
    """

    def __init__(self, context: SwisperContext) -> None:
        self.context = context
        self.text = "null"
        self.steps: list[Step] = []
        self.patch: list[dict[str, Any]] = []
        """The last patch."""

    def follow(self) -> bool:
        """Hand over what has changed; whether anything has."""
        before = self.context._position.snapshot
        delta = self.context._freeze()
        if delta is None:
            return False
        self._apply(Step(before, self.text, delta))
        self.check()
        return True

    def append_alone(self, name: str, record: Any) -> None:
        """Hand over one record that is appended to a list, while the other edits wait."""
        getattr(self.context, name)
        position = self.context._position
        step = Step(position.snapshot, self.text, position.snapshot.append(name, record))
        step.delta.adopt(self.context.__dict__)
        position.snapshot = step.delta.snapshot
        self._apply(step)

    def give_back(self, count: int) -> None:
        """The last so many changes could not be saved."""
        fallen = self.steps[len(self.steps) - count :]
        del self.steps[len(self.steps) - count :]
        for step in reversed(fallen):
            step.delta.restore(self.context.__dict__)
            self.context._position.snapshot, self.text = step.before, step.text

    def _apply(self, step: Step) -> None:
        self.patch = parse(step.delta.patch())
        self.text = write(apply(parse(self.text.encode()), self.patch))
        self.steps.append(step)

    def check(self) -> None:
        """Raise an AssertionError unless the patches led to the very bytes of the context."""
        assert self.context._position.snapshot.to_json().decode() == self.text
        fields = {name: value for name, value in serialize_context(self.context).items() if name not in METADATA}
        saved = json.loads(self.text)
        assert fields.keys() == saved.keys()
        assert all(identical(value, saved[name]) for name, value in fields.items())

    def check_history(self) -> None:
        """Raise an AssertionError if any earlier state is not what it was."""
        for step in self.steps:
            if step.before.names:
                assert step.before.to_json().decode() == step.text
