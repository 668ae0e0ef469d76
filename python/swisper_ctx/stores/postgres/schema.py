"""The tables of the PostgreSQL store, as numbered steps: each is run once, and none is ever changed afterwards.

    sessions, pipeline_executions     for people's queries: copies, which the library writes and never reads
    session_etags                     one narrow row for each session, all that a turn updates
    context_heads, context_blocks,    the log, in which bytes are the truth
    context_frames

Times in the log are microseconds since 1970-01-01 UTC. Every key leads with session_id. No foreign key stands on the
log: a turn would pay a fifth more. A name without a schema is found by the `search_path` of the connection.
"""

from __future__ import annotations

SCHEMA_TABLE = (
    "CREATE TABLE IF NOT EXISTS swisper_schema (version integer PRIMARY KEY, applied_at timestamptz NOT NULL)"
)

_PUBLIC = (
    """CREATE TABLE IF NOT EXISTS sessions (
        session_id text PRIMARY KEY,
        user_id text,
        context_data jsonb,
        created_at timestamptz,
        updated_at timestamptz,
        expires_at timestamptz
    )""",
    """CREATE TABLE IF NOT EXISTS pipeline_executions (
        execution_id text PRIMARY KEY,
        session_id text,
        pipeline_name text,
        execution_data jsonb,
        performance_metrics jsonb,
        created_at timestamptz
    )""",
    # Where tables of these names were there before.
    """ALTER TABLE sessions
        ADD COLUMN IF NOT EXISTS user_id text,
        ADD COLUMN IF NOT EXISTS context_data jsonb,
        ADD COLUMN IF NOT EXISTS created_at timestamptz,
        ADD COLUMN IF NOT EXISTS updated_at timestamptz,
        ADD COLUMN IF NOT EXISTS expires_at timestamptz""",
    """ALTER TABLE pipeline_executions
        ADD COLUMN IF NOT EXISTS pipeline_name text,
        ADD COLUMN IF NOT EXISTS execution_data jsonb,
        ADD COLUMN IF NOT EXISTS performance_metrics jsonb,
        ADD COLUMN IF NOT EXISTS created_at timestamptz""",
    "CREATE INDEX IF NOT EXISTS pipeline_executions_by_session ON pipeline_executions (session_id)",
)

_ETAGS = (
    # The columns that a turn changes stand together at the end: the WAL has what lies between the first and the last.
    # Vacuum does not cut off the end of a table: the lock for that is held for longer than a turn waits.
    """CREATE TABLE session_etags (
        session_id text PRIMARY KEY,
        user_id text NOT NULL,
        number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        created_at bigint NOT NULL,
        epoch bigint NOT NULL,
        expires_at bigint,
        version bigint NOT NULL,
        updated_at bigint NOT NULL,
        messages integer NOT NULL,
        token bytea NOT NULL
    ) WITH (fillfactor = 50, vacuum_truncate = off)""",
    "CREATE INDEX session_etags_by_number ON session_etags (number)",
    "CREATE INDEX session_etags_by_user ON session_etags (user_id, number)",
    # Pages of what has expired are read in the order of this index.
    "CREATE INDEX session_etags_by_expiry ON session_etags (expires_at, number) WHERE expires_at IS NOT NULL",
)

