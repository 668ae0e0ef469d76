from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path

import pytest
from tests.stores.memory_bodies import bodies, remove_body, replace_body

from swisper_ctx import Message, PipelineExecution, PipelineSessionManager, SessionCache, SwisperContext
from swisper_ctx.errors import ConflictError, OutcomeUnknownError, StoreError, StoreUnavailableError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore, ManualClock, StoreContract
from swisper_ctx.testing.changes import folded
from swisper_ctx.testing.faults import Hang, fails, loses


class Seconds:
    """A monotonic clock that stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Watched(FaultyStore):
    """A store whose calls are counted."""

    def taken(self) -> list[str]:
        """What was called since the last time."""
        found = list(self.calls)
        self.calls.clear()
        return found


class TestSessionCache(StoreContract):
    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> SessionCache:
        # Damage behind the back of a cache is not its affair: nothing is kept in memory here.
        return SessionCache(MemorySessionStore(keep_versions=keep_versions, clock=clock), max_bytes=0)

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        assert isinstance(store, SessionCache)
        assert isinstance(store.persistent_store, MemorySessionStore)
        return bodies(store.persistent_store)

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        assert isinstance(store, SessionCache)
        assert isinstance(store.persistent_store, MemorySessionStore)
        replace_body(store.persistent_store, old, new)

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        assert isinstance(store, SessionCache)
        assert isinstance(store.persistent_store, MemorySessionStore)
        remove_body(store.persistent_store, old)


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def truth() -> MemorySessionStore:
    return MemorySessionStore()


@pytest.fixture
def watched(truth: MemorySessionStore) -> Watched:
    return Watched(truth)


@pytest.fixture
def cache(watched: Watched, seconds: Seconds) -> SessionCache:
    return SessionCache(watched, monotonic=seconds)


async def saved(store: SessionStore, turns: int = 1, session_id: str = "s") -> SwisperContext:
    context = SwisperContext(session_id=session_id, user_id="u")
    for number in range(turns):
        await say(store, context, f"text {number}")
    return context


async def say(store: SessionStore, context: SwisperContext, text: str) -> None:
    context.conversation_history.append(Message("user", text))
    await store.save_session(context)


async def load(store: SessionStore, session_id: str = "s", *, strict: bool = False) -> SwisperContext:
    context = await store.load_session(session_id, strict=strict)
    assert context is not None
    return context


def texts(context: SwisperContext) -> list[str]:
    return [str(message.content) for message in context.conversation_history]


async def test_what_was_saved_or_loaded_is_trusted_for_a_while(cache: SessionCache, watched: Watched) -> None:
    await saved(cache, 3)
    assert watched.taken() == ["sessions"] + ["commit"] * 3, "whether a key was forgotten is asked once"
    first, second = await load(cache), await load(cache)
    assert texts(first) == texts(second) == ["text 0", "text 1", "text 2"]
    assert watched.taken() == []


async def test_after_that_the_etag_is_asked_for(cache: SessionCache, watched: Watched, seconds: Seconds) -> None:
    await saved(cache)
    seconds.now += 1.5
    watched.taken()
    assert texts(await load(cache)) == ["text 0"]
    assert watched.taken() == ["etags"]
    assert texts(await load(cache)) == ["text 0"]
    assert watched.taken() == []
    assert texts(await load(cache, strict=True)) == ["text 0"]
    assert watched.taken() == ["etags"]


async def test_a_foreign_turn_is_caught_up_by_its_frame(
    cache: SessionCache, watched: Watched, truth: MemorySessionStore, seconds: Seconds
) -> None:
    await saved(cache, 5)
    other = await load(truth)
    await say(truth, other, "from elsewhere")
    assert len(texts(await load(cache))) == 5, "trusted as it is"
    seconds.now += 1.5
    watched.taken()
    context = await load(cache)
    assert texts(context)[5:] == ["from elsewhere"]
    assert watched.taken() == ["etags", "read"]
    await say(cache, context, "goes on")
    assert texts(await load(truth)) == texts(await load(cache))


async def test_a_save_that_is_found_written_is_not_taken_for_the_newest(
    cache: SessionCache, watched: Watched, truth: MemorySessionStore, seconds: Seconds
) -> None:
    context = await saved(cache)
    watched.inject("commit", loses())
    with pytest.raises(OutcomeUnknownError):
        await say(cache, context, "its answer is lost")
    await say(truth, await load(truth), "from elsewhere")
    seconds.now += 1.5
    await cache.save_session(context)
    assert context.version == 2
    assert texts(await load(cache)) == ["text 0", "its answer is lost", "from elsewhere"]


async def test_contexts_do_not_see_the_unsaved_edits_of_others(cache: SessionCache) -> None:
    context = await saved(cache)
    context.soft_preferences["nested"] = {"list": [1]}
    await cache.save_session(context)
    one, two = await load(cache), await load(cache)
    one.soft_preferences["nested"]["list"].append(2)
    one.conversation_history.append(Message("user", "unsaved"))
    context.soft_preferences.clear()
    assert two.soft_preferences == {"nested": {"list": [1]}}
    assert texts(two) == texts(await load(cache)) == ["text 0"]


async def test_a_session_that_was_deleted_and_made_again_shows_nothing_old(
    cache: SessionCache, truth: MemorySessionStore, seconds: Seconds
) -> None:
    await saved(cache, 2)
    await truth.delete(["s"])
    again = SwisperContext(session_id="s", user_id="u")
    await say(truth, again, "new 0")
    await say(truth, again, "new 1")
    assert texts(await load(cache, strict=True)) == ["new 0", "new 1"]
    await truth.delete(["s"])
    seconds.now += 2
    assert await cache.load_session("s") is None
    assert "s" not in cache.memory_cache


async def test_deleting_through_the_cache_is_seen_at_once(cache: SessionCache) -> None:
    await saved(cache)
    await cache.delete_session("s")
    assert await cache.get_session("s") is None


async def test_a_cold_key_is_loaded_once_for_all_who_ask(cache: SessionCache, watched: Watched) -> None:
    await saved(watched)
    watched.taken()
    found = await asyncio.gather(*(load(cache) for _ in range(100)))
    assert watched.taken() == ["read"]
    assert len({id(context) for context in found}) == 100


async def test_the_first_who_asks_may_go_away(cache: SessionCache, watched: Watched) -> None:
    await saved(watched)
    hang = Hang()
    watched.inject("read", hang)
    first = asyncio.ensure_future(load(cache))
    await hang.reached.wait()
    second = asyncio.ensure_future(load(cache))
    await asyncio.sleep(0)
    first.cancel()
    hang.release()
    assert texts(await second) == ["text 0"]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_failed_load_fails_all_who_joined_and_the_next_tries_again(
    cache: SessionCache, watched: Watched
) -> None:
    await saved(watched)
    watched.inject("read", fails())
    found = await asyncio.gather(load(cache), load(cache), return_exceptions=True)
    assert [type(error) for error in found] == [StoreUnavailableError] * 2
    assert texts(await load(cache)) == ["text 0"]


async def test_a_strict_load_joins_none_that_began_before_it(
    cache: SessionCache, watched: Watched, truth: MemorySessionStore
) -> None:
    await saved(truth)
    hang = Hang()
    watched.inject("read", hang)
    early = asyncio.ensure_future(load(cache))
    await hang.reached.wait()
    await say(truth, await load(truth), "meanwhile")
    assert texts(await load(cache, strict=True)) == ["text 0", "meanwhile"]
    hang.release()
    await early
    assert texts(await load(cache)) == ["text 0", "meanwhile"], "the early load fills nothing"


async def test_a_load_on_its_way_does_not_bring_back_what_a_save_has_replaced(
    cache: SessionCache, watched: Watched, truth: MemorySessionStore
) -> None:
    context = await saved(cache)
    cache.invalidate("s")
    reached, go_on = asyncio.Event(), asyncio.Event()
    read = truth.read

    async def slow_read(session_id: str, **options: int | None) -> object:
        found = await read(session_id)
        reached.set()
        await go_on.wait()
        return found

    truth.read = slow_read  # type: ignore[method-assign, assignment]
    early = asyncio.ensure_future(load(cache))
    await reached.wait()
    del truth.read
    await say(cache, context, "acknowledged")
    go_on.set()
    assert texts(await early) == ["text 0"]
    assert texts(await load(cache)) == ["text 0", "acknowledged"]


async def test_while_the_store_is_down_entries_serve_for_so_long_if_asked(watched: Watched, seconds: Seconds) -> None:
    cache = SessionCache(watched, monotonic=seconds, stale_if_error=60)
    await saved(cache)
    seconds.now += 30
    watched.inject("etags", *[fails()] * 3)
    assert texts(await load(cache)) == ["text 0"]
    with pytest.raises(StoreUnavailableError):
        await load(cache, strict=True)
    seconds.now += 31
    with pytest.raises(StoreUnavailableError):
        await load(cache)
    assert texts(await load(cache)) == ["text 0"], "it is back"


async def test_a_conflict_is_followed_by_the_newest_version(cache: SessionCache, truth: MemorySessionStore) -> None:
    await saved(cache)
    mine, theirs = await load(cache), await load(truth)
    theirs.current_state = "theirs"
    await truth.save_session(theirs)
    mine.current_state = "mine"
    with pytest.raises(ConflictError):
        await cache.save_session(mine)
    assert (await load(cache)).current_state == "theirs"


async def test_an_update_that_was_delivered_already_shows_it(
    cache: SessionCache, watched: Watched, truth: MemorySessionStore
) -> None:
    await saved(cache)
    theirs = await load(truth)
    theirs.product_query = "delivered"
    await truth.save_session(theirs, change_id="job-7")
    watched.taken()
    found = await cache.update("s", lambda _: pytest.fail("applied twice"), change_id="job-7")
    assert found.product_query == "delivered"
    assert watched.taken() == ["holds", "etags", "read"], "the log is not read for its change_ids"


async def test_a_record_added_without_loading_is_seen_by_the_next_load(cache: SessionCache) -> None:
    await saved(cache)
    await cache.append_record("s", "pipeline_executions", PipelineExecution("search"))
    assert [run.pipeline_name for run in (await load(cache)).pipeline_executions] == ["search"]


async def test_only_whole_sessions_are_kept(cache: SessionCache, watched: Watched, seconds: Seconds) -> None:
    long = SwisperContext(session_id="s", user_id="u")
    long.conversation_history.extend(Message("user", f"{number} " + "x" * 500) for number in range(1_000))
    await watched.save_session(long)
    assert await folded(watched, long)
    tail = await cache.load_session("s", tail=1)
    assert tail is not None
    assert "s" not in cache.memory_cache
    await say(cache, tail, "after the tail")
    assert "s" not in cache.memory_cache
    await tail.load_history()
    await say(cache, tail, "whole by now")
    assert "s" in cache.memory_cache
    watched.taken()
    # A whole one serves for its tail too, validated as it is for other loads.
    for later, asked in [(0.0, []), (1.5, ["etags"])]:
        seconds.now += later
        again = await cache.load_session("s", tail=1)
        assert again is not None
        assert (len(again.conversation_history), texts(again)[-1]) == (1_002, "whole by now")
        assert watched.taken() == asked


async def test_sessions_of_another_class_are_opened_anew(cache: SessionCache, watched: Watched) -> None:
    class Other(SwisperContext):
        notes: str = "none"

    await saved(cache)
    watched.taken()
    context = await cache.load_session("s", context_class=Other)
    assert context is not None
    assert context.notes == "none"
    assert watched.taken() == ["read"]


async def test_bytes_are_counted_exactly_and_bounded_over_10_000_sessions(truth: MemorySessionStore) -> None:
    """After every operation the entries are those that were used last, and their bytes are counted to the byte."""
    most = 300_000
    cache, model = SessionCache(truth, max_bytes=most), OrderedDict[str, int]()
    total = 0
    for number in range(10_000):
        context = SwisperContext(session_id=f"s{number}", user_id="u", product_query="x" * (number * 37 % 400))
        await cache.save_session(context)
        model[context.session_id] = context._position.snapshot.size
        total += model[context.session_id]
        if number % 5 == 0 and f"s{number // 2}" in model:
            await load(cache, f"s{number // 2}")
            model.move_to_end(f"s{number // 2}")
        while total > most:
            total -= model.popitem(last=False)[1]
        assert cache.memory_cache.current_bytes == total
    assert list(cache.memory_cache) == list(model)
    assert cache.memory_cache.evictions > 5_000
    large = SwisperContext(session_id="large", user_id="u")
    large.conversation_history.append(Message("user", "x" * most))
    await cache.save_session(large)
    assert "large" not in cache.memory_cache
    assert len(texts(await load(cache, "large"))[0]) == most


async def test_long_sessions_are_folded_without_being_read_again(
    cache: SessionCache, watched: Watched, truth: MemorySessionStore
) -> None:
    await saved(cache)
    for number in range(400):
        context = await load(cache)
        await say(cache, context, f"{number} " + "x" * 1_000)
        await cache._checkpointer.settle()
    assert watched.taken().count("read") == 0
    stored = await truth.read("s")
    assert stored is not None
    assert len(stored.frames) < 150
    assert sum(block.records for block in stored.blocks) > 200
    assert texts(await load(truth)) == texts(await load(cache))


async def test_one_cache_does_not_serve_two_running_event_loops(cache: SessionCache, watched: Watched) -> None:
    await saved(cache)
    assert texts(await load(cache)) == ["text 0"]

    async def elsewhere() -> None:
        context = await load(cache)
        with pytest.raises(StoreError, match="event loop"):
            await say(cache, context, "from another thread")

    hang = Hang()
    watched.inject("commit", hang)
    busy = asyncio.ensure_future(say(cache, await load(cache), "here"))
    await hang.reached.wait()
    await asyncio.to_thread(asyncio.run, elsewhere())
    hang.release()
    await busy


async def test_as_people_write_it() -> None:
    cache = SessionCache()
    manager = PipelineSessionManager(cache)
    context = await manager.create_session(user_id="u", session_id="s")
    context.product_query = "fridge"
    await manager.save(context)
    found = await cache.get_session("s")
    assert found is not None
    assert found.product_query == "fridge"
    assert isinstance(cache.persistent_store, MemorySessionStore)
    assert cache.redis_cache is None
    assert "s" in cache.memory_cache
    cache.invalidate("s")
    assert "s" not in cache.memory_cache


async def test_a_cache_between_must_lead_to_the_store_that_is_named() -> None:
    truth = MemorySessionStore()
    with pytest.raises(StoreError, match="does not lead to persistent_store"):
        SessionCache(truth, FaultyStore(MemorySessionStore()))
    cache = SessionCache(truth, FaultyStore(FaultyStore(truth)))
    await cache.save_session(SwisperContext(session_id="s", user_id="u"))
    assert list(await truth.etags(["s"])) == ["s"]
