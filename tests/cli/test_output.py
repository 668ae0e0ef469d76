"""On a terminal: colours, tables, and nothing that was stored acts on it."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.stored import CANARY, flip, of_session

from swisper_ctx.cli.commands import commands
from swisper_ctx.cli.output import Output, aligned, printable


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def shown(terminal: Terminal, store: Path, *arguments: str) -> str:
    with redirect_stdout(terminal):
        commands([*arguments, "--store", str(store)], standalone_mode=False)
    return terminal.getvalue()


def test_a_terminal_gets_a_table(terminal: Terminal, store: Path) -> None:
    text = shown(terminal, store, "sessions")
    assert "╭" in text
    assert "short" in text


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_a_narrow_terminal_cuts_nothing_apart(
    terminal: Terminal, store: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = shown(terminal, store, "sessions").splitlines()
    (short,) = [line.replace("│", " ") for line in lines if "short" in line]
    assert len(short.split()) == 9
    assert all(heading in terminal.getvalue().lower() for heading in ("session", "version", "messages", "expires"))


def test_only_the_last_column_is_folded(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        Output(as_json=False).table(["name", "content"], [["a" * 50, "word " * 100]])
    assert "╭" in terminal.getvalue()
    assert "a" * 50 in terminal.getvalue()
    assert max(map(len, terminal.getvalue().splitlines()[2:])) <= 130


def test_stored_escape_codes_do_not_reach_a_terminal(terminal: Terminal, store: Path) -> None:
    text = shown(terminal, store, "show", "short", "--reveal")
    assert CANARY in text
    assert "\x1b[31mred" not in text


def test_json_is_plain_on_a_terminal(terminal: Terminal, store: Path) -> None:
    text = shown(terminal, store, "show", "short", "--json")
    assert text.isascii()
    assert "\x1b" not in text


def test_verify_shows_a_bar_and_the_damage_in_red(terminal: Terminal, store: Path) -> None:
    flip(store, "frames", f"{of_session('short')} AND version = 2")
    with pytest.raises(SystemExit, match="1"):
        shown(terminal, store, "verify")
    assert "\x1b[31mdamaged: frame 2" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


def test_a_terminal_without_unicode_gets_ascii(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "encoding", "latin-1")
    with redirect_stdout(terminal):
        Output(as_json=False).table(["name", "count"], [["ü", 1], ["[bold]", None]])
    assert terminal.getvalue().isascii()
    assert "[bold]" in terminal.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\nb", "a\\nb"), ("\x9b31m", "\\x9b31m"), ("\u202eevil", "\\u202eevil"), ("größe", "größe")],
)
def test_what_would_act_on_a_terminal_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_columns_are_aligned_without_trailing_space() -> None:
    rows = [["name", "n"], ["a", "10"], ["long", "9"]]
    assert list(aligned(rows, [False, True])) == ["name   n", "a     10", "long   9"]


def test_the_help_tells_each_command_on_one_line() -> None:
    text = CliRunner().invoke(commands, ["--help"]).stdout
    assert "..." not in text.partition("Commands:")[2]
    assert text.partition("Commands:")[2].count("\n") == 12
