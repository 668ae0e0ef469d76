"""Servers as fixtures: those of a run, with a place of its own for each test, and those that a test may break."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis
from tests.servers.pgbouncer import PgBouncer, find_pgbouncer
from tests.servers.postgres import PostgresServer
from tests.servers.program import NoServerError, Program, find_postgres, find_redis
from tests.servers.redis import RedisServer
from tests.servers.redis_cluster import RedisCluster


class MakePostgres(Protocol):
    """Starts a PostgreSQL of the test's own; settings are those of postgresql.conf."""

    def __call__(self, **settings: str | int) -> PostgresServer: ...


class MakePgBouncer(Protocol):
    """Starts a PgBouncer before a PostgreSQL of the test's own; settings are those of pgbouncer.ini."""

    def __call__(self, **settings: str | int) -> PgBouncer: ...


class MakeRedisCluster(Protocol):
    """Starts a Redis Cluster of the test's own; settings are those of redis.conf with underscores."""

    def __call__(self, **settings: str | int) -> RedisCluster: ...


class MakeRedis(Protocol):
    """Starts a Redis of the test's own; settings are those of redis.conf with underscores."""

    def __call__(self, **settings: str | int) -> RedisServer: ...


@pytest.fixture(scope="session")
def postgres_program() -> Program:
    """The PostgreSQL that tests start: that of the major version in SWISPER_TEST_POSTGRES, else the first found."""
    given = os.environ.get("SWISPER_TEST_POSTGRES", "")
    try:
        return find_postgres("" if "://" in given else given)
    except NoServerError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def redis_program() -> Program:
    """The Redis that tests start: what SWISPER_TEST_REDIS names (`7`, `8`, `valkey`), else the first found."""
    given = os.environ.get("SWISPER_TEST_REDIS", "")
    try:
        return find_redis("" if "://" in given else given)
    except NoServerError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """The server of this run: that of SWISPER_TEST_POSTGRES, else one that is started. Tests take `postgres_url`."""
    given = os.environ.get("SWISPER_TEST_POSTGRES", "")
    if "://" in given:
        yield given
        return
    with PostgresServer(request.getfixturevalue("postgres_program")) as server:
        yield server.dsn


@pytest.fixture
async def postgres_url(postgres_dsn: str) -> AsyncIterator[str]:
    """The DSN of an empty schema, which is dropped after the test."""
    schema = f"test_{secrets.token_hex(8)}"
    await _execute(postgres_dsn, f"CREATE SCHEMA {schema}")
    yield with_search_path(postgres_dsn, schema)
    await _execute(postgres_dsn, f"DROP SCHEMA {schema} CASCADE")


def with_search_path(dsn: str, schema: str) -> str:
    """The DSN with a schema: as an option of libpq, which asyncpg passes on too."""
    parts = urlsplit(dsn)
    option = f"options=-csearch_path%3D{schema}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{option}" if parts.query else option))


async def _execute(dsn: str, statement: str) -> None:
    # A connection that the test has left in a transaction is an error, not a wait without end.
    connection = await asyncpg.connect(dsn, server_settings={"lock_timeout": "10s"})
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def redis_server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The server of this run: that of SWISPER_TEST_REDIS, else one that is started. Tests take `redis_url`."""
    given = os.environ.get("SWISPER_TEST_REDIS", "")
    if "://" in given:
        yield given
        return
    with RedisServer(request.getfixturevalue("redis_program")) as server:
        yield server.url


@pytest.fixture
def redis_url(redis_server_url: str) -> Iterator[str]:
    """The URL of an empty logical database, which is emptied after the test."""
    with contextlib.closing(redis.Redis.from_url(redis_server_url)) as claims:
        number = _claim(claims)
        url = urlunsplit(urlsplit(redis_server_url)._replace(path=f"/{number}"))
        with contextlib.closing(redis.Redis.from_url(url)) as own:
            own.flushdb()
            yield url
            own.flushdb()
        claims.delete(_claim_key(number))


def _claim(claims: redis.Redis) -> int:
    """A database that no other test has, of this or of another run on the same server."""
    number = 1
    while not claims.set(_claim_key(number), os.getpid(), nx=True, ex=3_600):
        number += 1
    return number


def _claim_key(number: int) -> str:
    return f"swisper_ctx:tests:database:{number}"


@pytest.fixture
def private_postgres(postgres_program: Program) -> Iterator[MakePostgres]:
    """Starts servers that the test may stop, kill and restart."""
    with contextlib.ExitStack() as servers:

        def make(**settings: str | int) -> PostgresServer:
            return servers.enter_context(PostgresServer(postgres_program, **settings))

        yield make


@pytest.fixture
def private_redis(redis_program: Program) -> Iterator[MakeRedis]:
    """Starts servers that the test may fill, stop, kill and restart."""
    with contextlib.ExitStack() as servers:

        def make(**settings: str | int) -> RedisServer:
            return servers.enter_context(RedisServer(redis_program, **settings))

        yield make


@pytest.fixture
def private_redis_cluster(redis_program: Program) -> Iterator[MakeRedisCluster]:
    """Starts clusters of three nodes that the test may stop, kill and restart. For tests marked `full`."""
    with contextlib.ExitStack() as clusters:

        def make(**settings: str | int) -> RedisCluster:
            return clusters.enter_context(RedisCluster(redis_program, **settings))

        yield make


@pytest.fixture
def private_pgbouncer(private_postgres: MakePostgres) -> Iterator[MakePgBouncer]:
    """Starts PgBouncer in transaction mode. For tests marked `full`."""
    with contextlib.ExitStack() as servers:

        def make(**settings: str | int) -> PgBouncer:
            return servers.enter_context(PgBouncer(find_pgbouncer(), private_postgres(), **settings))

        yield make
