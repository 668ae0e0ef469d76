"""The store for many processes: sessions in PostgreSQL, by asyncpg."""

from swisper_ctx.stores.postgres.store import PostgresSessionStore

__all__ = ["PostgresSessionStore"]
