from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.stored import CANARY, LONG, flip, of_session, run


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_content_is_hidden_until_it_is_revealed(store: Path, options: tuple[str, ...]) -> None:
    hidden = run(store, "show", "short", *options)
    assert (hidden.exit_code, hidden.stderr) == (0, "")
    assert CANARY not in hidden.output
    assert CANARY in run(store, "show", "short", "--reveal", *options).stdout


def test_text_tells_sizes_roles_and_lengths(store: Path) -> None:
    lines = [line.split() for line in run(store, "show", "short").stdout.splitlines()]
    assert lines[:3] == [["session", "short"], ["user", "u-2"], ["version", "3"]]
    assert ["product_query", "str", "-", str(len(CANARY) + 2)] in lines
    assert ["hard_constraints", "list", "0", "2"] in lines
    assert [line[:2] + line[-1:] for line in lines[-2:]] == [["1", "user", "26"], ["2", "assistant", "1"]]


def test_json_tells_the_same(store: Path) -> None:
    shown = json.loads(run(store, "show", "short", "--json").stdout)
    assert (shown["session_id"], shown["user_id"], shown["version"]) == ("short", "u-2", 3)
    assert shown["fields"]["product_query"] == {"type": "str", "bytes": len(CANARY) + 2}
    assert shown["fields"]["conversation_history"]["count"] == 2
    assert [(each["role"], each["length"]) for each in shown["messages"]] == [("user", 26), ("assistant", 1)]
    assert set(shown["messages"][0]) == {"role", "timestamp", "length"}


def test_revealed_json_holds_the_content_once(store: Path) -> None:
    shown = json.loads(run(store, "show", "short", "--reveal", "--json").stdout)
    assert shown["fields"]["product_query"]["value"] == CANARY
    assert shown["messages"][0]["content"] == f"a {CANARY}\n\x1b[31mred\x1b[0m"
    assert "value" not in shown["fields"]["conversation_history"]


def test_revealed_text_has_a_line_for_each_message(store: Path) -> None:
    lines = run(store, "show", "short", "--reveal").stdout.splitlines()
    assert lines[-2].endswith(f"a {CANARY}\\n\\x1b[31mred\\x1b[0m")
    assert lines[-1].endswith('[{"type":"text","text":"' + CANARY + '"}]')


def test_a_long_session_is_shown_whole(store: Path) -> None:
    assert run(store, "checkpoint", "long").exit_code == 0
    assert len(json.loads(run(store, "show", "long", "--json").stdout)["messages"]) == LONG


def test_a_damaged_session_is_one_line(store: Path) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    result = run(store, "show", "short", "--reveal")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: CorruptSessionError: frame 2 of session short: the checksum does not match\n"


def test_an_old_version_is_shown_as_it_was(store: Path) -> None:
    assert run(store, "checkpoint", "short").exit_code == 0
    shown = [json.loads(run(store, "show", "short", "--json", "--version", str(n)).stdout) for n in (1, 2, 3)]
    assert [each["version"] for each in shown] == [1, 2, 3]
    assert [len(each["messages"]) for each in shown] == [0, 2, 2]
    assert [each["fields"]["soft_preferences"]["count"] for each in shown] == [0, 0, 1]
    assert shown[0]["updated_at"] < shown[1]["updated_at"] < shown[2]["updated_at"]
    assert "version  1\n" in run(store, "show", "short", "--version", "1").stdout


@pytest.mark.parametrize(
    ("version", "told"),
    [("4", "VersionUnavailableError: there is no version 4 yet; the newest is 3"), ("0", "Invalid value")],
)
def test_a_version_that_is_not_there_is_an_error(store: Path, version: str, told: str) -> None:
    result = run(store, "show", "short", "--version", version)
    assert (result.exit_code != 0, result.stdout) == (True, "")
    assert told in result.stderr
