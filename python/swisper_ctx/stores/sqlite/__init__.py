"""Sessions in one SQLite file: the embedded default."""

from swisper_ctx.stores.sqlite.store import SQLiteSessionStore

__all__ = ["SQLiteSessionStore"]
