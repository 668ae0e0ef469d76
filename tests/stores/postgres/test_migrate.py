"""From an empty database, from tables of other versions, and from tables that were there before this library."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from tests.stores.postgres.schemas import execute

from swisper_ctx import Message, SwisperContext, serialize_context
from swisper_ctx.errors import StoreError
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.stores.postgres.schema import VERSION

pytestmark = pytest.mark.servers

BEFORE = (
    """CREATE TABLE sessions (session_id VARCHAR(255) PRIMARY KEY, user_id VARCHAR(255) NOT NULL,
        context_data JSONB NOT NULL, created_at TIMESTAMP DEFAULT NOW(), updated_at TIMESTAMP DEFAULT NOW(),
        expires_at TIMESTAMP)""",
    """CREATE TABLE pipeline_executions (execution_id UUID PRIMARY KEY,
        session_id VARCHAR(255) REFERENCES sessions(session_id), pipeline_name VARCHAR(100), execution_data JSONB,
        performance_metrics JSONB, created_at TIMESTAMP DEFAULT NOW())""",
)
ADD = """INSERT INTO sessions (session_id, user_id, context_data, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5)"""
RUN = "0a3f6c5e-6d1b-4b0e-9a53-1f2f6a2c7d10"
BEGUN = datetime(2025, 3, 1, 12, 30, 0, 123456)  # noqa: DTZ001 - as the column has it


async def migrated(url: str) -> Any:
    store = PostgresSessionStore(url)
    try:
        return await store.migrate()
    finally:
        await store.aclose()


async def test_many_at_once_migrate_once_and_then_there_is_nothing_to_do(postgres_url: str) -> None:
    done = await asyncio.gather(*(migrated(postgres_url) for _ in range(8)))
    assert sorted(each.steps for each in done) == [0] * 7 + [VERSION]
    assert await migrated(postgres_url) == (0, 0, ())


async def test_a_database_without_tables_says_what_to_run(postgres_url: str) -> None:
    store = PostgresSessionStore(postgres_url)
    with pytest.raises(StoreError, match="swisper-ctx migrate"):
        await store.read("s")
    await store.migrate()
    assert await store.read("s") is None
    await store.aclose()


@pytest.mark.parametrize(("version", "advice"), [(VERSION + 1, "upgrade it"), (0, "swisper-ctx migrate")])
async def test_tables_of_another_version_are_refused(url: str, version: int, advice: str) -> None:
    await execute(url, "UPDATE swisper_schema SET version = $1", version)
    store = PostgresSessionStore(url)
    with pytest.raises(StoreError, match=advice):
        await store.read("s")
    if version > VERSION:
        with pytest.raises(StoreError, match=advice):
            await store.migrate()
    await store.aclose()


async def test_a_step_that_fails_leaves_nothing(postgres_url: str) -> None:
    await execute(postgres_url, "CREATE VIEW session_overview AS SELECT 1 AS x")
    with pytest.raises(StoreError, match="SQLSTATE 42P07"):
        await migrated(postgres_url)
    left = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
    assert [tuple(row) for row in await execute(postgres_url, left)] == [("session_overview",)]


def before() -> SwisperContext:
    context = SwisperContext(session_id="old", user_id="u")
    for number in range(300):
        context.conversation_history.append(Message("user", f"{number} " + "é" * 200))
    context.metadata = {"exact": [2**70, 1.0, 1, True, None], "deep": {"x": {"y": "z"}}}
    context.hard_constraints = ["quiet"]
    return context


async def test_sessions_of_before_are_adopted_as_they_are(postgres_url: str) -> None:
    for statement in BEFORE:
        await execute(postgres_url, statement)
    was = serialize_context(before())
    expires = datetime(2999, 1, 1)  # noqa: DTZ001
    await execute(postgres_url, ADD, "old", "u", json.dumps(was), BEGUN, expires)
    await execute(postgres_url, ADD, "empty", "u", '{"version": "1.0"}', BEGUN, None)
    await execute(postgres_url, ADD, "no context", "u", "[1, 2]", BEGUN, None)
    await execute(postgres_url, ADD, "wrong", "u", '{"conversation_history": [7]}', BEGUN, None)
    await execute(
        postgres_url,
        "INSERT INTO pipeline_executions VALUES ($1::uuid, 'old', 'search', $2, $3)",
        RUN,
        '{"status": "completed", "result": {"n": 3}}',
        '{"ms": 12.5}',
    )
    done = await migrated(postgres_url)
    assert (done.adopted, sorted(done.refused)) == (2, ["no context", "wrong"])
    assert (await migrated(postgres_url)).adopted == 0

    store = PostgresSessionStore(postgres_url)
    context = await store.load_session("old", user_id="u")
    assert context is not None
    now = serialize_context(context)
    (run,) = now.pop("pipeline_executions")
    assert (run["execution_id"], run["pipeline_name"], run["result"]) == (RUN, "search", {"n": 3})
    assert run["metrics"] == {"ms": 12.5}
    for name in ("created_at", "updated_at", "version", "pipeline_executions"):
        was.pop(name), now.pop(name, None)
    assert now == was
    assert context.created_at == BEGUN.replace(tzinfo=UTC)
    page = await store.sessions()
    ends = {session.session_id: session.expires_at for session in page.sessions}
    assert ends["empty"] is None
    assert ends["old"] == int(expires.replace(tzinfo=UTC).timestamp() * 1_000_000)
    context.product_query = "goes on"
    await store.save_session(context)
    assert await store.delete_session("old")
    assert [tuple(row) for row in await execute(postgres_url, "SELECT session_id FROM sessions ORDER BY 1")] == [
        ("empty",),
        ("no context",),
        ("wrong",),
    ]
    await store.aclose()


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMPTZ"])
async def test_times_that_python_does_not_have_stop_nobody(postgres_url: str, kind: str) -> None:
    await execute(postgres_url, BEFORE[0].replace("TIMESTAMP", kind))
    rows = {
        "last": ("2025-03-01 12:30:00.123456", "9999-12-31 23:59:59"),
        "later": ("infinity", "10000-01-01"),
        "latest": ("294276-12-31 23:59:59", "294276-12-31 23:59:59"),
        "for ever": ("-infinity", "infinity"),
        "long gone": ("4713-01-01 BC", "4713-01-01 BC"),
        "never there": ("1960-01-01", "-infinity"),
    }
    for session_id, (created, expires) in rows.items():
        add = f"INSERT INTO sessions VALUES ($1, 'u', '{{}}', '{created}', now(), '{expires}')"
        await execute(postgres_url, add, session_id)
    assert await migrated(postgres_url) == (VERSION, 6, ())
    store = PostgresSessionStore(postgres_url)
    ends = {line.session_id: line.expires_at for line in (await store.sessions()).sessions}
    assert ends == dict.fromkeys(["last", "later", "latest", "for ever"]) | {"long gone": 0, "never there": 0}
    contexts = [await store.load_session(session_id) for session_id in ends if ends[session_id] is None]
    begun = [context.created_at for context in contexts if context]
    assert len(begun) == 4
    assert BEGUN.replace(tzinfo=UTC) in begun
    assert await store.cleanup_expired_sessions() == 2
    await store.aclose()


async def test_an_adoption_that_is_interrupted_goes_on(postgres_url: str) -> None:
    for statement in BEFORE:
        await execute(postgres_url, statement)
    document = json.dumps(serialize_context(SwisperContext(session_id="x", user_id="u", product_query="q")))
    connection = await asyncpg.connect(postgres_url)
    await connection.executemany(ADD, [(f"s{n:04}", "u", document, BEGUN, None) for n in range(1_000)])
    running = asyncio.ensure_future(migrated(postgres_url))
    while not await connection.fetchval("SELECT to_regclass('session_etags') IS NOT NULL"):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    while not await connection.fetchval("SELECT count(*) FROM session_etags"):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    first = await connection.fetchval("SELECT count(*) FROM session_etags")
    assert first % 100 == 0
    assert (await migrated(postgres_url)).adopted == 1_000 - first
    assert await connection.fetchval("SELECT count(*) FROM context_heads") == 1_000
    await connection.close()


async def test_two_that_adopt_at_once_refuse_nothing(postgres_url: str) -> None:
    for statement in BEFORE:
        await execute(postgres_url, statement)
    document = json.dumps(serialize_context(SwisperContext(session_id="x", user_id="u", product_query="q")))
    connection = await asyncpg.connect(postgres_url)
    await connection.executemany(ADD, [(f"s{n:04}", "u", document, BEGUN, None) for n in range(500)])
    await connection.close()
    done = await asyncio.gather(*(migrated(postgres_url) for _ in range(4)))
    assert (sum(each.adopted for each in done), [each.refused for each in done]) == (500, [()] * 4)


async def test_odd_rows_stop_nobody(postgres_url: str) -> None:
    for statement in BEFORE:
        await execute(postgres_url, statement.replace("JSONB", "TEXT").replace("VARCHAR(255)", "TEXT"))
    deep = '{"metadata": ' + "[" * 5_000 + "]" * 5_000 + "}"
    rows = {"deep": ("u", deep), "no json": ("u", "{"), "long": ("u" * 3_000, "{}"), "good": ("u", "{}")}
    for session_id, (user_id, text) in rows.items():
        await execute(postgres_url, ADD, session_id, user_id, text, BEGUN, None)
    run = "INSERT INTO pipeline_executions VALUES ($1::uuid, 'no run', 'p', 'no json', NULL)"
    await execute(postgres_url, ADD, "no run", "u", "{}", BEGUN, None)
    await execute(postgres_url, run, RUN)
    await execute(postgres_url, ADD, "good~quarantine-1", "v", "{}", BEGUN, None)
    done = await migrated(postgres_url)
    assert done.adopted == 1
    assert sorted(done.refused) == ["deep", "good~quarantine-1", "long", "no json", "no run"]


async def test_ids_that_are_not_unique_are_refused(postgres_url: str) -> None:
    await execute(postgres_url, "CREATE TABLE sessions (session_id text)")
    with pytest.raises(StoreError, match="not unique"):
        await migrated(postgres_url)
    await execute(postgres_url, "CREATE UNIQUE INDEX own ON sessions (session_id)")
    assert (await migrated(postgres_url)).steps == VERSION


async def test_a_column_of_another_type_is_named(postgres_url: str) -> None:
    await execute(postgres_url, "CREATE TABLE sessions (session_id uuid PRIMARY KEY)")
    with pytest.raises(StoreError, match=r"sessions\.session_id has type uuid"):
        await migrated(postgres_url)
