from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.stored import CANARY, change, flip, objects, of_session, run, run_process

from swisper_ctx.cli.commands import commands


def test_a_fork_begins_where_a_session_was(store: Path) -> None:
    assert run(store, "fork", "short", "--version", "1", "--id", "t").stdout == (
        "session t: a fork of session short at version 1\n"
    )
    (made,) = objects(run(store, "fork", "short", "--json"))
    assert made["forked_from"] == {"session_id": "short", "version": 3}
    assert len(objects(run(store, "show", made["session_id"], "--json"))[0]["messages"]) == 2
    assert objects(run(store, "show", "t", "--json"))[0]["messages"] == []
    for arguments in (("short", "--id", "t"), ("none",), ("short", "--version", "7")):
        result = run(store, "fork", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")


def test_a_sound_session_is_left_alone(store: Path) -> None:
    result = run(store, "recover", "short")
    assert (result.exit_code, result.stdout) == (0, "session short: nothing is damaged\n")
    assert run(store, "recover", "none").exit_code == 1


def test_recovery_says_what_was_lost_and_where_it_is(store: Path) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    damaged = "damaged: frame 2 of session short: the checksum does not match"
    found = [damaged, "last good version: 1 of 3", "lost: version 2 to 3"]
    dry = run(store, "recover", "short", "--dry-run")
    assert dry.exit_code == 1
    assert dry.stdout.splitlines() == [
        *found,
        "nothing was written: without --dry-run the session goes on from there",
    ]
    assert run(store, "verify").exit_code == 1
    result = run(store, "recover", "short")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        *found,
        "session short goes on at version 4",
        "what was there is kept as session short~quarantine-1",
    ]
    assert CANARY not in result.output
    assert run(store, "verify").stdout == "2 sessions checked, none damaged\n"
    assert run(store, "stats").exit_code == 0
    assert "short~quarantine-1" in run(store, "sessions").stdout


def test_a_damaged_head_costs_nothing_while_older_versions_are_there(store: Path) -> None:
    assert run(store, "checkpoint", "long").exit_code == 0
    flip(store, "heads", f"{of_session('long')} AND base > 0")
    (report,) = objects(run(store, "recover", "long", "--json"))
    assert (report["version"], report["newest"], report["lost_versions"], report["lost_records"]) == (2, 2, [], 0)
    assert len(report["bad_blocks"]) == 1
    assert len(objects(run(store, "show", "long", "--json"))[0]["messages"]) == 400
    assert run(store, "verify").exit_code == 0


def test_lost_records_are_counted(store: Path) -> None:
    assert run(store, "checkpoint", "long").exit_code == 0
    segments = f"{of_session('long')} AND field = 'conversation_history'"
    flip(store, "blocks", f"{segments} AND id = (SELECT min(id) FROM blocks WHERE {segments})")
    flip(store, "frames", f"{of_session('long')} AND version = 2")
    result = run(store, "recover", "long")
    assert result.exit_code == 1
    assert result.stdout.count("damaged: ") == 2
    assert " records of lists" in result.stdout
    assert "the state at that version may lack what stood in the damaged places" in result.stdout
    assert run(store, "verify", "long").exit_code == 0


def test_cleanup_deletes_what_has_expired(store: Path) -> None:
    assert run(store, "cleanup").stdout == "0 expired sessions deleted\n"
    assert change(store, "UPDATE sessions SET expires_at = 5 WHERE session_id = 'long'") == 1
    assert run(store, "show", "long").exit_code == 1
    assert objects(run(store, "cleanup", "--json")) == [{"deleted": 1}]
    assert [each["session_id"] for each in objects(run(store, "sessions", "--json"))] == ["short"]


@pytest.mark.parametrize("answer", ["n\n", "", "\n"])
def test_delete_asks(store: Path, answer: str) -> None:
    environment = {"SWISPER_STORE": str(store)}
    result = CliRunner().invoke(commands, ["delete", "short"], input=answer, env=environment)
    assert result.exit_code == 1
    assert "Delete session short" in result.stderr
    assert len(objects(run(store, "sessions", "--json"))) == 2
    assert CliRunner().invoke(commands, ["delete", "short"], input="y\n", env=environment).exit_code == 0
    assert len(objects(run(store, "sessions", "--json"))) == 1


def test_delete_takes_what_is_in_quarantine_along(store: Path) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    run(store, "recover", "short")
    assert objects(run(store, "delete", "short", "--yes", "--json")) == [{"session_id": "short", "deleted": True}]
    assert [each["session_id"] for each in objects(run(store, "sessions", "--json"))] == ["long"]
    assert run(store, "delete", "short", "--yes").exit_code == 1


def test_a_healthy_store_needs_nothing(store: Path) -> None:
    result = run(store, "doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("nothing to do; whether the content is sound, swisper-ctx verify tells\n")
    (health,) = objects(run(store, "doctor", "--json"))
    assert (health["store"], health["schema"], health["sessions"], health["to_do"]) == ("SQLiteSessionStore", 1, 2, [])
    assert health["file_bytes"] == store.stat().st_size
    assert health["oldest_frame"].endswith("Z")
    change(store, "PRAGMA user_version = 0")
    assert objects(run(store, "doctor", "--json"))[0]["schema"] == 0


def test_the_doctor_says_what_to_do(store: Path) -> None:
    run(store, "fork", "short", "--id", "bad")
    run(store, "fork", "short", "--id", "was bad")
    for session_id in ("bad", "was bad"):
        assert change(store, f"DELETE FROM heads WHERE {of_session(session_id)}")
    run(store, "recover", "was bad")
    assert change(store, "UPDATE sessions SET expires_at = 5 WHERE session_id = 'long'")
    assert change(store, "UPDATE sessions SET updated_at = updated_at + 3600000000 WHERE session_id = 'short'")
    result = run_process(store, "doctor")
    assert (result.returncode, result.stderr) == (1, b"")
    todo = [line for line in result.stdout.decode().splitlines() if line.startswith("to do: ")]
    assert todo[0].startswith("to do: 1 session expired")
    assert len(todo) == 4
    (health,) = objects(run(store, "doctor", "--json"))
    counts = (health["expired"], health["unreadable"], health["quarantined"], len(health["to_do"]))
    assert counts == (1, 1, 1, 4)
    assert 3_500_000_000 < health["clock_ahead"] <= 3_600_000_000
