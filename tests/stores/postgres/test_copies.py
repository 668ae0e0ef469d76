"""What people's queries see in `sessions` and `pipeline_executions`, and that it is never in the way of a turn."""

from __future__ import annotations

import json
import logging
from typing import Any

import asyncpg
import pytest
from tests.stores.postgres.schemas import execute

from swisper_ctx import Message, PipelineExecution, SwisperContext
from swisper_ctx.keys import new_key
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing.changes import folded

pytestmark = pytest.mark.servers
SHOWN = "SELECT user_id, context_data::text FROM sessions WHERE session_id = 's'"
RUNS = """
    SELECT pipeline_name, execution_data::text, performance_metrics::text FROM pipeline_executions
    WHERE session_id = 's' ORDER BY created_at, pipeline_name
"""


async def shown(url: str) -> dict[str, Any]:
    ((user_id, content),) = await execute(url, SHOWN)
    assert user_id == "u"
    return {name: value for name, value in json.loads(content).items() if value and name != "data_retention_policy"}


async def runs(url: str) -> list[tuple[str, dict[str, Any], Any]]:
    return [
        (name, json.loads(data), metrics and json.loads(metrics)) for name, data, metrics in await execute(url, RUNS)
    ]


@pytest.fixture
async def context(store: PostgresSessionStore) -> SwisperContext:
    context = SwisperContext(session_id="s", user_id="u", product_query="quiet fridge", current_state="asking")
    context.conversation_history.append(Message("user", "hello"))
    await store.save_session(context)
    return context


async def test_small_fields_at_create_transition_and_checkpoint(
    store: PostgresSessionStore, url: str, context: SwisperContext
) -> None:
    assert await shown(url) == {"current_state": "asking", "product_query": "quiet fridge"}
    context.product_query = "loud fridge"
    await store.save_session(context)
    assert (await shown(url))["product_query"] == "quiet fridge"
    context.current_state = "buying"
    context.buffer_store = {"large": "x" * 3_000}
    await store.save_session(context)
    assert await shown(url) == {"current_state": "buying", "product_query": "loud fridge"}
    context.product_query = "no fridge"
    await store.save_session(context)
    await folded(store, context)
    assert (await shown(url))["product_query"] == "no fridge"


async def test_a_row_for_each_execution(store: PostgresSessionStore, url: str, context: SwisperContext) -> None:
    context.pipeline_executions.append(PipelineExecution("search", result={"n": 3}, metrics={"ms": 1.5}))
    context.pipeline_executions.append(PipelineExecution("rank", result="y" * 9_000, status="completed"))
    await store.save_session(context)
    await store.append_record("s", "pipeline_executions", PipelineExecution("alone"))
    found = {name: (data, metrics) for name, data, metrics in await runs(url)}
    assert sorted(found) == ["alone", "rank", "search"]
    assert (found["search"][0]["result"], found["search"][1]) == ({"n": 3}, {"ms": 1.5})
    assert (found["rank"][0]["status"], found["rank"][0]["abridged"]) == ("completed", True)
    assert "result" not in found["rank"][0]
    await store.delete_session("s")
    assert await runs(url) == []


async def test_what_jsonb_does_not_take_fails_no_turn(
    store: PostgresSessionStore, url: str, context: SwisperContext
) -> None:
    context.pipeline_executions.append(PipelineExecution("nul", result="a\0b \\u0000 \\\0", metrics={"\0": 1}))
    context.current_state = "x\0y"
    await store.save_session(context)
    assert (await shown(url))["current_state"] == "x\ufffdy"
    ((_, data, metrics),) = await runs(url)
    assert (data["result"], metrics) == ("a\ufffdb \\u0000 \\\ufffd", {"\ufffd": 1})


async def test_an_integer_of_any_size_fails_no_turn(
    store: PostgresSessionStore, url: str, context: SwisperContext
) -> None:
    context.pipeline_executions.append(PipelineExecution("large", result=10**5_000, metrics={"n": 10**5_000}))
    await store.save_session(context)
    await store.append_record("s", "pipeline_executions", PipelineExecution("again", result=10**5_000))
    loaded = await store.load_session("s")
    assert loaded is not None
    assert [run.result == 10**5_000 for run in loaded.pipeline_executions] == [True, True]
    assert len(await execute(url, "SELECT FROM pipeline_executions")) == 2


async def test_who_holds_a_row_of_the_copies_holds_up_no_turn(
    store: PostgresSessionStore, url: str, context: SwisperContext
) -> None:
    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute("SELECT FROM sessions FOR UPDATE")
        context.current_state = "held"
        await store.save_session(context)
        assert await folded(store, context)
    await other.close()
    assert (await shown(url))["current_state"] == "asking"


async def test_when_a_session_ends(store: PostgresSessionStore, url: str, context: SwisperContext) -> None:
    ends = "SELECT expires_at::text FROM sessions"
    assert [tuple(row) for row in await execute(url, ends)] == [(None,)]
    context.current_state = "next"
    await store.save_session(context, ttl=10**9)
    ((first,),) = await execute(url, ends)
    assert first is not None
    await folded(store, context)
    assert [tuple(row) for row in await execute(url, ends)] == [(first,)]
    context.data_retention_policy, context.current_state = "indefinite", "last"
    await store.save_session(context)
    assert [tuple(row) for row in await execute(url, ends)] == [("infinity",)]


async def test_a_table_that_is_locked_or_gone_fails_no_turn(
    store: PostgresSessionStore, url: str, context: SwisperContext, caplog: pytest.LogCaptureFixture
) -> None:
    await execute(url, "ALTER TABLE sessions ADD CONSTRAINT narrow CHECK (context_data::text NOT LIKE '%secret%')")
    context.product_query, context.current_state = "secret", "next"
    context.pipeline_executions.append(PipelineExecution("search"))
    with caplog.at_level(logging.WARNING, "swisper_ctx.store"):
        await store.save_session(context)
    assert [record.getMessage() for record in caplog.records] == [
        "1 changes were committed without their copies in sessions and pipeline_executions"
    ]
    await execute(url, "DROP TABLE pipeline_executions")
    context.pipeline_executions.append(PipelineExecution("search"))
    await store.save_session(context)
    loaded = await store.load_session("s")
    assert loaded is not None
    assert (loaded.version, len(loaded.pipeline_executions)) == (3, 2)


async def test_with_encryption_names_and_numbers_alone(url: str, store: PostgresSessionStore) -> None:
    sealed: SessionStore = EncryptedSessionStore(new_key(), store)
    context = SwisperContext(session_id="s", user_id="u", product_query="canary", current_state="canary")
    context.pipeline_executions.append(PipelineExecution("search", result="canary", metrics={"canary": 1}))
    await sealed.save_session(context)
    await folded(sealed, context)
    assert await shown(url) == {}
    ((name, data, metrics),) = await runs(url)
    assert (name, data["abridged"], metrics) == ("search", True, None)
    for table in (
        "sessions",
        "pipeline_executions",
        "session_etags",
        "context_heads",
        "context_blocks",
        "context_frames",
    ):
        assert all("canary" not in row for (row,) in await execute(url, f"SELECT t::text FROM {table} AS t"))
