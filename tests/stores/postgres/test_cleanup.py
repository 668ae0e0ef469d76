"""Cleaning up from two processes, beside turns: each session is counted by one of them, and those alive stay."""

from __future__ import annotations

import asyncio

import pytest
from tests.stores.postgres.locks import LOCK, assert_whole, transaction
from tests.stores.postgres.schemas import execute

from swisper_ctx import ConflictError, Message, StoreError, SwisperContext
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing import ManualClock
from swisper_ctx.testing.changes import append, commit, creation, grow
from swisper_ctx.testing.clock import MINUTE

pytestmark = pytest.mark.servers


async def test_two_processes_clean_up_beside_turns(url: str, clock: ManualClock) -> None:
    one, other, turns = (PostgresSessionStore(url, clock=clock) for _ in range(3))
    expiries = {f"s{number:03}": clock() + (MINUTE if number % 4 else 60 * MINUTE) for number in range(400)}
    await turns.commit([creation(name, expires_at=expiry) for name, expiry in expiries.items()])
    alive = [name for name, expiry in expiries.items() if expiry > clock() + MINUTE]
    contexts = [SwisperContext(session_id=f"c{number}", user_id="u") for number in range(20)]
    await asyncio.gather(*(turns.save_session(context) for context in contexts))
    clock.advance(2 * MINUTE)

    async def converse(context: SwisperContext) -> None:
        for _ in range(5):
            context.conversation_history.append(Message("user", "hello"))
            await turns.save_session(context)

    async def extend(name: str) -> None:
        etag = (await turns.etags([name]))[name]
        (result,) = await commit(turns, append(name, etag, expires_at=clock() + MINUTE))
        assert result.time is not None

    counted = asyncio.gather(one.cleanup_expired_sessions(), other.cleanup_expired_sessions())
    await asyncio.gather(*map(converse, contexts), *map(extend, alive))
    assert sum(await counted) == 300
    assert {row[0] for row in await execute(url, "SELECT session_id FROM session_etags")} == {
        *alive,
        *(context.session_id for context in contexts),
    }
    await assert_whole(url)
    for store in (one, other, turns):
        await store.aclose()


async def test_a_session_that_somebody_holds_is_left_for_the_next_time(
    store: PostgresSessionStore, url: str, clock: ManualClock
) -> None:
    await store.commit([creation(name, expires_at=clock() + MINUTE) for name in ("a", "b", "c")])
    clock.advance(2 * MINUTE)
    async with transaction(url, LOCK, "b"):
        assert await store.cleanup_expired_sessions() == 2
    assert await store.cleanup_expired_sessions() == 1
    await assert_whole(url)


async def test_a_turn_that_keeps_a_session_alive_while_it_is_about_to_be_deleted(
    store: PostgresSessionStore, url: str, clock: ManualClock
) -> None:
    """The turn commits between the listing of what has expired and its deletion."""
    etag = await grow(store, "s", 2)
    await execute(url, "UPDATE session_etags SET expires_at = $1", clock() + MINUTE)
    clock.advance(2 * MINUTE)
    listed = await store.sessions(expired=True)
    await execute(url, "UPDATE session_etags SET expires_at = $1", clock() + MINUTE)
    assert await store.delete([line.session_id for line in listed.sessions], expired=True) == 0
    assert await store.etags(["s"]) == {"s": etag}


async def test_an_expired_session_is_replaced_by_one_of_two_creators(
    store: PostgresSessionStore, url: str, clock: ManualClock
) -> None:
    await store.commit([creation("s", expires_at=clock() + MINUTE)])
    clock.advance(2 * MINUTE)
    other = PostgresSessionStore(url, clock=clock)
    contexts = [SwisperContext(session_id="s", user_id="u") for _ in range(6)]
    stores = [store, other] * 3
    answers = await asyncio.gather(
        *(one.save_session(context) for one, context in zip(stores, contexts, strict=True)),
        other.cleanup_expired_sessions(),
        return_exceptions=True,
    )
    assert answers[:6].count(None) == 1
    assert sum(isinstance(answer, ConflictError) for answer in answers[:6]) == 5
    await assert_whole(url)
    await other.aclose()


async def test_two_processes_that_each_have_what_the_other_has_set_aside(
    store: PostgresSessionStore, url: str, clock: ManualClock
) -> None:
    other = PostgresSessionStore(url, clock=clock)
    mine, theirs = ["s", "t~quarantine-1"], ["t", "s~quarantine-1"]
    for _ in range(20):
        await store.commit([creation(name, expires_at=clock() + MINUTE) for name in mine + theirs])
        clock.advance(2 * MINUTE)
        counted = await asyncio.gather(store.delete(mine, expired=True), other.delete(theirs, expired=True))
        left = [row[0] for row in await execute(url, "SELECT session_id FROM session_etags ORDER BY session_id")]
        assert sum(counted) + len(left) == 4
        # Nothing goes whose session stays.
        assert all(name.partition("~")[0] in left for name in left)
        await store.delete(left, expired=True)
        await assert_whole(url)
    await other.aclose()


async def test_a_session_of_which_something_in_quarantine_is_held_stays_with_all_of_it(
    store: PostgresSessionStore, url: str, clock: ManualClock
) -> None:
    names = ["s", "s~quarantine-1", "s~quarantine-2", "t", "t~quarantine-1"]
    await store.commit([creation(name, expires_at=clock() + MINUTE) for name in ("s", "t")])
    await store.commit([creation(name) for name in names if "~" in name])
    clock.advance(2 * MINUTE)
    async with transaction(url, LOCK, "s~quarantine-2"):
        assert await store.cleanup_expired_sessions() == 2
        left = await execute(url, "SELECT session_id FROM session_etags ORDER BY session_id")
        assert [row[0] for row in left] == names[:3]
    assert await store.cleanup_expired_sessions() == 3
    await assert_whole(url)


async def test_pages_of_what_has_expired_go_from_the_last_expiry_to_the_first(
    store: PostgresSessionStore, clock: ManualClock
) -> None:
    expiries = {"a": 3, "b": 1, "c": 3, "d": 2, "e": 3, "f": 9}
    await store.commit([creation(name, expires_at=clock() + after) for name, after in expiries.items()])
    clock.advance(5)
    first = await store.sessions(expired=True, limit=2)
    await store.delete(["e", "c"], expired=True)
    second = await store.sessions(expired=True, limit=2, cursor=first.cursor)
    last = await store.sessions(expired=True, limit=2, cursor=second.cursor)
    assert [[line.session_id for line in page.sessions] for page in (first, second, last)] == [
        ["e", "c"],
        ["a", "d"],
        ["b"],
    ]
    assert last.cursor is None
    for cursor in ("5", "5.", "5.x", "1.2.3"):
        with pytest.raises(StoreError, match="cursor"):
            await store.sessions(expired=True, cursor=cursor)
