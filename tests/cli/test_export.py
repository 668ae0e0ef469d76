from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from tests.cli.stored import CANARY, flip, of_session, run, run_process

from swisper_ctx import SwisperContext, deserialize_context, serialize_context


def test_the_whole_session_is_written(store: Path) -> None:
    result = run(store, "export", "short")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    context = deserialize_context(document)
    assert isinstance(context, SwisperContext)
    assert serialize_context(context) == document
    assert (document["product_query"], document["metadata"]) == (CANARY, {"größe": 10**5000})


def test_json_is_one_line(store: Path) -> None:
    lines = run(store, "export", "short", "--json").stdout.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == json.loads(run(store, "export", "short").stdout)


def test_a_file_is_private_and_holds_the_same(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    result = run(store, "export", "short", "--output", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{path.stat().st_size:,} bytes written to {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "größe" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_bytes()) == json.loads(run(store, "export", "short").stdout)


def test_the_help_says_that_nothing_is_hidden(store: Path) -> None:
    assert "the whole content" in run(store, "export", "--help").output


@pytest.mark.parametrize("damaged", [True, False])
def test_nothing_is_written_if_it_fails(store: Path, tmp_path: Path, damaged: bool) -> None:
    path = tmp_path / "out.json"
    path.write_text("as before")
    if damaged:
        flip(store, "frames", f"{of_session('short')} AND version = 2")
    result = run(store, "export", "short" if damaged else "none", "--output", str(path))
    assert result.exit_code == 1
    assert CANARY not in result.output
    assert path.read_text() == "as before"


def test_a_file_that_cannot_be_written_is_one_line(store: Path, tmp_path: Path) -> None:
    result = run_process(store, "export", "short", "--output", str(tmp_path / "absent" / "out.json"))
    assert result.returncode == 1
    assert result.stderr.startswith(b"Error: Could not open file")
    assert b"Traceback" not in result.stderr
