"""What is kept of a damaged session, and writing the session anew while that is set aside."""

from __future__ import annotations

from swisper_ctx.log import Block, Etag, Frame, Head, KeptBlock, Remains, Restoration
from swisper_ctx.stores.postgres.connection import MICROS, Connection
from swisper_ctx.stores.postgres.read import ALIVE
from swisper_ctx.stores.postgres.removal import lock_heads

SESSION = f"SELECT user_id, version, token, epoch, created_at FROM session_etags WHERE session_id = $1 AND {ALIVE}"
HEADS = "SELECT base, stamp, body FROM context_heads WHERE session_id = $1 ORDER BY base"
KEPT = """
    SELECT block_id, field, position, records, body, used_from, dropped_at FROM context_blocks
    WHERE session_id = $1 ORDER BY field, position, used_from
"""
FRAMES = """
    SELECT version, token, change_id, time, body FROM context_frames WHERE session_id = $1 ORDER BY version
"""
LOCK = f"""
    SELECT coalesce($4::bigint, {MICROS}) FROM session_etags
    WHERE session_id = $1 AND version = $2 AND token = $3
    AND (expires_at IS NULL OR expires_at > coalesce($4::bigint, {MICROS})) FOR UPDATE
"""
IS_TAKEN = "SELECT EXISTS (SELECT FROM session_etags WHERE session_id = $1)"
SET_ASIDE = [
    f"UPDATE {table} SET session_id = $2 WHERE session_id = $1"
    for table in ("session_etags", "context_heads", "context_blocks", "context_frames")
]
RESTORE = """
    INSERT INTO session_etags (session_id, user_id, created_at, epoch, version, messages, updated_at, expires_at, token)
    SELECT $1, user_id, created_at, $3, $4, $6, $7, expires_at, $5 FROM session_etags WHERE session_id = $2
"""
ADD_HEAD = """
    INSERT INTO context_heads (session_id, base, stamp, is_newest, written_at, body) VALUES ($1, $2, $3, TRUE, $4, $5)
"""
ADD_BLOCK = """
    INSERT INTO context_blocks (session_id, block_id, field, position, records, used_from, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
ADD_FRAME = """
    INSERT INTO context_frames (session_id, version, token, change_id, time) VALUES ($1, $2, $3, $4, $5)
"""


async def read_remains(connection: Connection, session_id: str, now: int | None) -> Remains | None:
    """All that is kept of a session, sound or not."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        row = await connection.fetchrow(SESSION, session_id, now)
        if row is None:
            return None
        user_id, version, token, epoch, created = row
        heads = tuple(Head(*head) for head in await connection.fetch(HEADS, session_id))
        blocks = tuple(KeptBlock(Block(*kept[:5]), *kept[5:]) for kept in await connection.fetch(KEPT, session_id))
        frames = tuple(Frame(*frame) for frame in await connection.fetch(FRAMES, session_id))
    return Remains(session_id, user_id, Etag(version, token), epoch, created, heads, blocks, frames, ())


async def restore_session(connection: Connection, restoration: Restoration, now: int | None) -> bool:
    """False if the session has moved on, or something is kept under the other id already."""
    session_id, quarantine_id, expected, etag, epoch, messages, head, blocks, frames = restoration
    async with connection.transaction(isolation="read_committed"):
        time = await connection.fetchval(LOCK, session_id, *expected, now)
        if time is None or await connection.fetchval(IS_TAKEN, quarantine_id):
            return False
        await lock_heads(connection, [session_id])
        for statement in SET_ASIDE:
            await connection.execute(statement, session_id, quarantine_id)
        await connection.execute(RESTORE, session_id, quarantine_id, epoch, *etag, messages, time)
        await connection.execute(ADD_HEAD, session_id, head.base, head.stamp, time, head.body)
        await connection.executemany(ADD_BLOCK, [(session_id, *block[:4], head.base, block.body) for block in blocks])
        rows = [(session_id, *frame[:4]) for frame in (*frames, Frame(*etag, None, time, None))]
        await connection.executemany(ADD_FRAME, rows)
    return True
