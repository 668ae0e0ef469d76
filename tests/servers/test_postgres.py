from __future__ import annotations

import asyncpg
import pytest
from tests.servers.fixtures import MakePostgres


async def fetch(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.mark.servers
async def test_a_test_has_a_schema_of_its_own(postgres_url: str, postgres_dsn: str) -> None:
    await fetch(postgres_url, "CREATE TABLE things (id int)")
    schema = await fetch(postgres_url, "SELECT current_schema()")
    assert await fetch(postgres_dsn, f"SELECT to_regclass('{schema}.things') IS NOT NULL")
    assert await fetch(postgres_dsn, "SELECT to_regclass('things')") is None


@pytest.mark.servers
async def test_the_server_has_the_durability_of_its_defaults(postgres_dsn: str) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await fetch(postgres_dsn, f"SHOW {setting}") == "on"


@pytest.mark.servers
async def test_what_was_committed_is_there_after_a_kill_and_on_the_same_port(private_postgres: MakePostgres) -> None:
    server = private_postgres(max_connections=12)
    assert await fetch(server.dsn, "SHOW max_connections") == "12"
    connection = await asyncpg.connect(server.dsn)
    await connection.execute("CREATE TABLE things AS SELECT 7 AS id")
    server.kill()
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(server.dsn)
    server.start()
    assert await fetch(server.dsn, "SELECT id FROM things") == 7
    server.restart()
    assert await fetch(server.dsn, "SELECT id FROM things") == 7
