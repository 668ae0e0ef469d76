from __future__ import annotations

import json
from pathlib import Path

from tests.cli.stored import CANARY, LONG, change, of_session, run


def test_json_counts_what_there_is(store: Path) -> None:
    result = run(store, "stats", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    counted = json.loads(result.stdout)
    expected = {"sessions": 2, "users": 2, "messages": LONG + 2, "versions": 5, "frames": 5, "unreadable": 0}
    assert counted.items() >= expected.items()
    assert counted["frame_bytes"] > 100_000
    assert counted["blocks"] == counted["block_bytes"] == 0
    assert counted["oldest"] < counted["newest"] <= counted["last_change"]


def test_blocks_are_counted_after_a_checkpoint(store: Path) -> None:
    run(store, "checkpoint", "long")
    counted = json.loads(run(store, "stats", "--json").stdout)
    assert counted["blocks"] > 3
    assert counted["block_bytes"] > 100_000


def test_text_tells_the_same(store: Path) -> None:
    result = run(store, "stats")
    lines = [line.split()[:2] for line in result.stdout.splitlines()]
    assert [["sessions", "2"], ["users", "2"], ["messages", str(LONG + 2)]] == lines[:3]
    assert CANARY not in result.output


def test_a_session_that_cannot_be_read_is_counted(store: Path) -> None:
    assert change(store, f"DELETE FROM heads WHERE {of_session('short')}") == 1
    result = run(store, "stats", "--json")
    assert result.exit_code == 1
    counted = json.loads(result.stdout)
    assert (counted["unreadable"], counted["sessions"], counted["frames"]) == (1, 2, 2)


def test_a_store_without_sessions_has_none(store: Path) -> None:
    assert change(store, "DELETE FROM sessions") == 2
    counted = json.loads(run(store, "stats", "--json").stdout)
    assert (counted["sessions"], counted["oldest"], counted["last_change"]) == (0, None, None)
    assert run(store, "stats").exit_code == run(store, "verify").exit_code == 0
