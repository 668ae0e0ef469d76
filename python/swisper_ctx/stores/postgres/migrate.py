"""Bringing the tables of a database to what this version of the library needs."""

from __future__ import annotations

from typing import NamedTuple

from swisper_ctx.errors import StoreError
from swisper_ctx.stores.postgres.adoption import LOCK, adopt, check_columns
from swisper_ctx.stores.postgres.connection import SCHEMA_VERSION, Connection, check_version
from swisper_ctx.stores.postgres.schema import SCHEMA_TABLE, STEPS

NOTE = "INSERT INTO swisper_schema (version, applied_at) VALUES ($1, now())"
HAS_SCHEMA = "SELECT current_schema() IS NOT NULL"


class Migration(NamedTuple):
    """What a migration has done."""

    steps: int
    """So many steps of the schema were run."""
    adopted: int
    """So many sessions that stood in `sessions` alone now have a log."""
    refused: tuple[str, ...]
    """The ids of those that were left alone: what stands there is no context of a user."""


async def migrate(connection: Connection) -> Migration:
    """Run the steps that are still to be run, each in a transaction with its number, and adopt the sessions found.

    Others that do the same wait. Raises StoreError for tables of a newer version.
    """
    if not await connection.fetchval(HAS_SCHEMA):
        raise StoreError("no schema of the search_path exists: create it, or name another one")
    steps = 0
    while await _next_step(connection):
        steps += 1
    return Migration(steps, *await adopt(connection))


async def _next_step(connection: Connection) -> bool:
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(LOCK)
        await connection.execute(SCHEMA_TABLE)
        version = await connection.fetchval(SCHEMA_VERSION) or 0
        if version >= len(STEPS):
            check_version(version)
            return False
        await check_columns(connection)
        for statement in STEPS[version]:
            await connection.execute(statement)
        await connection.execute(NOTE, version + 1)
    return True
