"""What differs between two JSON documents, as a JSON Patch (RFC 6902) from the one to the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from swisper_ctx.cli.output import compact

Operation = dict[str, Any]


def differences(before: Any, after: Any, path: str = "") -> Iterator[Operation]:
    """The operations, in an order in which they apply.

    `1`, `1.0` and `True` differ, the order of keys does not count.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_arrays(before, after, path)
    elif not _same(before, after):
        yield {"op": "replace", "path": path, "value": after}


def _same(before: Any, after: Any) -> bool:
    return compact(before) == compact(after)


def _of_objects(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Operation]:
    for key, value in before.items():
        if key in after:
            yield from differences(value, after[key], _below(path, key))
        else:
            yield {"op": "remove", "path": _below(path, key)}
    for key, value in after.items():
        if key not in before:
            yield {"op": "add", "path": _below(path, key), "value": value}


def _below(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"


def _of_arrays(before: list[Any], after: list[Any], path: str) -> Iterator[Operation]:
    """What is alike at both ends is left out; between, as many as there are on both sides are compared."""
    old, new = list(map(compact, before)), list(map(compact, after))
    shorter = min(len(old), len(new))
    start = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    end = next((n for n in range(shorter - start) if old[-1 - n] != new[-1 - n]), shorter - start)
    common = shorter - start - end
    for n in range(start, start + common):
        yield from differences(before[n], after[n], f"{path}/{n}")
    at = start + common
    for _ in range(len(old) - end - at):
        yield {"op": "remove", "path": f"{path}/{at}"}
    for n in range(at, len(new) - end):
        yield {"op": "add", "path": f"{path}/{n if end else '-'}", "value": after[n]}
