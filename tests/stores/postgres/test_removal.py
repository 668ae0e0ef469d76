"""Turns, checkpoints, rotation and deletes of one session at once: nothing is left behind in any table."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from tests.stores.postgres.locks import assert_whole, transaction
from tests.stores.postgres.schemas import execute

from swisper_ctx import OutcomeUnknownError, StoreUnavailableError
from swisper_ctx.log import Checkpoint, Etag, Restoration
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing import ManualClock
from swisper_ctx.testing.changes import append, commit, creation, grow, moved, new_block, new_head

pytestmark = pytest.mark.servers
TABLES = ("session_etags", "context_heads", "context_blocks", "context_frames")
HEAD = "SELECT FROM context_heads WHERE session_id = $1 AND is_newest FOR UPDATE"
# Whoever deletes or moves blocks waits for the test.
GATE = """
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared({key}); RETURN coalesce(NEW, OLD); END';
    CREATE TRIGGER wait BEFORE DELETE OR UPDATE OF session_id ON context_blocks FOR EACH ROW EXECUTE FUNCTION wait()
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"


@pytest.fixture
async def other(url: str, clock: ManualClock) -> AsyncIterator[PostgresSessionStore]:
    """As of another process."""
    store = PostgresSessionStore(url, clock=clock)
    yield store
    await store.aclose()


async def checkpoint(store: PostgresSessionStore, session_id: str = "s") -> bool | None:
    """Of the newest version; None if there is no session any more."""
    stored = await store.read(session_id)
    if stored is None or stored.head is None:
        return None
    dropped = tuple(block.block_id for block in stored.blocks)
    block = new_block("history", 0, 1, os.urandom(20))
    head = new_head(stored.etag.version)
    return await store.checkpoint(Checkpoint(session_id, stored.head.stamp, head, (block,), dropped))


async def delete(store: PostgresSessionStore, etag: Etag) -> object:
    return await store.delete(["s"])


async def restore(store: PostgresSessionStore, etag: Etag) -> object:
    after = Etag(etag.version + 1, os.urandom(16))
    head, blocks = new_head(after.version), (new_block("history", 0, 1, b"restored"),)
    return await store.restore(Restoration("s", "s!1", etag, after, 1, 1, head, blocks, ()))


async def replace(store: PostgresSessionStore, etag: Etag) -> object:
    return await store.replace("s", [(body, body.body + b"!") for body in await store.bodies("s")])


async def fold(store: PostgresSessionStore, etag: Etag) -> object:
    return await checkpoint(store)


async def waiting(url: str, count: int) -> None:
    """Until so many transactions wait for a lock."""
    for _ in range(2_000):
        if (await execute(url, WAITING))[0][0] >= count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("remove", [delete, restore])
async def test_a_checkpoint_of_a_head_that_comes_while_a_removal_waits_for_the_last_one(
    store: PostgresSessionStore,
    other: PostgresSessionStore,
    url: str,
    remove: Callable[[PostgresSessionStore, Etag], Awaitable[object]],
) -> None:
    etag = await grow(store, "s", 3)
    await moved(store, "s", 2, added=[new_block("history", 0, 1)])
    key = random.getrandbits(40)
    await execute(url, GATE.split(";\n", maxsplit=1)[0].format(key=key))
    await execute(url, GATE.split(";\n")[1])
    async with transaction(url, "SELECT pg_advisory_xact_lock($1)", key):
        async with transaction(url, HEAD, "s"):
            first = asyncio.ensure_future(checkpoint(other))
            await waiting(url, 1)
            removal = asyncio.ensure_future(remove(store, etag))
            await waiting(url, 2)
        assert await first
        await waiting(url, 1)
        second = asyncio.ensure_future(checkpoint(other))
        await asyncio.wait([second], timeout=0.2)
    assert await removal
    assert not await second
    await assert_whole(url)
    assert (await store.read("s") is None) == (remove is delete)


