"""Deleting sessions: the session's row is locked before any other, then its heads; children go before the parent.

What waits for a row looks at what has become of it: here and wherever rows are locked, every statement sees all that
was committed before it, whatever isolation the server or the role is set to.

A turn that holds the row is waited for, and one that comes later finds no row: no frame is left behind by either. A
checkpoint that holds the head is waited for as well, and its blocks go too.
"""

from __future__ import annotations

from collections.abc import Collection

from swisper_ctx.stores.postgres.connection import MICROS, Connection
from swisper_ctx.stores.recovery import quarantine_ids

LOCK = "SELECT session_id FROM session_etags WHERE session_id = ANY($1::text[]) ORDER BY session_id FOR UPDATE"
# Beside turns and other processes that do the same: what they hold is not about to be deleted here.
# Not by the index of what has expired: there may be much more in it than is asked for.
LOCK_EXPIRED = f"""
    SELECT session_id FROM session_etags
    WHERE session_id = ANY($1::text[]) AND expires_at + 0 <= coalesce($2::bigint, {MICROS})
    ORDER BY session_id FOR UPDATE SKIP LOCKED
"""
IN_QUARANTINE = "SELECT session_id FROM session_etags WHERE session_id = ANY($1::text[])"
# It may be in the list of another process, which would wait for what is locked here.
LOCK_IN_QUARANTINE = f"{LOCK} SKIP LOCKED"
# The rows of a table are asked for session by session, with the OFFSET: of many sessions a table that was never
# analysed seems to have nothing else, and would be walked.
LOCK_HEADS = """
    SELECT head.session_id, head.base, head.is_newest FROM unnest($1::text[]) AS wanted(session_id) CROSS JOIN LATERAL (
        SELECT session_id, base, is_newest FROM context_heads AS head
        WHERE head.session_id = wanted.session_id ORDER BY base FOR UPDATE OFFSET 0
    ) AS head
"""
CHILDREN = ("context_blocks", "context_frames", "context_heads", "pipeline_executions", "sessions")
DELETE_CHILDREN = ", ".join(
    f"""{table}_gone AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT child.ctid FROM unnest($1::text[]) AS gone(session_id) CROSS JOIN LATERAL (
            SELECT ctid FROM {table} AS child WHERE child.session_id = gone.session_id OFFSET 0
        ) AS child
    )))"""
    for table in CHILDREN
)
DELETE = f"WITH {DELETE_CHILDREN} DELETE FROM session_etags WHERE session_id = ANY($1::text[])"


async def delete_sessions(
    connection: Connection, session_ids: Collection[str], *, expired: bool, now: int | None
) -> int:
    """Those that exist (and have expired), with everything they have, in one transaction; how many they were."""
    async with connection.transaction(isolation="read_committed"):
        ids = sorted(set(session_ids))
        found = await (_locked_expired(connection, ids, now) if expired else _locked(connection, ids))
        if found:
            await lock_heads(connection, found)
            await connection.execute(DELETE, found)
    return len(found)


async def _locked_expired(connection: Connection, ids: Collection[str], now: int | None) -> list[str]:
    """With what is in quarantine of each; a session of which some of that is held stays, with all of it."""
    found = await _ids(connection, LOCK_EXPIRED, ids, now)
    owners = {set_aside: session_id for session_id in found for set_aside in quarantine_ids(session_id)}
    set_aside = (await _ids(connection, IN_QUARANTINE, list(owners))).difference(found)
    if not set_aside:
        return sorted(found)
    held = set_aside.difference(await _ids(connection, LOCK_IN_QUARANTINE, sorted(set_aside)))
    kept = {owners[each] for each in held}
    return sorted(each for each in found | set_aside if owners.get(each, each) not in kept)


async def _ids(connection: Connection, statement: str, *values: object) -> set[str]:
    return {session_id for (session_id,) in await connection.fetch(statement, *values)}


async def _locked(connection: Connection, ids: Collection[str]) -> list[str]:
    found, before = list[str](), None
    # A recovery that was waited for has renamed the row and left a new one of the old name.
    while (rows := await connection.fetch(LOCK, ids)) != before:
        found, before = [session_id for (session_id,) in rows], rows
    return found


async def lock_heads(connection: Connection, session_ids: Collection[str]) -> None:
    """Those of sessions that are locked: until the end of the transaction no checkpoint moves them."""
    before = None
    # One that was waited for has left a newer one, which the next may be about to move, until the newest is locked.
    while (heads := await connection.fetch(LOCK_HEADS, session_ids)) != before:
        if {session_id for session_id, _, is_newest in heads if is_newest}.issuperset(session_ids):
            break
        before = heads
