"""The contract on a server, and what only a server can show."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing import ManualClock, StoreContract

TABLES = ("context_heads", "context_blocks", "context_frames")


def in_thread(coroutine):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def new_schema(dsn: str) -> str:
    name = f"test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE SCHEMA {name}")
    await connection.close()
    url = f"{dsn}{'&' if '?' in dsn else '?'}search_path={name}"
    store = PostgresSessionStore(url)
    await store.migrate()
    await store.aclose()
    return url


DSN = "postgresql://postgres@127.0.0.1:5432/test"


class TestPostgresSessionStore(StoreContract):
    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> PostgresSessionStore:
        self.dsn = in_thread(new_schema(DSN))
        return PostgresSessionStore(self.dsn, keep_versions=keep_versions, clock=clock)

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        other = await asyncpg.connect(self.dsn)
        rows = [row for table in TABLES for row in await other.fetch(f"SELECT body FROM {table}")]
        await other.close()
        return [body for (body,) in rows]

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        other = await asyncpg.connect(self.dsn)
        for table in TABLES:
            await other.execute(f"UPDATE {table} SET body = $1 WHERE body = $2", new, old)
        await other.close()

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        other = await asyncpg.connect(self.dsn)
        for table in TABLES:
            await other.execute(f"DELETE FROM {table} WHERE body = $1", old)
        await other.close()
