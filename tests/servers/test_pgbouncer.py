from __future__ import annotations

import asyncpg
import pytest
from tests.servers.fixtures import MakePgBouncer

pytestmark = [pytest.mark.servers, pytest.mark.full]


async def test_a_transaction_has_the_connection_for_itself_and_no_longer(private_pgbouncer: MakePgBouncer) -> None:
    bouncer = private_pgbouncer(default_pool_size=1)
    first = await asyncpg.connect(bouncer.dsn, statement_cache_size=0)
    second = await asyncpg.connect(bouncer.dsn, statement_cache_size=0)
    process = await first.fetchval("SELECT pg_backend_pid()")
    assert await second.fetchval("SELECT pg_backend_pid()") == process
    async with first.transaction():
        await first.execute("CREATE TABLE things AS SELECT 7 AS id")
        with pytest.raises(TimeoutError):
            await second.fetchval("SELECT 1", timeout=0.2)
    third = await asyncpg.connect(bouncer.dsn, statement_cache_size=0)
    assert await third.fetchval("SELECT id FROM things") == 7
    await first.close()
    await third.close()
    second.terminate()
