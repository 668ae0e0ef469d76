"""What a callback is told, and that it can break nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, get_args

import pytest

from swisper_ctx import EventName, PipelineSessionManager
from swisper_ctx.events import emit
from swisper_ctx.stores.memory import MemorySessionStore

Told = list[tuple[str, dict[str, Any]]]


def listener() -> tuple[Told, Any]:
    told: Told = []
    return told, lambda name, details: told.append((name, details))


async def test_the_life_of_a_session_is_told_in_order(tmp_path: Path) -> None:
    told, on_event = listener()
    async with PipelineSessionManager.open(f"sqlite:///{tmp_path}/s.db", on_event=on_event) as sessions:
        context = await sessions.create_session(user_id="u-secret", session_id="s")
        async with sessions.pipeline(context, "search") as run:
            run.result = "content"
        await sessions.save(context)
        await sessions.save(context)
        with pytest.raises(ZeroDivisionError):
            async with sessions.pipeline(context, "search", input="content"):
                raise ZeroDivisionError
        await sessions.save_pipeline_execution("s", "rank", {"duration_ms": 2.5, "status": "failed"})
        await sessions.load_session_context("s")
        await sessions.load_session_context("none")
        await sessions.delete_session("s")
        await sessions.delete_session("s")
    names = [name for name, _ in told]
    assert names == [
        "session_saved",
        "pipeline_completed",
        "session_saved",
        "pipeline_failed",
        "session_saved",
        "session_saved",
        "pipeline_failed",
        "session_loaded",
        "session_deleted",
    ]
    assert [details["version"] for name, details in told if name == "session_saved"] == [1, 2, 3, 4]
    assert told[6][1] == {"session_id": "s", "pipeline": "rank", "ms": 2.5}
    assert told[1][1].keys() == {"session_id", "pipeline", "ms"}
    assert all(details["session_id"] == "s" for _, details in told)
    assert "content" not in str(told)
    assert "u-secret" not in str(told)


async def test_a_callback_that_raises_is_logged_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(name: str, details: dict[str, Any]) -> None:
        raise RuntimeError("broken callback")

    sessions = PipelineSessionManager(MemorySessionStore(), on_event=broken)
    context = await sessions.create_session(user_id="u")
    async with sessions.pipeline(context, "search"):
        pass
    await sessions.save(context)
    assert (await sessions.performance.get_or_compute("k", numbers)) == [1]
    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("swisper_ctx.store", logging.ERROR),
        ("swisper_ctx.manager", logging.ERROR),
        ("swisper_ctx.cache", logging.ERROR),
    }
    assert "broken callback" in caplog.text


async def test_keys_of_results_are_not_told() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    sessions = PipelineSessionManager(MemorySessionStore(), on_event=lambda *event: told.append(event))
    for _ in range(2):
        await sessions.performance.get_or_compute("what the user said", numbers)
    with pytest.raises(ZeroDivisionError):
        await sessions.performance.get_or_compute("what else", failing)
    assert [name for name, _ in told] == ["result_computed", "result_hit", "result_failed"]
    assert told[0][1].keys() == {"ms"}
    assert [details for _, details in told[1:]] == [{"results": 1}, {"error": "ZeroDivisionError"}]


async def failing() -> list[int]:
    raise ZeroDivisionError("what the user said")


async def numbers() -> list[int]:
    return [1]


def test_what_ends_the_program_is_not_held_up() -> None:
    def interrupted(name: str, details: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        emit(interrupted, "session_saved", session_id="s")


def test_the_names_stay_the_same() -> None:
    assert set(get_args(EventName)) >= {
        "session_loaded",
        "session_saved",
        "session_refused",
        "session_merged",
        "session_conflict",
        "session_failed",
        "session_deleted",
        "checkpoint_written",
        "checkpoint_refused",
        "pipeline_completed",
        "pipeline_failed",
        "result_hit",
        "result_computed",
        "result_failed",
        "result_expired",
    }
