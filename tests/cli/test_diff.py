from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.stored import CANARY, objects, run

from swisper_ctx.cli.differences import differences

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([1.0, 0.5]) | st.sampled_from(["", "a", "~/"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "~1/", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


def applied(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902, as plainly as it can be said."""
    root = {"": copy.deepcopy(document)}
    for operation in operations:
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in operation["path"].split("/")]
        parent: Any = root
        for token in tokens[:-1]:
            parent = parent[int(token) if isinstance(parent, list) else token]
        last = tokens[-1]
        if isinstance(parent, list):
            at = len(parent) if last == "-" else int(last)
            if operation["op"] == "add":
                parent.insert(at, operation["value"])
            elif operation["op"] == "remove":
                del parent[at]
            else:
                parent[at] = operation["value"]
        elif operation["op"] == "remove":
            del parent[last]
        else:
            assert (last in parent) == (operation["op"] == "replace")
            parent[last] = operation["value"]
    return root[""]


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(values, values)
def test_the_operations_lead_from_the_one_to_the_other(before: Any, after: Any) -> None:
    assert canonical(applied(before, list(differences(before, after)))) == canonical(after)
    assert list(differences(before, copy.deepcopy(before))) == []


def test_an_append_is_one_operation() -> None:
    before = {"h": list(range(1000))}
    assert list(differences(before, {"h": [*range(1000), "new"]})) == [
        {"op": "add", "path": "/h/-", "value": "new"},
    ]
    assert list(differences(before, {"h": [*range(500), *range(501, 1000)]})) == [{"op": "remove", "path": "/h/500"}]


def test_values_are_hidden_unless_asked_for(store: Path) -> None:
    result = run(store, "diff", "short", "1", "3")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "version 1 to 3: 6 differences"
    assert "  add /conversation_history/-  (2 times)" in lines
    assert CANARY not in result.stdout + run(store, "diff", "short", "1", "3", "--json").stdout
    assert CANARY in run(store, "diff", "short", "1", "3", "--reveal").stdout


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1), (2, 3), (2, 2)])
def test_json_is_a_patch_from_the_one_version_to_the_other(store: Path, first: int, second: int) -> None:
    def content(version: int) -> Any:
        shown = objects(run(store, "show", "short", "--version", str(version), "--json", "--reveal"))[0]["fields"]
        return {name: field["value"] for name, field in shown.items() if "value" in field}

    patch = objects(run(store, "diff", "short", str(first), str(second), "--json", "--reveal"))
    patch = [operation for operation in patch if not operation["path"].startswith("/conversation_history")]
    assert canonical(applied(content(first), patch)) == canonical(content(second))


@pytest.mark.parametrize("versions", [("1", "9"), ("0", "1"), ("one", "2")])
def test_versions_that_are_none(store: Path, versions: tuple[str, str]) -> None:
    result = run(store, "diff", "short", *versions)
    assert result.exit_code > 0
    assert result.stdout == ""
    assert run(store, "diff", "none", "1", "2").exit_code == 1
