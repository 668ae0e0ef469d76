from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.cli.stored import CANARY, objects, run

from swisper_ctx import Patch, apply_patch


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
    assert apply_patch(content(first), Patch(patch)) == content(second)


@pytest.mark.parametrize("versions", [("1", "9"), ("0", "1"), ("one", "2")])
def test_versions_that_are_none(store: Path, versions: tuple[str, str]) -> None:
    result = run(store, "diff", "short", *versions)
    assert result.exit_code > 0
    assert result.stdout == ""
    assert run(store, "diff", "none", "1", "2").exit_code == 1
