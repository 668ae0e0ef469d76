"""Sessions that stand whole in `sessions.context_data`, and have no log yet: each gets one, and stays where it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from itertools import starmap
from typing import Any

from swisper_ctx._core import PipelineExecution, token
from swisper_ctx.context import SwisperContext, deserialize_context
from swisper_ctx.errors import ContextError, StoreError
from swisper_ctx.log import NEVER, Change, Etag
from swisper_ctx.stores.postgres.commit import Group
from swisper_ctx.stores.postgres.connection import MICROS, Connection
from swisper_ctx.stores.recovery import check_new
from swisper_ctx.stores.saving import NO_TOKEN, check_names, first_head

log = logging.getLogger("swisper_ctx.store")

BATCH = 100
LOCK = "SELECT pg_advisory_xact_lock(hashtext('swisper_ctx'), hashtext(current_schema()))"
"""One for each schema. Until the transaction ends: a pooler may give the next one another connection."""
COLUMN_TYPES = """
    SELECT table_name || '.' || column_name, data_type FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name IN ('sessions', 'pipeline_executions') AND (
        column_name = 'session_id' AND data_type NOT IN ('text', 'character varying')
        OR column_name IN ('created_at', 'updated_at', 'expires_at') AND data_type NOT LIKE 'timestamp%'
    )
"""
IS_UNIQUE = """
    SELECT to_regclass('sessions') IS NULL OR EXISTS (
        SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = to_regclass('sessions') AND indisunique AND indnkeyatts = 1 AND indpred IS NULL
        AND attname = 'session_id'
    )
"""
# As numbers: the types of Python and of the driver do not hold every time that a column holds. One without a zone is
# UTC. What ends when the years of Python do was to be kept for ever, infinity too.
WITHOUT_LOG = f"""
    SELECT session_id, user_id::text, context_data::text,
        CASE WHEN created_at BETWEEN '0001-01-02' AND '9999-12-30'
            THEN (extract(epoch FROM created_at) * 1000000)::bigint END,
        CASE WHEN expires_at IS NULL OR expires_at > '9999-12-30' THEN {NEVER} WHEN expires_at < '0001-01-02' THEN 0
            ELSE (extract(epoch FROM expires_at) * 1000000)::bigint END
    FROM sessions
    WHERE session_id > $1 AND context_data IS NOT NULL
    AND NOT EXISTS (SELECT FROM session_etags WHERE session_etags.session_id = sessions.session_id)
    ORDER BY session_id LIMIT $2
"""
EXECUTIONS = """
    SELECT session_id, execution_id::text, pipeline_name::text, execution_data::text, performance_metrics::text
    FROM pipeline_executions WHERE session_id = ANY($1::text[]) ORDER BY created_at
"""
NOW = f"SELECT {MICROS}"
# The log begins now, the session began when its row says.
KEEP_BEGINNING = """
    UPDATE session_etags SET created_at = begun.created_at
    FROM unnest($1::text[], $2::bigint[]) AS begun(session_id, created_at)
    WHERE session_etags.session_id = begun.session_id
"""


async def check_columns(connection: Connection) -> None:
    """Raise StoreError for tables that the ids of this library do not fit into."""
    for column, kind in await connection.fetch(COLUMN_TYPES):
        raise StoreError(
            f"{column} has type {kind}; ids are text here, times timestamptz: alter it, or rename the table"
        )
    if not await connection.fetchval(IS_UNIQUE):
        raise StoreError("sessions.session_id is not unique: rename that table, or create a unique index on the column")


async def adopt(connection: Connection) -> tuple[int, tuple[str, ...]]:
    """Give every session without a log one, a batch in each transaction: how many, and the ids of those left alone.

    Left alone is what holds no context, or belongs to no user.
    """
    adopted, refused, last = 0, list[str](), ""
    while True:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(LOCK)
            rows = await connection.fetch(WITHOUT_LOG, last, BATCH)
            if not rows:
                return adopted, tuple(refused)
            last = rows[-1][0]
            done, left = await _adopt_batch(connection, rows)
        adopted += done
        refused += left


async def _adopt_batch(connection: Connection, rows: Sequence[Any]) -> tuple[int, list[str]]:
    now = await connection.fetchval(NOW)
    executions: dict[str, list[Any]] = {}
    for session_id, *columns in await connection.fetch(EXECUTIONS, [row[0] for row in rows]):
        executions.setdefault(session_id, []).append(columns)
    changes, begun, refused = list[Change](), list[int](), list[str]()
    for session_id, user_id, text, created, expires in rows:
        try:
            context = _context(session_id, user_id, text, executions.get(session_id, ()))
            created_at = now if created is None else created
            changes.append(_creation(context, created_at, expires, now))
            begun.append(created_at)
        except (ContextError, ValueError, TypeError, RecursionError) as error:
            log.warning("session %s is not adopted: %s", session_id, type(error).__name__)
            refused.append(session_id)
    results = await Group(connection, None).write(changes)
    ids = [change.session_id for change in changes]
    await connection.execute(KEEP_BEGINNING, ids, begun)
    refused += [id_ for id_, result in zip(ids, results, strict=True) if result.time is None]
    return sum(result.time is not None for result in results), refused


def _context(session_id: str, user_id: str | None, text: str, executions: Sequence[Any]) -> SwisperContext:
    document = json.loads(text)
    if not isinstance(document, dict) or not user_id:
        raise ValueError("a row that holds no context of a user")
    check_names(session_id=session_id, user_id=user_id)
    check_new(session_id)
    context = deserialize_context({**document, "session_id": session_id, "user_id": user_id, "version": 0})
    known = {execution.execution_id for execution in context.pipeline_executions}
    for execution in starmap(_execution, executions):
        if execution["execution_id"] not in known:
            context.pipeline_executions.append(PipelineExecution.from_dict(execution))
    return context


def _execution(execution_id: str, pipeline_name: str | None, data: str | None, metrics: str | None) -> dict[str, Any]:
    """A row of `pipeline_executions` as the record that it stands for; the columns count where both say something."""
    found = json.loads(data) if data else {}
    record = dict(found) if isinstance(found, dict) else {"result": found}
    if metrics is not None:
        record.setdefault("metrics", json.loads(metrics))
    return {**record, "execution_id": execution_id, "pipeline_name": pipeline_name}


def _creation(context: SwisperContext, created_at: int, expires_at: int, now: int) -> Change:
    position = context._position
    before = position.snapshot
    delta = context._freeze()
    if delta is None:
        raise ValueError("a context that holds nothing")
    etag = Etag(1, token())
    frame = delta.frame(position.session_id, 0, NO_TOKEN, etag, None, now)
    head = first_head(position, before, created_at)
    messages = position.snapshot.count("conversation_history")
    return Change(position.session_id, position.user_id, None, etag, frame, None, messages, head, expires_at)
