"""The commands on a PostgreSQL store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from swisper_ctx.cli.commands import commands


def run(url: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(commands, [*arguments, "--store", url])
    return result.exit_code, result.output


@pytest.mark.servers
def test_migrate_and_then_look(postgres_url: str) -> None:
    code, output = run(postgres_url, "sessions")
    assert (code, "swisper-ctx migrate" in output) == (1, True)
    assert run(postgres_url, "migrate") == (0, "1 step of the schema, 0 sessions taken over\n")
    code, output = run(postgres_url, "migrate", "--json")
    assert (code, json.loads(output)) == (0, {"steps": 0, "adopted": 0, "refused": []})
    for command in ("sessions", "stats", "verify", "doctor", "cleanup"):
        code, output = run(postgres_url, command)
        assert code == 0, output


def test_other_stores_need_no_migration(store: Path) -> None:
    code, output = run(f"sqlite:///{store}", "migrate")
    assert (code, "nothing to migrate" in output) == (2, True)


@pytest.mark.servers
def test_a_password_is_in_no_output(postgres_url: str) -> None:
    code, output = run("postgresql://u:swordfish@127.0.0.1:1/db", "doctor")
    assert (code, "swordfish" in output) == (1, False)
