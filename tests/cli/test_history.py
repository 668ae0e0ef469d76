from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.stored import CANARY, change, flip, objects, of_session, run


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_values_are_hidden_until_they_are_revealed(store: Path, options: tuple[str, ...]) -> None:
    hidden = run(store, "history", "short", *options)
    assert (hidden.exit_code, hidden.stderr) == (0, "")
    assert CANARY not in hidden.output
    assert CANARY in run(store, "history", "short", "--reveal", *options).stdout


def test_text_tells_versions_and_operations(store: Path) -> None:
    lines = run(store, "history", "short").stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("version")] == ["1", "2", "3"]
    assert lines[1] == "  add (everything)"
    assert lines[2].endswith("change_id first")
    assert "  add /conversation_history/-  (2 times)" in lines
    assert "  add /soft_preferences/noise" in lines


def test_json_tells_the_same(store: Path) -> None:
    first, second, third = objects(run(store, "history", "short", "--json"))
    assert first["operations"] == [{"op": "add", "path": ""}]
    assert (second["version"], second["change_id"], third["change_id"]) == (2, "first", None)
    assert {"op": "add", "path": "/soft_preferences/noise"} in third["operations"]
    assert second["bytes"] > 0


def test_revealed_json_is_the_patch(store: Path) -> None:
    third = objects(run(store, "history", "short", "--json", "--reveal"))[2]
    assert {"op": "add", "path": "/soft_preferences/noise", "value": CANARY} in third["operations"]
    assert {"op": "add", "path": "/metadata/größe", "value": 10**5000} in third["operations"]


def test_a_purged_patch_is_said_to_be_gone(store: Path) -> None:
    assert change(store, f"UPDATE frames SET body = NULL WHERE {of_session('long')} AND version = 1")
    result = run(store, "history", "long")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].endswith("patch no longer kept")
    assert objects(run(store, "history", "long", "--json"))[0]["operations"] is None


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_damaged_version_does_not_hide_the_others(store: Path, options: tuple[str, ...]) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    result = run(store, "history", "short", *options)
    assert result.exit_code == 1
    assert "frame 2 of session short: the checksum does not match" in result.stdout
    assert "/soft_preferences/noise" in result.stdout
