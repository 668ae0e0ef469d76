"""The demo end to end, on the sample."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from swisper_ctx import PipelineSessionManager
from swisper_ctx.cli import demo
from swisper_ctx.cli.commands import commands
from swisper_ctx.cli.conversations import SAMPLE, load_source
from swisper_ctx.cli.crash import Crash, WriterError, write_until_killed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWISPER_DATA", str(SAMPLE))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(commands, ["demo", *arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_demo_survives_the_kill_and_shows_the_costs(tmp_path: Path) -> None:
    code, output = run("--users", "2", "--store", f"sqlite:///{tmp_path / 'kept.db'}")
    assert code == 0, output
    assert "No acknowledged turn was lost, nothing differs." in output
    assert "acknowledged turns are there, and equal to the source" in output
    assert "401-514" in output
    assert output.isascii()
    assert (tmp_path / "kept.db").exists()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_the_signal_meets_a_writer_at_work(tmp_path: Path) -> None:
    source = load_source()
    crashes = (
        write_until_killed(f"sqlite:///{tmp_path / 'demo.db'}", f"run{attempt}", 4, source.turns, lambda: None)
        for attempt in range(3)
    )
    # On a busy machine the writer may be done before the signal is sent, but hardly three times.
    assert any(crash.killed and len(crash.acks) > source.turns / 3 for crash in crashes)


def test_a_writer_that_fails_is_not_taken_for_a_killed_one(tmp_path: Path) -> None:
    with pytest.raises(WriterError, match="exit code"):
        write_until_killed(f"sqlite:///{tmp_path / 'absent' / 'demo.db'}", "run", 1, 10, lambda: None)


def test_demo_fails_if_a_stored_message_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tamper(url: str, session_id: str) -> None:
        async with PipelineSessionManager.open(url) as sessions:
            context = await sessions.load_session_context(session_id)
            assert context is not None
            context.conversation_history[1] = context.conversation_history[1].replace(content="changed")
            await sessions.save(context)

    def write_and_tamper(url: str, run: str, users: int, turns: int, advance: Callable[[], None]) -> Crash:
        crash = write_until_killed(url, run, users, turns, advance)
        asyncio.run(tamper(url, crash.acks[0].session_id))
        return crash

    monkeypatch.setattr(demo, "write_until_killed", write_and_tamper)
    code, output = run("--users", "2")
    assert code == 1
    assert "FAILED" in output
    assert "message 2: content differs" in output


def test_demo_fails_if_the_file_was_damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "demo.db"

    def write_and_damage(url: str, run: str, users: int, turns: int, advance: Callable[[], None]) -> Crash:
        crash = write_until_killed(url, run, users, turns, advance)
        for written in tmp_path.glob("demo.db*"):
            written.write_bytes(b"not a database" * 1000)
        return crash

    monkeypatch.setattr(demo, "write_until_killed", write_and_damage)
    code, output = run("--users", "1", "--store", str(path))
    assert code == 1
    assert "FAILED, 1 problem:" in output


def test_demo_fails_if_the_writer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> Crash:
        raise WriterError("the writer ended with exit code 1")

    monkeypatch.setattr(demo, "write_until_killed", fail)
    code, output = run("--users", "1")
    assert code == 1
    assert "exit code 1" in output


@pytest.mark.parametrize("store", ["mysql://localhost/x", "/nowhere/at/all.db"])
def test_demo_refuses_a_store_that_is_no_file(store: str) -> None:
    assert run("--store", store)[0] == 2


def test_demo_names_a_missing_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWISPER_DATA", str(tmp_path))
    code, output = run()
    assert code == 1
    assert "SWISPER_DATA" in output
