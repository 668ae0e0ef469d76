"""Moving the head of a log, and purging what the grace period no longer protects: one statement.

The head that a checkpoint replaces is updated first, if it is still the newest. Two of them wait for one another at
this row, and the second then finds it is not; a delete and a checkpoint meet there too. So all that the statement saw
of this session's heads and blocks when it began still holds once it has the row.
"""

from __future__ import annotations

from contextlib import nullcontext

from swisper_ctx.errors import StoreError
from swisper_ctx.log import GRACE_TIME, GRACE_VERSIONS, RETRY_WINDOW, Checkpoint
from swisper_ctx.stores.postgres.connection import MICROS, Connection
from swisper_ctx.stores.postgres.copies import copy_text, tell_failed

CURRENT = f"""
    clock AS (SELECT coalesce($6::bigint, {MICROS}) AS now),
    current AS (
        SELECT head.base, log.version FROM context_heads AS head JOIN session_etags AS log USING (session_id)
        WHERE head.session_id = $1 AND head.stamp = $2 AND head.is_newest
        AND (log.expires_at IS NULL OR log.expires_at > (SELECT now FROM clock))
    ),
    -- A head of the same base gives way to the new one. Nothing is done if it does not lie between the last one and
    -- now, or drops a block that is not in use.
    replaced AS (
        UPDATE context_heads AS head SET
            is_newest = (head.base = $3),
            stamp = CASE WHEN head.base = $3 THEN $4 ELSE head.stamp END,
            body = CASE WHEN head.base = $3 THEN $5 ELSE head.body END,
            written_at = CASE WHEN head.base = $3 THEN (SELECT now FROM clock) ELSE head.written_at END
        FROM current
        WHERE head.session_id = $1 AND head.base = current.base AND head.stamp = $2 AND head.is_newest
        AND $3 BETWEEN current.base AND current.version
        AND cardinality($7::bytea[]) = (
            SELECT count(*) FROM context_blocks
            WHERE session_id = $1 AND block_id = ANY($7::bytea[]) AND dropped_at IS NULL
        )
        RETURNING current.base AS last, current.version
    ),
    headed AS (
        INSERT INTO context_heads (session_id, base, stamp, is_newest, written_at, body)
        SELECT $1, $3, $4, TRUE, now, $5 FROM replaced, clock WHERE last < $3
    ),
    dropped AS (
        UPDATE context_blocks SET dropped_at = $3 FROM replaced
        WHERE session_id = $1 AND block_id = ANY($7::bytea[]) AND used_from < $3 RETURNING 1
    ),
    -- What only the head of the same base used.
    unused AS (
        DELETE FROM context_blocks USING replaced
        WHERE session_id = $1 AND block_id = ANY($7::bytea[]) AND used_from >= $3 RETURNING 1
    ),
    -- After these, or two blocks would stand in one place for a moment.
    added AS (
        INSERT INTO context_blocks (session_id, block_id, field, position, records, used_from, body)
        SELECT $1, block_id, field, position, records, $3, body FROM replaced,
            unnest($8::bytea[], $9::text[], $10::bigint[], $11::bigint[], $12::bytea[])
                AS added(block_id, field, position, records, body)
        WHERE (SELECT count(*) FROM dropped) + (SELECT count(*) FROM unused) >= 0
    )
"""
PURGE = f"""
    -- The newest head that is past the grace period becomes the oldest one kept.
    bound AS (
        SELECT max(head.base) AS base FROM context_heads AS head, replaced, clock
        WHERE session_id = $1 AND head.base <= replaced.version - {GRACE_VERSIONS}
        AND written_at <= now - {GRACE_TIME} AND head.base < $3
    ),
    oldest AS (SELECT min(base) AS base FROM context_heads WHERE session_id = $1),
    -- Patches up to its base go at once, their frames stay for the retry window.
    remembered AS (
        SELECT coalesce((
            SELECT version FROM context_frames
            WHERE session_id = $1 AND version < (SELECT base FROM bound)
            AND time > (SELECT now FROM clock) - {RETRY_WINDOW}
            ORDER BY version LIMIT 1
        ), (SELECT base FROM bound)) AS version
    ),
    purged_heads AS (DELETE FROM context_heads USING bound WHERE session_id = $1 AND context_heads.base < bound.base),
    purged_blocks AS (DELETE FROM context_blocks USING bound WHERE session_id = $1 AND dropped_at <= bound.base),
    forgotten AS (
        DELETE FROM context_frames USING remembered
        WHERE session_id = $1 AND context_frames.version < remembered.version
    ),
    purged_patches AS (
        -- With both bounds it is a range of the index: the stubs of a day are not walked again.
        UPDATE context_frames SET body = NULL
        WHERE session_id = $1 AND version > (SELECT base FROM oldest) AND version >= (SELECT version FROM remembered)
        AND version <= (SELECT base FROM bound)
    )
"""
MOVED = "SELECT version, swisper_copy(nullif(ARRAY[$13::text], ARRAY[NULL::text])) FROM replaced"
MOVE_HEAD = f"WITH {CURRENT} {MOVED}"
MOVE_HEAD_AND_PURGE = f"WITH {CURRENT}, {PURGE} {MOVED}"
WHY_NOT = """
    SELECT head.base, log.version FROM context_heads AS head JOIN session_etags AS log USING (session_id)
    WHERE head.session_id = $1 AND head.stamp = $2 AND head.is_newest
    AND (log.expires_at IS NULL OR log.expires_at > coalesce($3::bigint, MICROS))
""".replace("MICROS", MICROS)


async def write_checkpoint(
    connection: Connection, checkpoint: Checkpoint, keep_versions: bool, now: int | None, *, is_read_committed: bool
) -> bool:
    """The new head and its blocks, if the one it was made from is still the newest. Purges the session as well.

    `is_read_committed` says how a statement of this connection is isolated that is a transaction of its own.
    """
    session_id, expected, (base, stamp, body), added, dropped, projection = checkpoint
    copy = copy_text(session_id, projection)
    columns = list(map(list, zip(*added, strict=True))) if added else [[], [], [], [], []]
    statement = MOVE_HEAD if keep_versions else MOVE_HEAD_AND_PURGE
    about = session_id, expected, base, stamp, body, now
    # Isolated more strictly, it would fail after each wait for the head.
    async with nullcontext() if is_read_committed else connection.transaction(isolation="read_committed"):
        moved = await connection.fetchrow(statement, *about, list(dropped), *columns, copy)
        row = None if moved is not None else await connection.fetchrow(WHY_NOT, session_id, expected, now)
    if moved is not None:
        tell_failed(moved[1])
        return True
    if row is None:
        return False
    last, version = row
    if not last <= base <= version:
        raise StoreError(f"a head at {base} is not between the last one ({last}) and now ({version})")
    raise StoreError("a checkpoint drops a block that is not in use")
