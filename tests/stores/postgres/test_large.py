"""Frames that go to the server in pieces: written as others are, whole or not at all."""

from __future__ import annotations

import asyncio
import os
from time import monotonic

import asyncpg
import pytest
from tests.servers.proxy import BlackHole, FaultProxy, Pass, Refuse
from tests.stores.postgres.locks import LOCK, assert_whole, transaction
from tests.stores.postgres.schemas import execute

from swisper_ctx import OutcomeUnknownError, StoreError, StoreUnavailableError
from swisper_ctx.log import CommitResult, Etag
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.stores.postgres.large import LARGE, LIMITS, PAUSE, PIECE
from swisper_ctx.testing import ManualClock
from swisper_ctx.testing.changes import append, commit, committed, creation, grow
from swisper_ctx.testing.clock import MINUTE

pytestmark = pytest.mark.servers
SESSION = "SELECT version, token, messages, expires_at, updated_at FROM session_etags WHERE session_id = 'é'"
END_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'swisper_ctx' AND query LIKE 'COPY %'
"""
SIZES = [LARGE - 1, LARGE, LARGE + 1, 2 * LARGE + PIECE, 2 * LARGE + PIECE - 1]


@pytest.mark.parametrize("size", SIZES)
async def test_a_frame_of_any_size_is_written_as_it_is(
    store: PostgresSessionStore, url: str, clock: ManualClock, size: int
) -> None:
    first = await committed(store, creation("é", expires_at=clock() + MINUTE))
    clock.advance(5)
    frame = os.urandom(size)
    etag = await committed(store, append("é", first, frame=frame, messages=7, expires_at=clock() + 2 * MINUTE))
    ((*row,),) = await execute(url, SESSION)
    assert row == [2, etag.token, 7, clock() + 2 * MINUTE, clock()]
    (_, written) = await store.frames("é")
    assert written == (2, etag.token, None, clock(), frame)
    after = await committed(store, append("é", etag))
    assert await store.etags(["é"]) == {"é": after}
    await assert_whole(url)


async def test_one_that_is_refused_sends_and_changes_nothing(store: PostgresSessionStore, clock: ManualClock) -> None:
    etag = await grow(store, "s", 2)
    frame = bytes(LARGE)
    assert (await commit(store, append("s", Etag(2, bytes(16)), frame=frame)))[0] == (None, None)
    assert (await commit(store, append("unknown", etag, frame=frame)))[0] == (None, None)
    assert len(await store.frames("s")) == 2
    late = await committed(store, append("s", etag, expires_at=clock() + MINUTE))
    clock.advance(MINUTE)
    assert (await commit(store, append("s", late, frame=frame)))[0] == (None, None)


async def test_where_the_frame_cannot_be_written_the_session_does_not_move(
    store: PostgresSessionStore, url: str
) -> None:
    etag = await grow(store, "s", 2)
    await execute(url, "INSERT INTO context_frames (session_id, version, time, token) VALUES ('s', 3, 0, '')")
    (result,) = await commit(store, append("s", etag, frame=bytes(LARGE)))
    assert type(result.error) is StoreError
    assert await store.etags(["s"]) == {"s": etag}
    await execute(url, "DELETE FROM context_frames WHERE version = 3")
    await committed(store, append("s", etag, frame=bytes(LARGE)))
    await assert_whole(url)


async def test_a_row_that_somebody_holds_is_waited_for_as_with_others(store: PostgresSessionStore, url: str) -> None:
    etag = await grow(store, "s", 2)
    change = append("s", etag, frame=os.urandom(LARGE))
    async with transaction(url, LOCK, "s") as other:
        (result,) = await commit(store, change)
        assert type(result.error) is StoreUnavailableError
        committing = asyncio.ensure_future(commit(store, change))
        await asyncio.sleep(0.1)
        await other.execute("COMMIT")
        assert (await committing)[0].time is not None
    await assert_whole(url)


async def test_the_connections_for_groups_are_left_to_others(store: PostgresSessionStore, url: str) -> None:
    etag = await grow(store, "s", 2)
    connections = await store._connected()
    async with connections.writer(), connections.writer():
        after = await asyncio.wait_for(committed(store, append("s", etag, frame=bytes(LARGE))), 10)
    assert await store.etags(["s"]) == {"s": after}
    await assert_whole(url)


async def test_while_groups_wait_there_is_a_pause_after_each_piece(store: PostgresSessionStore, url: str) -> None:
    etag = await grow(store, "s", 2)
    connections = await store._connected()
    assert not connections.are_writers_busy()
    async with connections.writer():
        assert not connections.are_writers_busy()
        async with connections.writer():
            assert connections.are_writers_busy()
            begun = monotonic()
            await committed(store, append("s", etag, frame=bytes(4 * LARGE)))
    assert monotonic() - begun >= 4 * LARGE / PIECE * PAUSE
    await assert_whole(url)


async def test_where_no_connection_of_the_pool_is_free_in_time_one_for_groups_does(url: str) -> None:
    store = PostgresSessionStore(url, min_size=1, max_size=1, acquire_timeout=0.2)
    etag = await grow(store, "s", 2)
    async with (await store._connected()).reader():
        await committed(store, append("s", etag, frame=bytes(LARGE)))
    await assert_whole(url)
    await store.aclose()


@pytest.mark.parametrize("change_id", [None, "turn"])
async def test_a_large_frame_waits_for_a_row_no_longer_than_others(url: str, change_id: str | None) -> None:
    store = PostgresSessionStore(url, command_timeout=60)
    etag = await grow(store, "s", 2)
    async with transaction(url, LOCK, "s"):
        change = append("s", etag, frame=bytes(LARGE), change_id=change_id)
        (result,) = await asyncio.wait_for(commit(store, change), 20)
        assert type(result.error) is StoreUnavailableError
    await store.aclose()


async def test_a_network_that_takes_no_more_pieces_ends_a_save_in_time(url: str) -> None:
    async with FaultProxy(url) as proxy:
        store = PostgresSessionStore(proxy.url, command_timeout=0.5, acquire_timeout=0.5)
        etag = await grow(store, "s", 2)
        change = append("s", etag, frame=os.urandom(16 * LARGE))
        committing = asyncio.ensure_future(commit(store, change))
        await pieces_on_their_way(proxy)
        await proxy.switch(BlackHole())
        (result,) = await in_time(committing)
        assert type(result.error) is OutcomeUnknownError
        await proxy.switch(Pass())
        await proxy.drop()
        other = await committed(store, creation("other"))
        await asyncio.wait_for(committed(store, append("other", other, frame=bytes(LARGE))), 10)
        await asyncio.wait_for(store.aclose(), 10)


async def test_a_connection_that_is_reset_while_the_network_takes_no_more(url: str) -> None:
    async with FaultProxy(url) as proxy:
        store = PostgresSessionStore(proxy.url, command_timeout=60)
        etag = await grow(store, "s", 2)
        change = append("s", etag, frame=os.urandom(16 * LARGE))
        committing = asyncio.ensure_future(commit(store, change))
        await pieces_on_their_way(proxy)
        await proxy.switch(BlackHole())
        await asyncio.sleep(0.2)
        await proxy.switch(Refuse())
        await proxy.switch(Pass())
        (result,) = await in_time(committing)
        assert result.time is not None
        await store.aclose()
    await assert_whole(url)


async def test_a_server_that_waits_for_pieces_asks_its_network(store: PostgresSessionStore) -> None:
    """What it shows is asked of the socket."""
    names = [f"tcp_keepalives_{name}" for name in ("idle", "interval", "count")]
    async with (await store._connected()).beside() as connection:
        before = [await connection.fetchval(f"SHOW {name}") for name in names]
        async with connection.transaction():
            await connection.execute(LIMITS)
            assert [await connection.fetchval(f"SHOW {name}") for name in names] == ["10", "5", "3"]
        assert [await connection.fetchval(f"SHOW {name}") for name in names] == before


async def test_a_server_that_ends_connections_between_pieces(url: str, effort: int) -> None:
    store = PostgresSessionStore(url)
    etag = await grow(store, "s", 1)
    for number in range(6 * effort):
        change = append("s", etag, frame=os.urandom(16 * LARGE))
        committing = asyncio.ensure_future(commit(store, change))
        await asyncio.sleep(number % 6 * 0.01)
        await execute(url, END_OTHERS)
        (result,) = await in_time(committing)
        assert result.time is not None
        etag = change.etag
    await assert_whole(url)
    await store.aclose()


async def in_time(committing: asyncio.Future[list[CommitResult]]) -> list[CommitResult]:
    """Its result, without cancelling it: that would end it, too."""
    done, _ = await asyncio.wait([committing], timeout=10)
    assert done
    return await committing


async def pieces_on_their_way(proxy: FaultProxy) -> None:
    before = proxy.requested
    while proxy.requested < before + 2 * LARGE:  # noqa: ASYNC110 - it only counts
        await asyncio.sleep(0)


async def test_a_pool_of_the_least_size_is_enough(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=0, max_size=3) as pool:
        store = PostgresSessionStore(pool=pool)
        etags = {name: await grow(store, name, 1) for name in "abcd"}
        changes = [append(name, etag, frame=bytes(LARGE)) for name, etag in etags.items()]
        done = await asyncio.wait_for(asyncio.gather(*(commit(store, change) for change in changes)), 20)
        assert all(result.time is not None for (result,) in done)
        await store.aclose()
    await assert_whole(url)


async def test_a_connection_that_is_lost_between_pieces(url: str, clock: ManualClock, effort: int) -> None:
    async with FaultProxy(url) as proxy:
        store = PostgresSessionStore(proxy.url, clock=clock)
        etag = await grow(store, "s", 1)
        for number in range(12 * effort):
            change = append("s", etag, frame=os.urandom(4 * LARGE))
            committing = asyncio.ensure_future(commit(store, change))
            await asyncio.sleep(number % 12 * 0.004)
            await proxy.drop()
            (result,) = await committing
            assert result.time is not None
            etag = change.etag
        assert [frame.version for frame in await store.frames("s")] == list(range(1, etag.version + 1))
        await assert_whole(url)
        await store.aclose()
