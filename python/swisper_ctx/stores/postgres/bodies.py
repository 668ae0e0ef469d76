"""The bodies that are kept of a session, and putting others in their place."""

from __future__ import annotations

from collections.abc import Sequence

from swisper_ctx.log import StoredBody
from swisper_ctx.stores.postgres.connection import Connection
from swisper_ctx.stores.postgres.removal import lock_heads

BODIES = """
    SELECT 'head', stamp, NULL::bigint, body FROM context_heads WHERE session_id = $1
    UNION ALL SELECT 'block', block_id, NULL, body FROM context_blocks WHERE session_id = $1
    UNION ALL SELECT 'frame', NULL, version, body FROM context_frames WHERE session_id = $1 AND body IS NOT NULL
"""
REPLACE = {
    "head": "UPDATE context_heads SET body = $4 WHERE session_id = $1 AND stamp = $2 AND body = $3 RETURNING 1",
    "block": "UPDATE context_blocks SET body = $4 WHERE session_id = $1 AND block_id = $2 AND body = $3 RETURNING 1",
    "frame": """UPDATE context_frames SET body = $4
        WHERE session_id = $1 AND version = $2::bigint AND body = $3 RETURNING 1""",
}
# Turns go on meanwhile; a delete and a checkpoint wait, or they and this could wait for one another.
LOCK = "SELECT 1 FROM session_etags WHERE session_id = $1 FOR KEY SHARE"
OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
"""


async def read_bodies(connection: Connection, session_id: str) -> tuple[StoredBody, ...]:
    """Of every head, block and frame."""
    rows = await connection.fetch(BODIES, session_id)
    return tuple(StoredBody(kind, id_ if version is None else version, body) for kind, id_, version, body in rows)


async def replace_bodies(connection: Connection, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
    """Those that are still what they were, in one transaction; how many they are."""
    replaced = 0
    async with connection.transaction(isolation="read_committed"):
        if await connection.fetchval(LOCK, session_id) is None:
            return 0
        await lock_heads(connection, [session_id])
        for (kind, key, old), new in bodies:
            replaced += await connection.fetchval(REPLACE[kind], session_id, key, old, new) or 0
    return replaced


async def are_others_at_work(connection: Connection) -> bool:
    """Whether another session of the server does something in this database right now."""
    return bool(await connection.fetchval(OTHERS))
