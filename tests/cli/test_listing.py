from __future__ import annotations

from pathlib import Path

from tests.cli.stored import CANARY, LONG, change, objects, run


def test_sessions_stand_newest_first(store: Path) -> None:
    result = run(store, "sessions")
    assert (result.exit_code, result.stderr) == (0, "")
    heading, short, long = (line.split() for line in result.stdout.splitlines())
    assert heading == ["SESSION", "USER", "VERSION", "MESSAGES", "CREATED", "UPDATED", "EXPIRES"]
    assert short[:4] == ["short", "u-2", "3", "2"]
    assert long[:4] == ["long", "u-1", "2", str(LONG)]


def test_json_has_a_line_for_each(store: Path) -> None:
    short, long = objects(run(store, "sessions", "--json"))
    assert (short["session_id"], short["user_id"], short["version"], short["messages"]) == ("short", "u-2", 3, 2)
    assert short["expires_at"][:10] > short["updated_at"][:10]
    assert long["created_at"] < short["created_at"] <= short["updated_at"]


def test_a_user_has_only_their_own(store: Path) -> None:
    assert [each["session_id"] for each in objects(run(store, "sessions", "--json", "--user", "u-1"))] == ["long"]
    assert run(store, "sessions", "--user", "nobody").stdout == "no sessions\n"
    assert run(store, "sessions", "--user", "nobody", "--json").stdout == ""


def test_a_limit_says_that_there_are_more(store: Path) -> None:
    assert run(store, "sessions", "--limit", "1").stdout.splitlines()[2].startswith("and more")
    assert "and more" not in run(store, "sessions", "--limit", "2").stdout
    assert len(objects(run(store, "sessions", "--limit", "1", "--json"))) == 1
    assert run(store, "sessions", "--limit", "0").exit_code == 2


def test_names_cannot_act_on_a_terminal(store: Path) -> None:
    assert change(store, "UPDATE sessions SET user_id = char(27) || '[31m' || char(10)")
    result = run(store, "sessions")
    assert "\\x1b[31m\\n" in result.stdout
    assert "\x1b" not in result.stdout


def test_content_is_not_listed(store: Path) -> None:
    assert CANARY not in run(store, "sessions").output
