"""What Redis serves, what it must not, and how it comes to have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from tests.stores.changes import append, committed, creation, grow, moved, new_block, new_head

from swisper_ctx import Message, SessionCache, SwisperContext, serialize_context
from swisper_ctx.errors import StoreUnavailableError
from swisper_ctx.log import Checkpoint, Etag, StoredSession
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.redis import RedisCache
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.changes import folded
from swisper_ctx.testing.faults import Hang, fails

pytestmark = pytest.mark.servers
KEY = "swisper:{s}"


async def asked(cache: RedisCache, truth: FaultyStore, reading: Any) -> tuple[Any, list[str]]:
    """The answer, and what the truth was asked for it."""
    await cache.settle()
    truth.calls.clear()
    found = await reading
    await cache.settle()
    return found, list(truth.calls)


async def test_what_was_saved_is_served_by_redis(cache: RedisCache, truth: FaultyStore) -> None:
    await grow(cache, "s", 5)
    found, calls = await asked(cache, truth, cache.read("s"))
    assert (found, calls) == (await truth.read("s"), ["etags"])
    assert (cache.counts.fills, cache.counts.appends, cache.counts.hits) == (1, 4, 1)


async def test_a_session_that_is_not_there_is_filled_by_the_first_read(
    cache: RedisCache, truth: FaultyStore, client: redis.Redis
) -> None:
    now = await grow(truth, "s", 3)
    await moved(truth, "s", 2, added=[new_block("history", at, 10) for at in range(3)])
    found, calls = await asked(cache, truth, cache.read("s"))
    assert calls == ["etags", "read"]
    assert await asked(cache, truth, cache.read("s")) == (found, ["etags"])
    assert client.hget(KEY, "l") is None
    assert 3_500 < client.ttl(KEY) <= 3_600
    await committed(cache, append("s", now))
    assert (await asked(cache, truth, cache.read("s")))[1] == ["etags"]


async def test_frames_after_an_etag_come_from_redis_where_it_has_them(cache: RedisCache, truth: FaultyStore) -> None:
    await grow(cache, "s", 5)
    await moved(cache, "s", 2)
    for after in range(7):
        etag = Etag(after, bytes(16))
        found, calls = await asked(cache, truth, cache.read("s", after=etag))
        assert found == await truth.read("s", after=etag)
        assert calls == (["etags"] if after >= 2 else ["etags", "read"])


async def test_tails_and_their_history_come_from_redis(cache: RedisCache, truth: FaultyStore) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    context.conversation_history.extend(Message("user", f"{number} " + "x" * 900) for number in range(300))
    context.metadata["large"] = "y" * 40_000
    await cache.save_session(context)
    assert await folded(cache, context)
    context.conversation_history.append(Message("user", "last"))
    await cache.save_session(context)
    tail, calls = await asked(cache, truth, cache.load_session("s", tail=3))
    assert calls == ["etags"]
    assert tail.conversation_history[-1].content == "last"
    assert tail._position.snapshot.missing
    _, calls = await asked(cache, truth, tail.load_history())
    assert calls == ["etags"]
    assert serialize_context(tail) == serialize_context(context)
    for records in (0, 1, 70, 200, 1_000):
        assert await cache.read("s", tail=records) == await truth.read("s", tail=records)


async def test_another_version_is_not_served(cache: RedisCache, truth: FaultyStore) -> None:
    now = await grow(cache, "s", 3)
    await cache.settle()
    await committed(truth, append("s", now))
    found, calls = await asked(cache, truth, cache.read("s"))
    assert calls == ["etags", "read"]
    assert found == await truth.read("s")
    assert cache.counts.stale == 1
    assert (await asked(cache, truth, cache.read("s")))[1] == ["etags"]


async def test_a_save_that_missed_one_drops_what_is_there(
    cache: RedisCache, truth: FaultyStore, client: redis.Redis
) -> None:
    now = await grow(cache, "s", 3)
    await cache.settle()
    elsewhere = await committed(truth, append("s", now))
    await committed(cache, append("s", elsewhere))
    await cache.settle()
    assert not client.exists(KEY)


async def test_one_deleted_and_made_again_elsewhere_is_not_taken_for_the_old_one(
    cache: RedisCache, truth: FaultyStore
) -> None:
    await grow(cache, "s", 3)
    await cache.settle()
    await truth.delete(["s"])
    await grow(truth, "s", 3)
    assert await cache.read("s") == await truth.read("s")
    assert await cache.read("s", after=Etag(1, b"")) == await truth.read("s", after=Etag(1, b""))


async def test_of_one_deleted_elsewhere_nothing_is_left(
    cache: RedisCache, truth: FaultyStore, client: redis.Redis
) -> None:
    await grow(cache, "s", 3)
    await cache.settle()
    await truth.delete(["s"])
    assert await cache.read("s") is None
    await cache.settle()
    assert not client.exists(KEY)


async def test_a_late_fill_puts_nothing_old_there(cache: RedisCache, truth: FaultyStore, client: redis.Redis) -> None:
    """A read that hangs between the store and Redis while the session goes on."""
    now = await grow(truth, "s", 2)
    held = await overtaken(cache, truth)
    await committed(cache, append("s", now))
    await cache._appender.drain()
    held.release()
    await cache.settle()
    assert client.hget(KEY, "e") is None, "the save has taken the lease"
    assert (await cache.read("s")) == await truth.read("s")


async def test_a_late_fill_brings_nothing_back_that_was_deleted(
    cache: RedisCache, truth: FaultyStore, client: redis.Redis
) -> None:
    await grow(truth, "s", 2)
    held = await overtaken(cache, truth)
    await cache.delete_session("s")
    held.release()
    await cache.settle()
    assert client.keys() == []


class Held:
    """Holds the answer of a read back until it is released."""

    def __init__(self) -> None:
        self.reached, self._go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, call: Any) -> Any:
        found = await call()
        self.reached.set()
        await self._go_on.wait()
        return found

    def release(self) -> None:
        self._go_on.set()


async def overtaken(cache: RedisCache, truth: FaultyStore) -> Held:
    """A whole read that has read the truth, and does not get on with it before it is released."""
    held = Held()
    truth.inject("read", held)
    reading = asyncio.ensure_future(cache.read("s"))
    await held.reached.wait()
    reading.add_done_callback(lambda task: task.result())
    return held


async def test_a_create_fills_only_under_its_lease(cache: RedisCache, truth: FaultyStore, client: redis.Redis) -> None:
    """Deleted by another process between its commit and its way to Redis."""
    held = Held()
    truth.inject("commit", held)
    creating = asyncio.ensure_future(cache.commit([creation("s")]))
    await held.reached.wait()
    async with other_process(cache) as other:
        assert await other.delete(["s"]) == 1
    held.release()
    await creating
    await cache.settle()
    assert client.keys() == []


@asynccontextmanager
async def other_process(cache: RedisCache) -> AsyncIterator[RedisCache]:
    """Another cache of the same Redis over the same truth."""
    other = RedisCache(cache._hashes._url, cache.store)
    yield other
    await other.settle()
    await other._hashes.aclose()


async def test_a_checkpoint_moves_what_is_there(cache: RedisCache, truth: FaultyStore, client: redis.Redis) -> None:
    now = await grow(cache, "s", 5)
    old = [new_block("history", at, 10) for at in range(2)]
    await moved(cache, "s", 3, added=old)
    await moved(cache, "s", 4, added=[new_block("history", 5, 3)], dropped=[old[0].block_id])
    found, calls = await asked(cache, truth, cache.read("s"))
    assert calls == ["etags"]
    assert found == await truth.read("s")
    assert {field[:1] for field in client.hkeys(KEY)} == set(b"e x u h n d b f".split())
    assert size_of(client) == int(client.hget(KEY, "n") or 0)
    await committed(cache, append("s", now))
    await cache.settle()
    assert size_of(client) == int(client.hget(KEY, "n") or 0)


def size_of(client: redis.Redis) -> int:
    """The bytes of values, as scripts count them: `e` and `x` keep their length."""
    return sum(len(value) for field, value in client.hgetall(KEY).items() if field != b"n")


async def test_a_checkpoint_that_redis_missed_is_made_up_for(cache: RedisCache, truth: FaultyStore) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    context.conversation_history.append(Message("user", "one"))
    await cache.save_session(context)
    await cache.settle()
    other = await truth.load_session("s")
    assert other is not None
    assert await folded(truth, other)
    stale = await cache.load_session("s")
    assert stale is not None
    assert not await folded(cache, stale), "Redis has the head before"
    again = await cache.load_session("s")
    assert again is not None
    assert await folded(cache, again)


async def test_a_session_that_is_too_large_is_not_there(redis_url: str, client: redis.Redis) -> None:
    cache = RedisCache(redis_url, MemorySessionStore(), max_bytes=10_000)
    now = await committed(cache, creation("s", frame=b"x" * 4_000))
    await cache.settle()
    assert client.exists(KEY)
    now = await committed(cache, append("s", now, frame=b"y" * 4_000))
    now = await committed(cache, append("s", now, frame=b"z" * 4_000))
    await cache.settle()
    assert not client.exists(KEY)
    assert await cache.read("s")
    await cache.settle()
    assert client.hkeys(KEY) == [b"l"]
    await committed(cache, append("s", now, frame=b"z" * 11_000))
    await committed(cache, creation("t", frame=b"z" * 11_000))
    await cache.settle()
    assert client.keys() == []
    await cache.aclose()


async def test_only_writes_let_a_session_live_on(redis_url: str, client: redis.Redis) -> None:
    cache = RedisCache(redis_url, MemorySessionStore(), ttl=100)
    now = await grow(cache, "s", 2)
    await cache.settle()
    client.expire(KEY, 10)
    await cache.read("s")
    assert client.ttl(KEY) <= 10
    await committed(cache, append("s", now))
    await cache.settle()
    assert 90 < client.ttl(KEY) <= 100
    await cache.aclose()


async def test_bytes_that_are_replaced_leave_redis(cache: RedisCache, truth: FaultyStore, client: redis.Redis) -> None:
    await grow(cache, "s", 3)
    await cache.settle()
    bodies = await cache.bodies("s")
    await cache.replace("s", [(body, b"other") for body in bodies])
    assert not client.exists(KEY)
    assert await cache.read("s") == await truth.read("s")


async def test_a_thousand_readers_of_a_cold_key_make_one_load(cache: RedisCache, truth: FaultyStore) -> None:
    await grow(truth, "s", 3)
    found, calls = await asked(cache, truth, asyncio.gather(*(cache.read("s") for _ in range(1_000))))
    assert calls == ["etags", "read"]
    assert found == [await truth.read("s")] * 1_000


async def test_also_through_a_cache_in_memory(cache: RedisCache, truth: FaultyStore) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    await truth.save_session(context)
    outer = SessionCache(cache)
    found, calls = await asked(cache, truth, asyncio.gather(*(outer.load_session("s") for _ in range(1_000))))
    assert calls == ["etags", "read"]
    assert {context.user_id for context in found if context is not None} == {"u"}


async def test_a_read_joins_none_that_has_begun(cache: RedisCache, truth: FaultyStore) -> None:
    now = await grow(cache, "s", 2)
    await cache.settle()
    hang = Hang()
    truth.inject("etags", hang)
    early = asyncio.ensure_future(cache.read("s"))
    await hang.reached.wait()
    now = await committed(truth, append("s", now))
    late = asyncio.ensure_future(cache.read("s"))
    hang.release()
    found = await late
    assert found is not None
    assert found.etag == now
    assert await early is not None


async def test_a_reader_who_goes_away_takes_nobody_along(cache: RedisCache, truth: FaultyStore) -> None:
    await grow(truth, "s", 2)
    readers = [asyncio.ensure_future(cache.read("s")) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    assert await readers[1] == await readers[2] == await truth.read("s")


async def test_while_the_truth_is_away_redis_serves_nothing(cache: RedisCache, truth: FaultyStore) -> None:
    await grow(cache, "s", 2)
    await cache.settle()
    truth.inject("etags", *[fails()] * 2)
    for after in (None, Etag(1, b"")):
        with pytest.raises(StoreUnavailableError):
            await cache.read("s", after=after)
    assert await cache.read("s") is not None


async def test_two_processes_take_turns(cache: RedisCache, truth: FaultyStore) -> None:
    async with other_process(cache) as other:
        stores: list[SessionStore] = [cache, other]
        context = SwisperContext(session_id="s", user_id="u")
        await cache.save_session(context)
        for turn in range(30):
            await cache.settle()
            await other.settle()
            loaded = await stores[turn % 2].load_session("s")
            assert loaded is not None
            assert [message.content for message in loaded.conversation_history] == [str(n) for n in range(turn)]
            loaded.conversation_history.append(Message("user", str(turn)))
            await stores[turn % 2].save_session(loaded)
    assert other.counts.hits + cache.counts.hits == 30
    assert "read" not in truth.calls


async def test_what_is_read_from_redis_is_what_the_truth_has(cache: RedisCache, truth: FaultyStore) -> None:
    now = await committed(cache, creation("s", expires_at=2**60))
    now = await committed(cache, append("s", now, change_id="named", messages=3))
    now = await committed(cache, append("s", now, expires_at=2**61, change_id=""))
    await committed(cache, append("s", now))
    found, calls = await asked(cache, truth, cache.read("s"))
    assert calls == ["etags"]
    assert isinstance(found, StoredSession)
    assert found == await truth.read("s")
    assert found.expires_at == 2**61


async def test_a_late_fill_does_not_bring_back_the_head_before(cache: RedisCache, truth: FaultyStore) -> None:
    await grow(truth, "s", 3)
    held = await overtaken(cache, truth)
    whole = await truth.read("s")
    assert whole is not None
    assert whole.head is not None
    assert await cache.checkpoint(Checkpoint("s", whole.head.stamp, new_head(2), (), ()))
    held.release()
    assert await cache.read("s") == await truth.read("s")


async def test_a_checkpoint_while_redis_is_away_is_made_up_for(cache: RedisCache, truth: FaultyStore) -> None:
    await grow(cache, "s", 3)
    await cache.settle()
    whole = await cache.read("s")
    assert whole is not None
    assert whole.head is not None
    cache._hashes.breaker.open()
    assert await cache.checkpoint(Checkpoint("s", whole.head.stamp, new_head(2), (), ()))
    await cache._hashes._probed()
    assert cache._hashes.may_ask()
    assert await cache.read("s") == await truth.read("s")


@pytest.mark.parametrize("value", [b"", b"x", b"\xff" * 60])
@pytest.mark.parametrize("field", ["e", "x", "u", "h", "n"])
async def test_scripts_take_any_bytes(
    cache: RedisCache, truth: FaultyStore, client: redis.Redis, field: str, value: bytes
) -> None:
    async def damaged(session_id: str) -> Etag:
        now = await grow(cache, session_id, 3)
        await cache.settle()
        client.hset(f"swisper:{{{session_id}}}", field, value)
        return now

    await committed(cache, append("a", await damaged("a")))
    for name, after, tail in (("b", Etag(1, b""), None), ("c", None, 1), ("d", None, None)):
        await damaged(name)
        assert await cache.read(name, after=after, tail=tail) == await truth.read(name, after=after, tail=tail)
    await damaged("s")
    whole = await truth.read("s")
    assert whole is not None
    assert whole.head is not None
    assert await cache.checkpoint(Checkpoint("s", whole.head.stamp, new_head(2), (), ()))
    await cache.settle()
    for name in "abcds":
        assert await cache.read(name) == await truth.read(name)
    assert cache.counts.outages == 0
