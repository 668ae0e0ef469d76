"""What a turn costs by hand: one statement in PostgreSQL and then one script in Redis, for each turn."""

from __future__ import annotations

import secrets
from typing import Any

import asyncpg
from redis.asyncio import BlockingConnectionPool, Redis

TABLES = """
    CREATE TABLE bare_sessions (
        session_id text PRIMARY KEY, version bigint NOT NULL, token bytea NOT NULL, updated_at timestamptz NOT NULL
    ) WITH (fillfactor = 50);
    CREATE TABLE bare_frames (
        session_id text NOT NULL, version bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (session_id, version)
    );
"""
CREATE = "INSERT INTO bare_sessions VALUES ($1, 0, $2, now())"
TURN = """
    WITH moved AS (
        UPDATE bare_sessions SET version = version + 1, token = $3, updated_at = now()
        WHERE session_id = $1 AND version = $2 AND token = $4 RETURNING session_id, version
    )
    INSERT INTO bare_frames SELECT session_id, version, $5 FROM moved RETURNING version
"""
SCRIPT = """
    if redis.call('HGET', KEYS[1], 'e') ~= ARGV[1] then redis.call('DEL', KEYS[1]) end
    redis.call('HSET', KEYS[1], 'e', ARGV[2], 'f' .. ARGV[3], ARGV[4])
    redis.call('EXPIRE', KEYS[1], 3600)
    return 1
"""
CONNECTIONS = 20


class BareServers:
    """Its pools, and what turns of its sessions are."""

    def __init__(self, pool: Any, redis: Redis) -> None:
        self._pool, self._redis = pool, redis
        self._append = redis.register_script(SCRIPT)

    @classmethod
    async def open(cls, dsn: str, redis: str) -> BareServers:
        pool = await asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)
        await pool.execute("DROP TABLE IF EXISTS bare_sessions, bare_frames")
        await pool.execute(TABLES)
        # One that is full is waited for.
        connections = BlockingConnectionPool.from_url(redis, max_connections=CONNECTIONS)
        return cls(pool, Redis(connection_pool=connections))

    async def create(self, frame: bytes) -> BareSession:
        """A new session, all of whose turns are this frame."""
        session = BareSession(secrets.token_hex(16), secrets.token_bytes(16), frame)
        await self._pool.execute(CREATE, session.session_id, session.token)
        return session

    async def turn(self, session: BareSession) -> None:
        token = secrets.token_bytes(16)
        name, version, before = session.session_id, session.version, session.token
        written = await self._pool.fetchval(TURN, name, version, token, before, session.frame)
        assert written == version + 1
        await self._append(keys=[f"bare:{{{name}}}"], args=[before, token, written, session.frame])
        session.version, session.token = written, token

    async def aclose(self) -> None:
        await self._redis.aclose()
        await self._pool.close()


class BareSession:
    """Where one stands."""

    def __init__(self, session_id: str, token: bytes, frame: bytes) -> None:
        self.session_id, self.token, self.frame = session_id, token, frame
        self.version = 0
