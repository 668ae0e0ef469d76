"""With many sessions, no statement of the store walks a table of the log, whatever the statistics say."""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Iterator, Sequence
from hashlib import md5
from importlib import import_module
from itertools import product
from typing import Any

import asyncpg
import pytest
from tests.conftest import FULL
from tests.stores.postgres.locks import transaction
from tests.stores.postgres.schemas import Schemas, execute, in_a_thread

from swisper_ctx.stores import postgres
from swisper_ctx.stores.postgres import checkpoint, read, removal, statements
from swisper_ctx.stores.postgres.connection import PLANS

pytestmark = pytest.mark.servers
SESSIONS = 100_000 if FULL else 20_000
LOG = {"session_etags", "context_heads", "context_blocks", "context_frames"}
# Not of turns: what is asked once, of other tables, or in a migration.
ELSEWHERE = {"adoption", "migrate", "schema"}
# Those of groups that may wait for a lock, as none may behind a pooler.
WAITING = {statements.APPEND, statements.APPEND_ONE, statements.APPEND_ONCE}
# Parts of other statements.
PARTS = {read.HEAD_ROW, read.ROWS_AND_LAST_BODIES, checkpoint.MOVED, statements.ADD_FRAMES}
FILL = (
    """INSERT INTO session_etags
            (session_id, user_id, created_at, epoch, version, messages, updated_at, expires_at, token)
        SELECT 's' || n, 'u' || n % 1000, 0, 0, 2, 0, 0, 10::bigint ^ 15 + n, decode(md5(n::text), 'hex')
        FROM generate_series(1, {sessions}) n""",
    """INSERT INTO context_heads SELECT session_id, 0, token, TRUE, 0, '' FROM session_etags""",
    """INSERT INTO context_blocks SELECT session_id, token, '', 0, 0, 0, NULL, '' FROM session_etags""",
    """INSERT INTO context_frames (session_id, version, time, token, body)
        SELECT session_id, 1, 0, token, '' FROM session_etags""",
)
MANY = [*range(1, 201)]
VALUES = {
    "text": "'s5000'",
    "bigint": "2",
    "integer": "2",
    "double precision": "2",
    "bytea": r"'\x00'",
    "text[]": f"ARRAY{[f's{number}' for number in MANY]}",
    "bigint[]": f"ARRAY{MANY}",
    "bytea[]": f"ARRAY{[md5(str(number).encode()).hexdigest() for number in MANY]}::bytea[]",
}


@pytest.fixture(scope="module")
def big(postgres_dsn: str) -> Iterator[str]:
    """A schema with many sessions, of which the server knows no statistics."""
    schemas = Schemas(postgres_dsn)
    url = schemas.new()
    statements = [f"ALTER TABLE {table} SET (autovacuum_enabled = off)" for table in sorted(LOG)]
    schemas.run(url, *statements, *(statement.format(sessions=SESSIONS) for statement in FILL))
    yield url
    schemas.drop()


def all_statements() -> dict[str, str]:
    """Every complete statement among the constants of the store, by where it stands."""
    found = dict[str, str]()
    for module in pkgutil.iter_modules(postgres.__path__):
        if module.name not in ELSEWHERE:
            names = vars(import_module(f"{postgres.__name__}.{module.name}"))
            found |= {f"{module.name}.{name}": value for name, value in flat(names) if is_statement(value)}
    for given in product((False, True), repeat=2):
        found[f"listing {given}"] = listing(*given)
    return found


