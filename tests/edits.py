"""Small edits of JSON values, drawn at random: each is counted by its name."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import strategies as st
from tests.values import keys, scalars, values

LIST_EDITS = ["insert", "append", "set", "delete", "reverse", "move"]
DICT_EDITS = ["put", "delete", "reinsert", "retype", "first", "zero"]

MADE: Counter[str] = Counter()
"""How often each edit was made."""


def containers(value: Any) -> list[Any]:
    """The value and all within it that can be edited."""
    if not isinstance(value, dict | list):
        return []
    parts = value.values() if isinstance(value, dict) else value
    return [value, *(found for part in parts for found in containers(part))]


def edit(value: dict[str, Any], data: st.DataObject) -> None:
    """One small change somewhere within."""
    found = data.draw(st.sampled_from(containers(value)))
    if isinstance(found, list):
        edit_list(found, data)
    else:
        edit_dict(found, data)


def edit_list(items: list[Any], data: st.DataObject) -> None:
    at, name = data.draw(st.integers(0, len(items))), data.draw(st.sampled_from(LIST_EDITS))
    MADE[f"list {name}"] += 1
    match name:
        case "insert":
            items.insert(at, data.draw(values))
        case "append":
            items.append(data.draw(values))
        case "set":
            items[at : at + 1] = [data.draw(scalars)]
        case "delete":
            del items[at : at + 2]
        case "reverse":
            items.reverse()
        case _:
            items.insert(at, items.pop() if items else None)


def edit_dict(members: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([*members, None])) if members else None
    if key is None:
        MADE["dict new"] += 1
        members[data.draw(keys)] = data.draw(values)
        return
    name = data.draw(st.sampled_from(DICT_EDITS))
    MADE[f"dict {name}"] += 1
    match name:
        case "put":
            members[key] = data.draw(values)
        case "delete":
            del members[key]
        case "reinsert":
            members[key] = members.pop(key)
        case "retype":
            members[key] = retyped(members[key], data)
        case "zero":
            members["\0"] = f"{key}\0"
        case _:
            rest = {name: members.pop(name) for name in [*members] if name != key}
            members.update(rest)


def retyped(value: Any, data: st.DataObject) -> Any:
    """The same number as another type, or one of those that are easily taken for one another."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        return {bool: int, int: float, float: bool}[type(value)](value)
    return data.draw(st.sampled_from([1, 1.0, True, "1", None, [1], 0, 0.0, -0.0, False]))
