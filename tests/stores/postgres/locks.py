"""Other transactions, which hold rows while a test goes on; and what must hold of the tables whatever happened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from tests.stores.postgres.schemas import execute

LOCK = "SELECT FROM session_etags WHERE session_id = $1 FOR UPDATE"
CHILDREN = ("context_heads", "context_blocks", "context_frames", "pipeline_executions", "sessions")
ORPHANS = " UNION ALL ".join(
    f"SELECT '{table}', count(*) FROM {table} WHERE session_id NOT IN (SELECT session_id FROM session_etags)"
    for table in CHILDREN
)
# A log goes on from its newest head to its etag: one frame for each version, and the last one is the etag's.
BROKEN = """
    SELECT session_id FROM session_etags AS log WHERE
        (SELECT count(*) FROM context_heads AS head WHERE head.session_id = log.session_id AND is_newest) <> 1
        OR (SELECT count(*) FROM context_frames AS frame WHERE frame.session_id = log.session_id AND version > (
            SELECT max(base) FROM context_heads AS head WHERE head.session_id = log.session_id
        )) <> version - (SELECT max(base) FROM context_heads AS head WHERE head.session_id = log.session_id)
        OR token IS DISTINCT FROM (
            SELECT token FROM context_frames AS frame
            WHERE frame.session_id = log.session_id AND frame.version = log.version
        )
"""


@asynccontextmanager
async def transaction(url: str, statement: str = "", *values: object) -> AsyncIterator[Any]:
    """A connection in a transaction that has done this, and is rolled back in the end."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        if statement:
            await connection.fetch(statement, *values)
        yield connection
        await connection.execute("ROLLBACK")
    finally:
        connection.terminate()


async def assert_whole(url: str) -> None:
    """No row of any table without its session, and no log with a gap."""
    assert [tuple(row) for row in await execute(url, ORPHANS) if row[1]] == []
    assert [row[0] for row in await execute(url, BROKEN)] == []