def flat(names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in names.items():
        if isinstance(value, dict) and name.isupper():
            yield from flat({f"{name}.{key}": inner for key, inner in value.items()})
        elif isinstance(value, list):
            yield from ((f"{name}.{number}", inner) for number, inner in enumerate(value))
        else:
            yield name, value


def is_statement(value: object) -> bool:
    is_sql = isinstance(value, str) and re.match(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\s", value) is not None
    return is_sql and "{" not in str(value) and value not in PARTS


def listing(of_user: bool, expired: bool) -> str:
    statement, next_ = (read.EXPIRED_LISTING, 5) if expired else (read.LISTING, 3)
    return statement.format(condition=f"AND user_id = ${next_}" if of_user else "")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes({"Relation Name": plan.get("Relation Name", ""), **inner})


def walks(plan: dict[str, Any]) -> list[str]:
    """The parts of a plan that go through a table of the log without a condition on an index."""
    return [
        f"{node['Node Type']} on {node['Relation Name']}"
        for node in nodes(plan)
        if (
            node.get("Relation Name") in LOG
            and ("Seq Scan" in node["Node Type"] or "Index" in node["Node Type"])
            and not (condition := node.get("Index Cond", ""))
        )
        or (
            (node.get("Relation Name", "").startswith("context_") and "Index" in node["Node Type"])
            and "session_id" not in condition
        )
    ]


KNOWN, UNKNOWN = "force_custom_plan", "force_generic_plan"
"""Plans with the values of the parameters, and without."""


async def faults(connection: Any, statement: str, modes: Sequence[str]) -> list[str]:
    """What a statement walks in these modes of planning."""
    await connection.execute(f"PREPARE this AS {statement}")
    types = await connection.fetchval("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'this'")
    values = ", ".join(VALUES[type_] for type_ in types)
    found = list[str]()
    for mode in modes:
        await connection.execute(f"SET plan_cache_mode = {mode}")
        (row,) = await connection.fetch(f"EXPLAIN (FORMAT JSON) EXECUTE this{f'({values})' if values else ''}")
        found += walks(json.loads(row[0])[0]["Plan"])
    await connection.execute("DEALLOCATE this")
    return found


async def walked(connection: Any, statements: dict[str, str], modes: Sequence[str]) -> dict[str, list[str]]:
    """Those statements that walk a table, and what."""
    found = {name: await faults(connection, statement, modes) for name, statement in statements.items()}
    return {name: wrong for name, wrong in found.items() if wrong}


@pytest.fixture(scope="module", params=[False, True], ids=["never analysed", "analysed"])
def known(request: pytest.FixtureRequest, big: str) -> str:
    """The same schema for all tests; then for all of them again, with statistics."""
    for table in LOG if request.param else ():
        in_a_thread(execute(big, f"ANALYZE {table}"))
    return big


async def test_no_statement_walks_a_table(known: str) -> None:
    connection = await asyncpg.connect(known, server_settings=PLANS)
    assert await walked(connection, all_statements(), [KNOWN, UNKNOWN]) == {}
    await connection.close()
    assert len(all_statements()) > 40


async def test_none_does_behind_a_pooler_where_nothing_can_be_set(known: str) -> None:
    """Each is planned anew, as it is not kept there."""
    pooled = {name: statement for name, statement in all_statements().items() if statement not in WAITING}
    connection = await asyncpg.connect(known)
    assert await walked(connection, pooled, [KNOWN]) == {}
    await connection.close()


async def test_what_has_expired_is_found_by_its_ids_where_nothing_had_when_the_table_was_analysed(big: str) -> None:
    async with transaction(big, "UPDATE session_etags SET expires_at = 10::bigint ^ 17") as connection:
        await connection.execute("ANALYZE session_etags; UPDATE session_etags SET expires_at = 1")
        ids = [f"s{number}" for number in MANY[:25]]
        (row,) = await connection.fetch(f"EXPLAIN (FORMAT JSON) {removal.LOCK_EXPIRED}", ids, None)
        indexes = [node["Index Name"] for node in nodes(json.loads(row[0])[0]["Plan"]) if "Index Name" in node]
        assert indexes == ["session_etags_pkey"]


@pytest.mark.parametrize("settings", [PLANS, {}], ids=["set", "behind a pooler"])
async def test_a_tail_of_a_long_session_counts_no_records_of_blocks_that_it_leaves(
    known: str, settings: dict[str, str]
) -> None:
    fill = """INSERT INTO context_blocks SELECT 's1', decode(md5(field || n), 'hex'), field, n, 10, 0, NULL, ''
        FROM generate_series(100001, 100500) n, (VALUES ('history'), ('results')) AS fields (field)"""
    async with transaction(known, fill) as connection:
        for name, value in settings.items():
            await connection.execute(f"SET LOCAL {name} = {value}")
        await connection.execute(f"PREPARE tail AS {read.TAIL}")
        (row,) = await connection.fetch("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE tail('s1', NULL, 15)")
    passed = [node for node in nodes(json.loads(row[0])[0]["Plan"]) if node["Actual Rows"] * node["Actual Loops"] > 20]
    assert {node["Node Type"] for node in passed} <= {"Append", "Index Scan", "Bitmap Heap Scan", "Bitmap Index Scan"}
    assert sum(node["Node Type"] != "Append" for node in passed) <= 2