async def test_a_turn_is_waited_for_and_nothing_of_it_is_left(
    store: PostgresSessionStore, other: PostgresSessionStore, url: str
) -> None:
    etag = await grow(store, "s", 3)
    async with transaction(url) as turn:
        await turn.execute("UPDATE session_etags SET version = 4 WHERE session_id = 's'")
        await turn.execute("INSERT INTO context_frames (session_id, version, time, token) VALUES ('s', 4, 0, '')")
        removal = asyncio.ensure_future(store.delete(["s"]))
        await waiting(url, 1)
        late = asyncio.ensure_future(commit(other, append("s", etag)))
        await asyncio.sleep(0.01)
        await turn.execute("COMMIT")
    assert await removal == 1
    assert (await late)[0].time is None
    assert [await execute(url, f"SELECT FROM {table}") for table in ("session_etags", "context_frames")] == [[], []]
    await grow(store, "s", 4)
    assert (await commit(other, append("s", etag)))[0] == (None, None)
    await assert_whole(url)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
@pytest.mark.parametrize("remove", [delete, restore, replace, fold])
async def test_rows_are_waited_for_also_where_transactions_are_isolated_more_strictly(
    url: str, clock: ManualClock, isolation: str, remove: Callable[[PostgresSessionStore, Etag], Awaitable[object]]
) -> None:
    setting = f"-cdefault_transaction_isolation%3D{isolation.replace(' ', '%5C%20')}"
    store = PostgresSessionStore(f"{url}%20{setting}", clock=clock)
    etag = await grow(store, "s", 3)
    async with transaction(url) as other:
        await other.execute("UPDATE session_etags SET updated_at = 1; UPDATE context_heads SET written_at = 1")
        removal = asyncio.ensure_future(remove(store, etag))
        await waiting(url, 1)
        await other.execute("COMMIT")
    assert await removal
    await assert_whole(url)
    await store.aclose()


async def test_rotation_and_delete_wait_for_one_another(
    store: PostgresSessionStore, other: PostgresSessionStore, url: str
) -> None:
    for first, second in ((delete, replace), (replace, delete)):
        etag = await grow(store, "s", 3)
        await moved(store, "s", 2, added=[new_block("history", 0, 1)])
        async with transaction(url, HEAD, "s"):
            one = asyncio.ensure_future(first(store, etag))
            await waiting(url, 1)
            two = asyncio.ensure_future(second(other, etag))
            await waiting(url, 2)
        assert await one
        assert await two == (0 if second is replace else 1)
        await assert_whole(url)
        assert await store.read("s") is None


async def test_two_checkpoints_at_once_write_one_head(
    store: PostgresSessionStore, other: PostgresSessionStore, url: str
) -> None:
    await grow(store, "s", 3)
    async with transaction(url, HEAD, "s"):
        both = asyncio.gather(checkpoint(store), checkpoint(other))
        await waiting(url, 2)
    assert sorted(map(bool, await both)) == [False, True]
    await assert_whole(url)


async def test_a_delete_that_waits_for_a_recovery_takes_all_of_it(store: PostgresSessionStore, url: str) -> None:
    """Its row is renamed by then, and a new one has its name."""
    await grow(store, "s", 3)
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("SELECT FROM session_etags WHERE session_id = 's' FOR UPDATE")
        deleting = asyncio.ensure_future(store.delete(["s", "s-aside"]))
        await asyncio.sleep(0.2)
        for table in TABLES:
            await connection.execute(f"UPDATE {table} SET session_id = 's-aside' WHERE session_id = 's'")
        await connection.execute(
            """INSERT INTO session_etags (session_id, user_id, created_at, epoch, version, updated_at, messages, token)
            VALUES ('s', 'u', 1, 1, 4, 1, 0, 'x')"""
        )
    await deleting
    await connection.close()
    for table in TABLES:
        assert await execute(url, f"SELECT session_id FROM {table}") == []


async def test_everything_at_once(
    store: PostgresSessionStore, other: PostgresSessionStore, url: str, effort: int
) -> None:
    """Until all of it has happened a few hundred times: turns, checkpoints, rotation, deletes, restorations."""

    async def work(store: PostgresSessionStore, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(60 * effort):
            etag = (await store.etags(["s"])).get("s")
            if etag is None:
                await commit(store, creation("s"))
                continue
            jobs = (checkpoint(store), commit(store, append("s", etag)), replace(store, etag), delete(store, etag))
            rare = (restore(store, etag), store.delete(["s!1"]))
            job = dice.choices((*jobs, *rare), weights=(6, 6, 2, 1, 1, 1))[0]
            for left in {*jobs, *rare} - {job}:
                left.close()
            try:
                await job
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                assert "PostgreSQL" in str(error)  # noqa: PT017 - which of the two does not matter

    await asyncio.gather(*(work(one, seed) for seed, one in enumerate((store, other) * 3)))
    await assert_whole(url)
