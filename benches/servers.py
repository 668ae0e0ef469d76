"""A PostgreSQL and a Redis for the benches: those that tests would use, with tables of their own."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import asyncpg
from tests.servers.fixtures import with_search_path
from tests.servers.postgres import PostgresServer
from tests.servers.program import find_postgres, find_redis
from tests.servers.redis import RedisServer

from swisper_ctx.stores.postgres import PostgresSessionStore

SEGMENTS = 96
"""Of WAL, 16 MiB each: more than any subject fills."""


class Servers(NamedTuple):
    """Where they are. The tables of a store are in the DSN's schema."""

    dsn: str
    redis: str


@contextmanager
def servers() -> Iterator[Servers]:
    """Started for this, unless SWISPER_TEST_POSTGRES and SWISPER_TEST_REDIS are URLs."""
    with ExitStack() as stack:
        postgres, redis = (os.environ.get(f"SWISPER_TEST_{name}", "") for name in ("POSTGRES", "REDIS"))
        if "://" not in postgres:
            postgres = stack.enter_context(
                PostgresServer(find_postgres(postgres), min_wal_size="2GB", max_wal_size="8GB")
            ).dsn
            asyncio.run(age(postgres))
        if "://" not in redis:
            redis = stack.enter_context(RedisServer(find_redis(redis))).url
        schema = f"bench_{secrets.token_hex(4)}"
        # Both sides without TLS, as on one machine.
        dsn = with_search_path(f"{postgres}{'&' if '?' in postgres else '?'}sslmode=disable", schema)
        asyncio.run(prepare(postgres, schema, dsn))
        try:
            yield Servers(dsn, redis)
        finally:
            asyncio.run(execute(postgres, f"DROP SCHEMA {schema} CASCADE"))


def schema_of(dsn: str) -> str:
    """The schema that a DSN of `servers` names."""
    return dsn.rpartition("search_path%3D")[2]


async def prepare(server: str, schema: str, dsn: str) -> None:
    await execute(server, f"CREATE SCHEMA {schema}")
    store = PostgresSessionStore(dsn)
    await store.migrate()
    await store.aclose()


async def age(server: str) -> None:
    """Have segments of WAL to use again, as a server has them after its first checkpoints.

    Those of a new one are made and filled with zeros while turns wait, for 20 ms each 16 MiB.
    """
    for _ in range(SEGMENTS):
        await execute(server, "SELECT pg_logical_emit_message(FALSE, '', ''), pg_switch_wal()")
    await execute(server, "CHECKPOINT")


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()
