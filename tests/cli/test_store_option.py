"""Which store a command takes, and how it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from tests.cli.stored import CANARY, change, of_session, run, run_process

from swisper_ctx import PipelineSessionManager
from swisper_ctx.cli.commands import commands

ALL = ("sessions", "show short", "history short", "export short", "verify", "stats", "checkpoint")


def run_with(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(commands, arguments, env={"SWISPER_STORE": None}, catch_exceptions=False)
    return result.exit_code, result.output


@pytest.mark.parametrize("command", ALL)
def test_a_store_must_be_given(command: str) -> None:
    code, output = run_with(*command.split())
    assert code == 2
    assert "--store" in output
    assert "SWISPER_STORE" in output


@pytest.mark.parametrize("command", ALL)
@pytest.mark.parametrize("name", ["absent.db", "absent/absent.db", "empty.db"])
def test_looking_creates_no_file(tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "empty.db").touch()
    for store in (str(tmp_path / name), f"sqlite:///{quote(str(tmp_path / name))}"):
        code, output = run_with(*command.split(), "--store", store)
        assert code == 2
        assert "there are no sessions in" in output
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("empty.db", 0)]


@pytest.mark.parametrize(
    "store",
    ["memory://", "nothing", "absent://s3cret@host/x", "sqlite://s3cret/x.db", "sqlite:///", "shelve:///absent"],
)
def test_a_store_that_cannot_be_is_a_usage_error_without_its_secrets(store: str) -> None:
    code, output = run_with("sessions", "--store", store)
    assert code == 2
    assert "s3cret" not in output


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "d.db").mkdir()
    assert run_with("stats", "--store", str(tmp_path / "d.db"))[0] == 2


def test_a_path_and_a_url_lead_to_the_same_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = store.rename(store.with_name("50% #1?.db"))
    monkeypatch.chdir(odd.parent)
    expected = run_with("sessions", "--store", str(odd))
    assert expected[0] == 0
    for given in (odd.name, f"sqlite:///{quote(odd.name)}", f"sqlite:///{quote(str(odd))}"):
        assert run_with("sessions", "--store", given) == expected


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_a_usage_error(name: str) -> None:
    code, output = run_with("stats", "--store", f"{name}.db")
    assert code == 2
    assert "\0" not in output


def test_a_shelf_is_found_by_its_name_without_what_dbm_appends(tmp_path: Path) -> None:
    url = f"shelve:///{quote(str(tmp_path / 'shelf'))}"
    assert run_with("sessions", "--store", url)[0] == 2
    assert list(tmp_path.iterdir()) == []

    async def create() -> None:
        async with PipelineSessionManager.open(url) as sessions:
            await sessions.create_session(user_id="u", session_id="only")

    asyncio.run(create())
    code, output = run_with("verify", "--store", url)
    assert (code, output) == (0, "1 session checked, none damaged\n")


def test_the_option_goes_before_the_environment(store: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "absent.db", "stats", "--store", str(store)).exit_code == 0


def test_a_foreign_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "foreign.db"
    path.write_bytes(f"not a database {CANARY}".encode() * 100)
    before = path.read_bytes()
    result = run(path, "verify")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: StoreError: ")
    assert CANARY not in result.output
    assert path.read_bytes() == before


@pytest.mark.parametrize("command", ["show", "history", "export", "verify", "checkpoint"])
def test_an_absent_session_is_one_clear_line(store: Path, command: str) -> None:
    result = run(store, command, "no\x1bne")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: SessionNotFoundError: no session no\\x1bne\n"


@pytest.mark.parametrize("command", ["show", "history", "export", "verify", "checkpoint"])
def test_a_row_of_the_wrong_types_is_one_clear_line(store: Path, command: str) -> None:
    for table in ("heads", "frames"):
        assert change(store, f"UPDATE {table} SET body = 'text {CANARY}' WHERE {of_session('short')}")
    result = run(store, command, "short")
    assert result.exit_code == 1
    assert "a value of the wrong kind is stored" in result.output
    assert CANARY not in result.output


def test_errors_of_a_process_have_no_traceback(store: Path) -> None:
    result = run_process(store, "show", "none")
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr == b"Error: SessionNotFoundError: no session none\n"


@pytest.mark.parametrize("command", ALL)
def test_a_process_writes_ascii_without_escape_codes(store: Path, command: str) -> None:
    result = run_process(store, *command.split(), PYTHONIOENCODING="ascii", FORCE_COLOR="1")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.isascii()
    assert b"\x1b" not in result.stdout


@pytest.mark.parametrize("command", ["show short --reveal", "history short --reveal"])
def test_revealed_escape_codes_and_letters_are_escaped(store: Path, command: str) -> None:
    plain = run_process(store, *command.split(), PYTHONIOENCODING="ascii")
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert b"gr\\xf6\\xdfe" in plain.stdout
    assert b"\x1b" not in plain.stdout
    unicode = run_process(store, *command.split(), PYTHONIOENCODING="utf-8")
    assert "größe".encode() in unicode.stdout


@pytest.mark.parametrize("command", ["sessions", "show short", "history short", "verify", "stats"])
def test_looking_changes_nothing_stored(store: Path, command: str) -> None:
    # `long` is due for a checkpoint, which loading it would make.
    before = run(store, "stats", "--json").stdout
    assert run(store, *command.replace("short", "long").split()).exit_code == 0
    assert run(store, "stats", "--json").stdout == before
