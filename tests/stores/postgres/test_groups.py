"""Groups of which some cannot be written: the others are, and nobody waits long."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from tests.stores.postgres.locks import LOCK, assert_whole, transaction
from tests.stores.postgres.schemas import execute

from swisper_ctx import ConflictError, Message, StoreUnavailableError, SwisperContext
from swisper_ctx.log import Change, CommitResult, Etag
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing import ManualClock
from swisper_ctx.testing.changes import append, creation

pytestmark = pytest.mark.servers
FRAME = "INSERT INTO context_frames (session_id, version, time, token) VALUES ($1, $2, 0, '')"
SESSION = """
    INSERT INTO session_etags (session_id, user_id, created_at, epoch, version, messages, updated_at, token)
    VALUES ($1, 'u', 0, 0, 1, 0, 0, '')
"""


async def created(store: PostgresSessionStore, count: int) -> dict[str, Etag]:
    changes = [creation(f"s{number:03}") for number in range(count)]
    assert all(result.time for result in await store.commit(changes))
    return {change.session_id: change.etag for change in changes}


def told(results: list[CommitResult]) -> Counter[str]:
    return Counter(
        type(result.error).__name__ if result.error else "committed" if result.time else "refused" for result in results
    )


async def assert_committed(url: str, changes: list[Change], results: list[CommitResult]) -> None:
    """Those that were answered as written, and no others, are there, with their frames."""
    written = {change.etag.token for change, result in zip(changes, results, strict=True) if result.time}
    tokens = {change.etag.token for change in changes}
    for table in ("session_etags", "context_frames"):
        found = await execute(url, f"SELECT token FROM {table} WHERE token = ANY($1::bytea[])", list(tokens))
        assert {row[0] for row in found} == written
    assert written


async def test_of_200_those_that_can_be_appended_are(store: PostgresSessionStore, url: str) -> None:
    etags = await created(store, 200)
    changes = [append(name, etag, change_id=name) for name, etag in etags.items()]
    changes.append(append("s010", etags["s010"]))
    changes.append(append("s\0", etags["s020"]))
    changes.append(append("s030", Etag(1, bytes(16))))
    changes[40] = append("s040", etags["s040"], change_id="x\0")
    await execute(url, FRAME, "s050", 2)
    async with transaction(url, LOCK, "s060"):
        began = time.monotonic()
        results = await store.commit(changes)
        assert time.monotonic() - began < 10
    assert told(results) == {"committed": 197, "refused": 2, "StoreError": 3, "StoreUnavailableError": 1}
    assert isinstance(results[60].error, StoreUnavailableError)
    await assert_committed(url, changes, results)
    await execute(url, "DELETE FROM context_frames WHERE token = ''")
    await assert_whole(url)


async def test_of_200_those_that_can_be_created_are(store: PostgresSessionStore, url: str) -> None:
    etags = await created(store, 1)
    changes = [creation(f"s{number:03}") for number in range(200)]
    changes += [creation("s010"), append("s020", etags["s000"]), creation("s\0"), creation("s", change_id="x" * 10_000)]
    changes.append(creation("".join(chr(0x4E00 + number * 7 % 20_000) for number in range(3_000))))
    await execute(url, FRAME, "s050", 1)
    async with transaction(url, SESSION, "s060"):
        began = time.monotonic()
        results = await store.commit(changes)
        assert time.monotonic() - began < 10
    assert told(results) == {"committed": 198, "refused": 3, "StoreError": 3, "StoreUnavailableError": 1}
    assert isinstance(results[60].error, StoreUnavailableError)
    await assert_committed(url, changes, results)
    await execute(url, "DELETE FROM context_frames WHERE token = ''")
    await assert_whole(url)


async def test_what_was_created_is_told_though_another_place_cannot_be_taken(
    store: PostgresSessionStore, url: str
) -> None:
    """The place of a session that has expired, whose head somebody holds."""
    await store.commit([creation("old", expires_at=store._clock() - 1)])
    changes = [creation("new"), creation("old")]
    async with transaction(url, "SELECT FROM context_heads FOR UPDATE"):
        results = await store.commit(changes)
    assert told(results) == {"committed": 1, "StoreUnavailableError": 1}
    await assert_committed(url, changes, results)


async def test_who_takes_the_place_of_what_has_expired_waits_for_whoever_holds_it(
    store: PostgresSessionStore, url: str, clock: ManualClock
) -> None:
    await store.commit([creation("s", expires_at=clock() + 1)])
    clock.advance(2)
    context, refused = SwisperContext(session_id="s", user_id="other"), asyncio.Event()
    store.on_event = lambda name, details: refused.set() if name == "session_refused" else None
    async with transaction(url, LOCK, "s"):
        saving = asyncio.ensure_future(store.save_session(context))
        await asyncio.wait_for(refused.wait(), 10)
    await saving
    assert context.version == 1
    assert [line.user_id for line in (await store.sessions()).sessions] == ["other"]
    await assert_whole(url)


async def test_two_groups_and_a_transaction_in_the_opposite_order(store: PostgresSessionStore, url: str) -> None:
    etags = await created(store, 100)
    async with transaction(url, LOCK, "s099") as other:
        names = [*etags]
        changes = [append(name, etags[name]) for name in names[:1] + names[50:]]
        others = [append(name, etags[name]) for name in names[1:50]]
        both = asyncio.gather(store.commit(changes), store.commit(others))
        await asyncio.sleep(0.02)
        # What the groups hold by now, or will want in a moment.
        await other.execute("SELECT FROM session_etags ORDER BY session_id DESC FOR UPDATE")
        await other.execute("COMMIT")
    answers = await both
    assert all(isinstance(result.error, StoreUnavailableError | None) for results in answers for result in results)
    left = [
        change
        for group, results in zip((changes, others), answers, strict=True)
        for change, result in zip(group, results, strict=True)
        if result.time is None
    ]
    assert not left or told(await store.commit(left)) == {"committed": len(left)}
    assert set((await store.etags(etags)).values()) == {change.etag for change in changes + others}
    await assert_whole(url)


async def test_a_caller_that_is_cancelled_takes_nobody_with_it(store: PostgresSessionStore, url: str) -> None:
    contexts = [SwisperContext(session_id=f"s{number:03}", user_id="u") for number in range(200)]
    await asyncio.gather(*(store.save_session(context) for context in contexts))
    for context in contexts:
        context.conversation_history.append(Message("user", "hello"))
    twin = await store.load_session("s001")
    assert twin is not None
    twin.metadata["x"] = contexts[1].metadata["x"] = 0
    contexts[1].metadata["x"] = 1
    async with transaction(url, LOCK, "s002"):
        saves = [asyncio.ensure_future(store.save_session(context)) for context in [*contexts, twin]]
        await asyncio.sleep(0.001)
        for save in saves[:50:10]:
            save.cancel()
        answers = await asyncio.gather(*saves, return_exceptions=True)
    errors = Counter(type(answer) for answer in answers)
    assert errors == {type(None): 194, asyncio.CancelledError: 5, StoreUnavailableError: 1, ConflictError: 1}
    await store.save_session(contexts[2])
    assert all(context.version == 2 for context in contexts)
    versions = await execute(url, "SELECT count(*), max(version), sum(version)::int FROM session_etags")
    assert tuple(versions[0]) == (200, 2, 400)
    assert tuple((await execute(url, "SELECT count(*) FROM context_frames"))[0]) == (400,)
    await assert_whole(url)
