"""The statements of a group of turns, and their parameters: arrays, with an element for each change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swisper_ctx.log import NEVER, Change
from swisper_ctx.stores.postgres.connection import MICROS
from swisper_ctx.stores.postgres.copies import copy_text

CHANGE = """unnest(
        $1::text[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[], $8::text[],
        $9::bytea[], $10::text[]
    ) AS change(session_id, expected, parent, version, token, messages, expires_at, change_id, frame, copy)"""
CLOCK = f"clock AS (SELECT coalesce($11::bigint, {MICROS}) AS now)"
FOLLOWS = """log.session_id = change.session_id AND log.version = change.expected AND log.token = change.parent
        AND (log.expires_at IS NULL OR log.expires_at > (SELECT now FROM clock))"""
# With the OFFSET this is asked for each change: nothing is gained by a hash of all frames there are.
IS_NEW = """
        AND (change.change_id IS NULL OR NOT EXISTS (
            SELECT FROM context_frames AS frame
            WHERE frame.session_id = change.session_id AND frame.change_id = change.change_id OFFSET 0
        ))"""
# Rows that another transaction holds are left out.
LOCKED = f"""locked AS (
        SELECT log.session_id FROM session_etags AS log JOIN {CHANGE} ON {FOLLOWS}{IS_NEW}
        ORDER BY log.session_id FOR NO KEY UPDATE OF log SKIP LOCKED
    )"""


def _append(before: str, condition: str) -> str:
    # What a frame needs goes through RETURNING: a second join would cost more.
    return f"""
    WITH {before}, moved AS (
        UPDATE session_etags AS log
        SET version = change.version, token = change.token, messages = coalesce(change.messages, log.messages),
            updated_at = (SELECT now FROM clock),
            expires_at = CASE change.expires_at WHEN {NEVER} THEN NULL
                ELSE coalesce(change.expires_at, log.expires_at) END
        FROM {CHANGE}
        WHERE {FOLLOWS}{condition}
        RETURNING change.session_id, change.version, log.updated_at, change.token, change.change_id, change.frame,
            change.copy
    )"""


ADD_FRAMES = """
    INSERT INTO context_frames (session_id, version, time, token, change_id, body)
    SELECT session_id, version, updated_at, token, change_id, frame FROM moved RETURNING token, time"""
# In the same transaction; it fails for itself alone.
AND_COPIES = f""", written AS ({ADD_FRAMES})
    SELECT token, time, (SELECT swisper_copy(array_agg(copy)) FROM moved WHERE copy IS NOT NULL) FROM written"""
APPEND = _append(CLOCK, "") + ADD_FRAMES
NOW = f"(SELECT coalesce($8::bigint, {MICROS}))"
MOVE_ONE = f"""
    UPDATE session_etags
    SET version = $4, token = $5, messages = coalesce($6::integer, messages), updated_at = {NOW},
        expires_at = CASE $7::bigint WHEN {NEVER} THEN NULL ELSE coalesce($7, expires_at) END
    WHERE session_id = $1 AND version = $2 AND token = $3 AND (expires_at IS NULL OR expires_at > {NOW})
    RETURNING updated_at
"""
# A turn that is alone: without arrays it takes a tenth less.
APPEND_ONE = f"""
    WITH moved AS ({MOVE_ONE}) INSERT INTO context_frames (session_id, version, time, token, body)
    SELECT $1, $4, updated_at, $5, $9 FROM moved RETURNING token, time
"""
APPEND_ONCE = _append(CLOCK, IS_NEW) + AND_COPIES
APPEND_UNLOCKED = (
    _append(f"{CLOCK}, {LOCKED}", " AND change.session_id IN (SELECT session_id FROM locked)") + AND_COPIES
)
PENDING = f"WITH {CLOCK} SELECT change.token FROM session_etags AS log JOIN {CHANGE} ON {FOLLOWS}{IS_NEW}"

CREATE = (
    f"""
    WITH change AS (
        SELECT * FROM unnest(
            $1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
            $9::bytea[], $10::bigint[], $11::bytea[], $12::bytea[], $13::text[]
        ) AS change(
            session_id, user_id, version, token, messages, epoch, expires_at, change_id, frame, base, stamp, head, copy
        )
    ), clock AS (SELECT coalesce($14::bigint, {MICROS}) AS now), created AS (
        INSERT INTO session_etags
            (session_id, user_id, created_at, epoch, version, messages, updated_at, expires_at, token)
        SELECT session_id, user_id, now, epoch, version, messages, now, nullif(expires_at, {NEVER}), token
        FROM change, clock
        ON CONFLICT (session_id) DO NOTHING RETURNING session_id, token, created_at
    ), headed AS (
        INSERT INTO context_heads (session_id, base, stamp, is_newest, written_at, body)
        SELECT session_id, base, stamp, TRUE, created_at, head FROM change JOIN created USING (session_id, token)
    ), moved AS (
        SELECT change.session_id, change.version, created.created_at AS updated_at, change.token, change.change_id,
            change.frame, change.copy
        FROM change JOIN created USING (session_id, token)
    )
"""
    + AND_COPIES
)

WHAT_IS_THERE = """
    SELECT frame.token, change.token, frame.time
    FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS change(session_id, version, token) CROSS JOIN LATERAL (
        SELECT token, time FROM context_frames AS frame
        WHERE frame.session_id = change.session_id AND frame.version = change.version OFFSET 0
    ) AS frame
"""


def columns(changes: Sequence[Change]) -> list[list[Any]]:
    """The parameters of all statements for changes that follow on a version, but the last."""
    rows = []
    for session_id, _, expected, etag, frame, change_id, messages, _, expires_at, _, projection, _ in changes:
        copy = None if projection is None else copy_text(session_id, projection, expires_at)
        rows.append((session_id, *(expected or ()), *etag, messages, expires_at, change_id, frame, copy))
    return list(map(list, zip(*rows, strict=True)))


def values_of(change: Change) -> tuple[Any, ...]:
    """The parameters of MOVE_ONE but the last."""
    return change.session_id, *(change.expected or ()), *change.etag, change.messages, change.expires_at


def creation_columns(changes: Sequence[Change]) -> list[list[Any]]:
    """The parameters of CREATE but the last."""
    rows = []
    for change in changes:
        if change.head is None:
            raise ValueError("a change that creates a session needs its first head")
        about = change.session_id, change.user_id, *change.etag, change.messages or 0, change.epoch, change.expires_at
        copy = copy_text(change.session_id, change.projection, change.expires_at)
        rows.append((*about, change.change_id, change.frame, *change.head, copy))
    return list(map(list, zip(*rows, strict=True)))