_LOG = (
    """CREATE TABLE context_heads (
        session_id text NOT NULL,
        base bigint NOT NULL,
        stamp bytea NOT NULL,
        is_newest boolean NOT NULL,
        written_at bigint NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (session_id, base)
    )""",
    # In use by the heads from `used_from` up to, not with, `dropped_at`.
    """CREATE TABLE context_blocks (
        session_id text NOT NULL,
        block_id bytea NOT NULL,
        field text NOT NULL,
        position bigint NOT NULL,
        records bigint NOT NULL,
        used_from bigint NOT NULL,
        dropped_at bigint,
        body bytea NOT NULL,
        PRIMARY KEY (session_id, block_id)
    )""",
    """CREATE UNIQUE INDEX context_blocks_in_use ON context_blocks (session_id, field, position)
        WHERE dropped_at IS NULL""",
    # In this order no byte of a frame is padding; of a version of 4 bytes its index entry has 8 less.
    """CREATE TABLE context_frames (
        time bigint NOT NULL,
        version integer NOT NULL,
        session_id text NOT NULL,
        token bytea NOT NULL,
        change_id text,
        body bytea,
        PRIMARY KEY (session_id, version)
    )""",
    """CREATE UNIQUE INDEX context_frames_by_change ON context_frames (session_id, change_id)
        WHERE change_id IS NOT NULL""",
    # Bodies are compressed and sealed already. A frame stays in its row, a turn then writes one table.
    "ALTER TABLE context_heads ALTER body SET STORAGE EXTERNAL",
    "ALTER TABLE context_blocks ALTER body SET STORAGE EXTERNAL",
    "ALTER TABLE context_frames ALTER body SET STORAGE EXTERNAL",
    "ALTER TABLE context_frames SET (toast_tuple_target = 8160, vacuum_truncate = off)",
)

_OVERVIEW = (
    """CREATE VIEW session_overview AS SELECT
        log.session_id, log.user_id, log.version, log.messages,
        timestamptz 'epoch' + log.created_at * interval '1 microsecond' AS created_at,
        timestamptz 'epoch' + log.updated_at * interval '1 microsecond' AS updated_at,
        timestamptz 'epoch' + log.expires_at * interval '1 microsecond' AS expires_at,
        sessions.context_data
    FROM session_etags AS log LEFT JOIN sessions USING (session_id)""",
)

# Whatever stands in the way of the copies, a turn is committed without them. Their columns have the types that the
# tables had before.
_COPIES = (
    """CREATE FUNCTION swisper_write_copies(copies text[]) RETURNS void LANGUAGE sql AS $$
        INSERT INTO sessions AS old (session_id, user_id, context_data, created_at, updated_at, expires_at)
        SELECT new.session_id, new.user_id, new.context_data, new.created_at, new.updated_at, new.expires_at
        FROM unnest(copies) AS copy, jsonb_populate_record(NULL::sessions, copy::jsonb -> 'session') AS new
        WHERE new.session_id IS NOT NULL
        ON CONFLICT (session_id) DO UPDATE SET context_data = excluded.context_data,
            updated_at = excluded.updated_at, expires_at = coalesce(excluded.expires_at, old.expires_at);
        INSERT INTO pipeline_executions
            (execution_id, session_id, pipeline_name, execution_data, performance_metrics, created_at)
        SELECT new.execution_id, new.session_id, new.pipeline_name, new.execution_data, new.performance_metrics,
            new.created_at
        FROM unnest(copies) AS copy,
            jsonb_populate_recordset(NULL::pipeline_executions, copy::jsonb -> 'executions') AS new
        ON CONFLICT DO NOTHING
    $$""",
    """CREATE FUNCTION swisper_copy(copies text[]) RETURNS integer STRICT LANGUAGE plpgsql
    SET lock_timeout = '50ms' AS $$
        DECLARE
            copy text;
            failed integer := 0;
        BEGIN
            BEGIN
                PERFORM swisper_write_copies(copies);
                RETURN 0;
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
            FOREACH copy IN ARRAY copies LOOP
                BEGIN
                    PERFORM swisper_write_copies(ARRAY[copy]);
                EXCEPTION WHEN OTHERS THEN failed := failed + 1;
                END;
            END LOOP;
            RETURN failed;
        END
    $$""",
)

STEPS: tuple[tuple[str, ...], ...] = ((*_PUBLIC, *_ETAGS, *_LOG, *_OVERVIEW, *_COPIES),)
"""From nothing to the tables of today. The version of a schema is how many of them it has had."""

VERSION = len(STEPS)
