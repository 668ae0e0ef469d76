"""Pipelines counted, results kept for the next time and shared by those who ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swisper_ctx import EncodeError, PerformanceCache, PipelineSessionManager, SwisperContext
from swisper_ctx.stats import MOST_KEYS, MOST_NAMES, MOST_SESSIONS
from swisper_ctx.stores.memory import MemorySessionStore


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Computation:
    """A pipeline that is counted, and ends when it is told to."""

    def __init__(self, result: Any = None) -> None:
        self.result, self.runs = result, 0
        self.ended = asyncio.Event()

    async def __call__(self) -> Any:
        self.runs += 1
        await self.ended.wait()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def at_once(value: Any) -> Callable[[], Awaitable[Any]]:
    async def compute() -> Any:
        return value

    return compute


# -- pipelines


def test_runs_failures_and_percentiles_are_counted_by_name() -> None:
    cache = PerformanceCache()
    for number in range(1, 1001):
        cache.record("search", number / 10, failed=number % 4 == 0)
    cache.record("rank")
    search = cache.stats()["search"]
    assert (search.runs, search.failures) == (1000, 250)
    assert (search.p50_ms, search.p95_ms, search.p99_ms, search.max_ms) == pytest.approx((50, 95, 99, 100), rel=0.011)
    assert cache.stats()["rank"] == (1, 0, 0, 0, 0, 0)


def test_names_without_end_are_counted_together() -> None:
    cache = PerformanceCache()
    for number in range(MOST_NAMES + 50):
        cache.record(f"pipeline {number}", 1.0)
    stats = cache.stats()
    assert len(stats) == MOST_NAMES + 1
    assert stats["other"].runs == 50


@pytest.mark.parametrize("duration", [-1.0, float("inf"), float("nan"), 1e300])
def test_a_duration_that_is_none_counts_as_a_run(duration: float) -> None:
    cache = PerformanceCache()
    cache.record("search", duration)
    assert cache.stats()["search"] == (1, 0, 0, 0, 0, 0)


async def test_the_manager_counts_its_pipelines() -> None:
    sessions = PipelineSessionManager(MemorySessionStore())
    context = await sessions.create_session(user_id="u")
    async with sessions.pipeline(context, "search"):
        await asyncio.sleep(0.02)
    with pytest.raises(ZeroDivisionError):
        async with sessions.pipeline(context, "search"):
            raise ZeroDivisionError
    await sessions.save_pipeline_execution(context.session_id, "rank", {"duration_ms": 7.5})
    await sessions.save_pipeline_execution(context.session_id, "old", {"duration_ms": "7 ms", "status": None})
    stats = sessions.performance.stats()
    assert (stats["search"].runs, stats["search"].failures, stats["rank"].runs) == (2, 1, 1)
    assert stats["search"].max_ms >= 20 * 0.99
    assert (stats["old"].runs, stats["old"].max_ms) == (1, 0)
    assert stats["rank"].p50_ms == pytest.approx(7.5, rel=0.01)


def test_the_manager_takes_one_that_it_is_given() -> None:
    performance = PerformanceCache(ttl=5)
    assert PipelineSessionManager(MemorySessionStore(), performance=performance).performance is performance


# -- results


async def test_a_result_is_computed_once_and_kept_until_its_time_is_over() -> None:
    clock = Clock()
    cache = PerformanceCache(ttl=60, clock=clock)
    assert await cache.get_or_compute("k", at_once({"n": 1})) == {"n": 1}
    clock.now = 59.9
    assert await cache.get_or_compute("k", at_once("another")) == {"n": 1}
    assert cache.get("k") == {"n": 1}
    clock.now = 60
    assert cache.get("k", "none") == "none"
    assert await cache.get_or_compute("k", at_once("another"), ttl=5) == "another"
    clock.now = 65
    assert cache.get("k") is None


async def test_none_is_a_result_like_others() -> None:
    cache = PerformanceCache()
    await cache.get_or_compute("k", at_once(None))
    assert await cache.get_or_compute("k", at_once("another")) is None


async def test_everybody_gets_a_result_of_his_own() -> None:
    cache = PerformanceCache()
    given: dict[str, Any] = {"found": [1]}
    computation = Computation(given)
    first, second = (asyncio.create_task(cache.get_or_compute("k", computation)) for _ in range(2))
    computation.ended.set()
    (await first)["found"].append(2)
    given["found"].append(3)
    assert await second == {"found": [1]}
    cache.get("k")["found"].append(4)
    assert cache.get("k") == {"found": [1]}


async def test_those_who_ask_at_once_share_one_computation() -> None:
    cache, computation = PerformanceCache(), Computation("result")
    callers = [asyncio.create_task(cache.get_or_compute("k", computation)) for _ in range(50)]
    await asyncio.sleep(0)
    computation.ended.set()
    assert await asyncio.gather(*callers) == ["result"] * 50
    assert computation.runs == 1


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_one_that_is_cancelled_fails_nobody(cancelled: int) -> None:
    cache, computation = PerformanceCache(), Computation("result")
    callers = [asyncio.create_task(cache.get_or_compute("k", computation)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[cancelled].cancel()
    await asyncio.sleep(0)
    computation.ended.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(results.pop(cancelled), asyncio.CancelledError)
    assert (results, computation.runs, cache.get("k")) == (["result"] * 2, 1, "result")


async def test_an_error_is_raised_to_all_and_not_kept() -> None:
    cache, computation = PerformanceCache(), Computation(ValueError("down"))
    callers = [asyncio.create_task(cache.get_or_compute("k", computation)) for _ in range(3)]
    await asyncio.sleep(0)
    computation.ended.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    assert await cache.get_or_compute("k", at_once("up again")) == "up again"
    assert computation.runs == 1


async def test_an_error_that_nobody_waits_for_is_not_complained_about(caplog: pytest.LogCaptureFixture) -> None:
    cache, computation = PerformanceCache(), Computation(ValueError("down"))
    caller = asyncio.create_task(cache.get_or_compute("k", computation))
    await asyncio.sleep(0)
    caller.cancel()
    computation.ended.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(0)
    assert (caplog.text, len(cache)) == ("", 0)


async def test_a_computation_that_asks_for_its_own_result_is_told() -> None:
    cache = PerformanceCache()

    async def compute() -> int:
        return await cache.get_or_compute("k", compute)

    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="its own result"):
            await cache.get_or_compute("k", compute)


class Asking:
    """Results that are made of others."""

    def __init__(self, needs: dict[str, str]) -> None:
        self.cache, self.needs = PerformanceCache(), needs

    async def result(self, key: str, *, in_a_task: bool = False) -> str:
        async def compute() -> str:
            await asyncio.sleep(0)
            parts = [self.result(other, in_a_task=in_a_task) for other in self.needs.get(key, "")]
            return key + "".join(await asyncio.gather(*parts) if in_a_task else [await part for part in parts])

        return await self.cache.get_or_compute(key, compute)


@pytest.mark.parametrize("in_a_task", [False, True])
@pytest.mark.parametrize("asked", ["a", "b", "ab", "ba", "abc", "cab"])
async def test_results_that_wait_for_one_another_are_refused(asked: str, in_a_task: bool) -> None:
    asking = Asking({"a": "b", "b": "c", "c": "a"})
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            *(asking.result(key, in_a_task=in_a_task) for key in asked), return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [RuntimeError] * len(asked)
    assert {str(answer) for answer in answers} == {"a computation waits for its own result"}
    # None of it stays behind.
    asking.needs["c"] = ""
    assert await asking.result("a") == "abc"


@pytest.mark.parametrize("in_a_task", [False, True])
async def test_results_that_share_parts_are_no_circle(in_a_task: bool) -> None:
    asking = Asking({"a": "bc", "b": "d", "c": "bd", "e": "ad"})
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(asking.result(key, in_a_task=in_a_task) for key in "deacb"))
    assert answers == ["d", "eabdcbddd", "abdcbdd", "cbdd", "bd"]


async def test_a_task_that_outlives_its_computation_asks_as_anybody() -> None:
    cache = PerformanceCache()
    later: list[asyncio.Task[int]] = []

    async def again() -> int:
        await asyncio.sleep(0.01)
        cache.invalidate("k")
        return await cache.get_or_compute("k", one)

    async def one() -> int:
        return 1

    async def compute() -> int:
        later.append(asyncio.create_task(again()))
        return 0

    assert await cache.get_or_compute("k", compute) == 0
    assert await later[0] == 1


@pytest.mark.parametrize("ttl", [-1, float("nan")])
async def test_a_time_to_live_is_a_time(ttl: float) -> None:
    cache = PerformanceCache()
    began = False

    async def compute() -> int:
        nonlocal began
        began = True
        return 1

    with pytest.raises(ValueError, match="ttl"):
        PerformanceCache(ttl=ttl)
    with pytest.raises(ValueError, match="ttl"):
        cache.put("k", 1, ttl=ttl)
    with pytest.raises(ValueError, match="ttl"):
        await cache.get_or_compute("k", compute, ttl=ttl)
    assert not began


@pytest.mark.parametrize("most", [0, -1])
def test_a_cache_holds_at_least_one_result(most: int) -> None:
    with pytest.raises(ValueError, match="max_results"):
        PerformanceCache(max_results=most)


async def test_what_is_no_json_is_refused() -> None:
    cache = PerformanceCache()
    with pytest.raises(EncodeError):
        await cache.get_or_compute("k", at_once({1, 2}))
    with pytest.raises(EncodeError):
        cache.put("k", (1, 2))
    assert len(cache) == 0


async def test_a_result_that_was_invalidated_meanwhile_is_not_kept() -> None:
    cache, old, new = PerformanceCache(), Computation("old"), Computation("new")
    first = asyncio.create_task(cache.get_or_compute("k", old))
    await asyncio.sleep(0)
    assert not cache.invalidate("k")
    second = asyncio.create_task(cache.get_or_compute("k", new))
    await asyncio.sleep(0)
    new.ended.set()
    assert await second == "new"
    old.ended.set()
    assert await first == "old"
    assert cache.get("k") == "new"
    assert cache.invalidate("k")
    assert cache.get("k") is None


def test_each_event_loop_computes_for_itself() -> None:
    cache = PerformanceCache()

    async def ask_and_leave() -> None:
        asyncio.create_task(cache.get_or_compute("k", Computation("never")))  # noqa: RUF006
        await asyncio.sleep(0)

    asyncio.run(ask_and_leave())
    assert asyncio.run(cache.get_or_compute("k", at_once("result"))) == "result"
    assert cache._computing == {}


async def test_only_so_many_results_are_kept_those_used_last() -> None:
    cache = PerformanceCache(max_results=3)
    for key in "abc":
        cache.put(key, key)
    cache.get("a")
    cache.put("d", "d")
    assert [cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]


async def test_expired_results_are_cleared_on_request() -> None:
    clock, told = Clock(), []
    cache = PerformanceCache(ttl=10, clock=clock, on_event=lambda name, details: told.append((name, details)))
    cache.put("a", 1)
    clock.now = 5
    cache.put("b", 2)
    clock.now = 10
    assert cache.clear_expired() == 1
    assert (len(cache), told) == (1, [("result_expired", {"results": 1})])


# -- sessions


async def test_a_context_names_its_results_and_they_end_with_its_session() -> None:
    sessions = PipelineSessionManager(MemorySessionStore())
    cache = sessions.performance
    mine, other = [await sessions.create_session(user_id="u") for _ in range(2)]
    await cache.get_or_compute("own", at_once(1), context=mine)
    for context in (mine, other, mine):
        await cache.get_or_compute("shared", at_once(2), context=context)
    assert (mine.cache_keys, other.cache_keys) == (["own", "shared"], ["shared"])
    await sessions.delete_session(mine.session_id)
    assert (cache.get("own"), cache.get("shared")) == (None, 2)
    await sessions.delete_session(other.session_id)
    assert (len(cache), cache.sessions) == (0, frozenset())


async def test_references_are_rebuilt_when_a_context_is_loaded() -> None:
    store = MemorySessionStore()
    first = PipelineSessionManager(store)
    context = await first.create_session(user_id="u")
    await first.performance.get_or_compute("k", at_once(1), context=context)
    await first.save(context)
    # Another process, which has the result from another session.
    second = PipelineSessionManager(store)
    second.performance.put("k", 1)
    second.performance.put("of nobody", 1)
    loaded = await second.load_session_context(context.session_id)
    assert loaded is not None
    assert "cache_keys" not in loaded.__dict__  # not touched: the next save need not look at it
    await second.delete_session(context.session_id)
    assert (second.performance.get("k"), second.performance.get("of nobody")) == (None, 1)


async def test_a_result_whose_session_ends_while_it_is_computed_is_not_kept() -> None:
    sessions = PipelineSessionManager(MemorySessionStore())
    cache, computation = sessions.performance, Computation("result")
    context = await sessions.create_session(user_id="u")
    asking = asyncio.create_task(cache.get_or_compute("k", computation, context=context))
    await asyncio.sleep(0)
    await sessions.delete_session(context.session_id)
    computation.ended.set()
    assert await asking == "result"
    assert (len(cache), cache.sessions, cache._computing) == (0, frozenset(), {})


def test_a_result_that_everybody_asks_for_does_not_remember_them_all() -> None:
    cache = PerformanceCache()
    cache.put("popular", 1)
    for number in range(MOST_SESSIONS + 10):
        cache.refer(f"s{number}", ["popular"])
    assert len(cache.sessions) == MOST_SESSIONS
    cache.forget(*(f"s{number}" for number in range(MOST_SESSIONS - 1)))
    assert cache.get("popular") == 1
    cache.forget(f"s{MOST_SESSIONS - 1}")
    assert cache.get("popular") is None


async def test_a_result_ends_with_the_sessions_that_are_left_when_it_is_computed() -> None:
    cache, computation = PerformanceCache(), Computation("for both")
    contexts = [SwisperContext(session_id=name, user_id="u") for name in ("first", "second")]
    both = [asyncio.ensure_future(cache.get_or_compute("key", computation, context=context)) for context in contexts]
    await asyncio.sleep(0)
    cache.forget("first")
    computation.ended.set()
    assert await asyncio.gather(*both) == ["for both"] * 2
    assert cache.sessions == {"second"}
    cache.forget("second")
    assert len(cache) == 0


async def test_one_that_fails_leaves_no_reference_behind() -> None:
    cache, context = PerformanceCache(), SwisperContext(user_id="u")
    for result in (ValueError("down"), {1, 2}):
        computation = Computation(result)
        computation.ended.set()
        with pytest.raises(ValueError):  # noqa: PT011 - an EncodeError is one
            await cache.get_or_compute("k", computation, context=context)
    assert (context.cache_keys, cache.sessions, cache._computing) == ([], frozenset(), {})


async def test_a_context_keeps_the_newest_keys() -> None:
    cache, context = PerformanceCache(), SwisperContext(user_id="u")
    for number in range(MOST_KEYS + 20):
        await cache.get_or_compute(f"{number}", at_once(number), context=context)
    assert context.cache_keys == [f"{number}" for number in range(20, MOST_KEYS + 20)]


class Model(RuleBasedStateMachine):
    """Results and references against plain dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.cache = PerformanceCache(ttl=10, max_results=4, clock=self.clock)
        self.kept: dict[str, float] = {}
        self.refs: set[tuple[str, str]] = set()

    keys = st.sampled_from("abcdef")
    sessions = st.sampled_from("xyz")

    @rule(key=keys, ttl=st.sampled_from([None, 3.0]))
    def put(self, key: str, ttl: float | None) -> None:
        self.cache.put(key, key, ttl=ttl)
        self.kept.pop(key, None)
        self.kept[key] = self.clock.now + (ttl or 10)
        if len(self.kept) > 4:
            self.drop(next(iter(self.kept)))

    @rule(key=keys)
    def get(self, key: str) -> None:
        if self.kept.get(key, -1) <= self.clock.now:
            self.drop(key)
            assert self.cache.get(key) is None
        else:
            self.kept[key] = self.kept.pop(key)
            assert self.cache.get(key) == key

    @rule(session=sessions, keys=st.lists(keys))
    def refer(self, session: str, keys: list[str]) -> None:
        self.cache.refer(session, keys)
        self.refs |= {(session, key) for key in keys if key in self.kept}

    @rule(session=sessions)
    def forget(self, session: str) -> None:
        self.cache.forget(session)
        own = {key for one, key in self.refs if one == session}
        self.refs = {(one, key) for one, key in self.refs if one != session}
        for key in own - {key for _, key in self.refs}:
            self.drop(key)

    @rule(key=keys)
    def invalidate(self, key: str) -> None:
        assert self.cache.invalidate(key) == (key in self.kept)
        self.drop(key)

    @rule(seconds=st.sampled_from([1, 4]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def clear(self) -> None:
        expired = [key for key, end in self.kept.items() if end <= self.clock.now]
        assert self.cache.clear_expired() == len(expired)
        for key in expired:
            self.drop(key)

    def drop(self, key: str) -> None:
        self.kept.pop(key, None)
        self.refs = {(session, own) for session, own in self.refs if own != key}

    @invariant()
    def agrees(self) -> None:
        assert list(self.cache._results) == list(self.kept)
        assert {(s, k) for k, result in self.cache._results.items() for s in result.sessions} == self.refs
        assert self.cache.sessions == {session for session, _ in self.refs}


TestModel = Model.TestCase
