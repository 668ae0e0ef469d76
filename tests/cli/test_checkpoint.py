from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.stored import CANARY, flip, objects, of_session, run

from swisper_ctx.log import Checkpoint
from swisper_ctx.stores.sqlite import SQLiteSessionStore


def exported(path: Path, session_id: str) -> object:
    return json.loads(run(path, "export", session_id).stdout)


def test_a_checkpoint_is_made_though_it_is_not_due(store: Path) -> None:
    before = exported(store, "short")
    result = run(store, "checkpoint", "short")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "session short: checkpoint at version 3, 3 versions folded\n"
    assert json.loads(run(store, "stats", "--json").stdout)["blocks"] > 0
    assert exported(store, "short") == before
    again = run(store, "checkpoint", "short")
    assert (again.exit_code, again.stdout) == (0, "session short: nothing to fold since the last checkpoint\n")


def test_all_that_are_due_are_made(store: Path) -> None:
    before = exported(store, "long")
    made = objects(run(store, "checkpoint", "--json"))
    assert made == [{"session_id": "long", "version": 2, "frames": 2, "written": True}]
    assert exported(store, "long") == before
    assert run(store, "checkpoint").stdout == "2 sessions, none due\n"
    assert run(store, "verify").exit_code == 0


def test_a_damaged_session_does_not_keep_the_others_from_theirs(store: Path) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    result = run(store, "checkpoint")
    assert result.exit_code == 1
    assert "failed: frame 2 of session short: the checksum does not match" in result.stdout
    assert "session long: checkpoint at version 2" in result.stdout
    assert result.stdout.endswith("2 sessions, 1 checkpoint made, 1 failed\n")
    assert CANARY not in result.output


def test_one_that_cannot_be_made_is_one_line(store: Path) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    result = run(store, "checkpoint", "short")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: CorruptSessionError: frame 2 of session short")


def test_somebody_who_was_faster_is_no_failure(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_store: SQLiteSessionStore, _checkpoint: Checkpoint) -> bool:
        return False

    monkeypatch.setattr(SQLiteSessionStore, "checkpoint", refuse)
    result = run(store, "checkpoint", "short")
    assert (result.exit_code, result.stdout) == (
        0,
        "session short: somebody else made a checkpoint at the same time\n",
    )
