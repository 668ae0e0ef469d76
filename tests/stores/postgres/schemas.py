"""Schemas with the tables of the store, for stores that are opened in the middle of a test."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
from tests.servers.fixtures import with_search_path

from swisper_ctx.stores.postgres import PostgresSessionStore


class Schemas:
    """New ones on a server, until `drop`."""

    def __init__(self, dsn: str) -> None:
        self._dsn, self._names = dsn, list[str]()

    def new(self) -> str:
        """The URL of a new one; a thread has an event loop for it, as stores are opened without one."""
        name = f"test_{secrets.token_hex(8)}"
        self._names.append(name)
        url = with_search_path(self._dsn, name)
        in_a_thread(self._create(name, url))
        return url

    async def _create(self, name: str, url: str) -> None:
        await execute(self._dsn, f"CREATE SCHEMA {name}")
        store = PostgresSessionStore(url)
        await store.migrate()
        await store.aclose()

    def run(self, url: str, *statements: str) -> None:
        """These statements, one after the other."""
        for statement in statements:
            in_a_thread(execute(url, statement))

    def drop(self) -> None:
        """All of them."""
        for name in self._names:
            in_a_thread(execute(self._dsn, f"DROP SCHEMA {name} CASCADE"))


def in_a_thread(work: Coroutine[Any, Any, object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


async def execute(dsn: str, statement: str, *values: object) -> list[Any]:
    """The rows of one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        rows: list[Any] = await connection.fetch(statement, *values)
    finally:
        await connection.close()
    return rows
