"""The demo on servers, on the sample."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from swisper_ctx.cli.commands import commands
from swisper_ctx.cli.conversations import SAMPLE


@pytest.fixture(autouse=True)
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWISPER_DATA", str(SAMPLE))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(commands, ["demo", *arguments], catch_exceptions=False)
    return result.exit_code, result.output


@pytest.mark.servers
def test_many_users_on_postgresql_and_redis(postgres_url: str, redis_url: str) -> None:
    code, output = run("--store", postgres_url, "--cache", redis_url, "--users", "7")
    assert code == 0, output
    assert "Every turn is stored, nothing differs." in output
    assert re.search(r"\d turns/s", output.replace("durable ", ""))
    assert "7 sessions loaded, 7 of them from Redis" in output
    assert re.search(r"WAL: [\d,]+ bytes a turn", output)


@pytest.mark.servers
def test_without_a_cache(postgres_url: str) -> None:
    code, output = run("--store", postgres_url, "--users", "2")
    assert (code, "Redis" in output) == (0, False), output


def test_a_server_that_refuses_ends_it_with_one_line() -> None:
    result = CliRunner().invoke(commands, ["demo", "--store", "postgresql://u:swordfish@127.0.0.1:1/db"])
    assert (result.exit_code, "swordfish" in result.output) == (1, False)
    assert "Error: StoreUnavailableError: PostgreSQL: ConnectionRefusedError" in result.output


def test_a_cache_needs_a_server() -> None:
    code, output = run("--cache", "redis://127.0.0.1:1")
    assert (code, "--cache needs --store" in output) == (2, True)
