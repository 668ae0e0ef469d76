from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.cli.stored import objects, run

from swisper_ctx import PipelineSessionManager
from swisper_ctx.cli import reading

DASHED = ("-" + "a" * 21, "--" + "a" * 20)


@pytest.mark.parametrize("session_id", DASHED)
@pytest.mark.parametrize("command", ["show", "history", "export", "verify", "checkpoint"])
def test_a_session_id_may_begin_with_a_dash(store: Path, command: str, session_id: str) -> None:
    async def create() -> None:
        async with PipelineSessionManager.open(f"sqlite:///{store}") as sessions:
            await sessions.create_session(user_id="u", session_id=session_id)

    asyncio.run(create())
    result = run(store, command, session_id, "--json")
    assert result.exit_code == 0
    assert run(store, command, "--json", "--", session_id).exit_code == 0


def test_an_unknown_option_is_a_usage_error(store: Path) -> None:
    assert run(store, "verify", "--jsno").exit_code == 2


def test_a_listing_of_many_pages_is_whole(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE", 1)
    assert [each["session_id"] for each in objects(run(store, "verify", "--json"))] == ["short", "long"]
