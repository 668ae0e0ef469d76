"""Bringing the tables of a database to what this version of the library needs."""

from __future__ import annotations

from swisper_ctx.errors import StoreError
from swisper_ctx.stores.postgres.connection import SCHEMA_VERSION, Connection, check_version
from swisper_ctx.stores.postgres.schema import SCHEMA_TABLE, STEPS

# One for each schema: a hash of its name, in a space of its own.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('swisper_ctx'), hashtext(current_schema()))"
NOTE = "INSERT INTO swisper_schema (version, applied_at) VALUES ($1, now())"
HAS_SCHEMA = "SELECT current_schema() IS NOT NULL"


async def migrate(connection: Connection) -> int:
    """Run the steps that are still to be run, each in a transaction with its number; how many those were.

    Others that do the same wait. Raises StoreError for tables of a newer version.
    """
    if not await connection.fetchval(HAS_SCHEMA):
        raise StoreError("no schema of the search_path exists: create it, or name another one")
    steps = 0
    while await _next_step(connection):
        steps += 1
    return steps


async def _next_step(connection: Connection) -> bool:
    async with connection.transaction():
        await connection.execute(LOCK)
        await connection.execute(SCHEMA_TABLE)
        version = await connection.fetchval(SCHEMA_VERSION) or 0
        if version >= len(STEPS):
            check_version(version)
            return False
        for statement in STEPS[version]:
            await connection.execute(statement)
        await connection.execute(NOTE, version + 1)
    return True
