"""The API of an application, over a file as people use it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from swisper_ctx import (
    ConflictError,
    CorruptSessionError,
    DecryptionError,
    EncodeError,
    EncryptedSessionStore,
    InvalidTransitionError,
    Message,
    PipelineSessionManager,
    SessionNotFoundError,
    StoreError,
    SwisperContext,
    VersionUnavailableError,
    field,
    serialize_context,
)
from swisper_ctx.keys import new_key
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore, ManualClock
from swisper_ctx.testing.clock import DAY, MINUTE, START
from swisper_ctx.testing.faults import Hang, fails

Sessions = PipelineSessionManager[SwisperContext]


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[Sessions]:
    async with PipelineSessionManager.open(f"sqlite:///{tmp_path}/s.db") as opened:
        yield opened


async def loaded(sessions: Sessions, session_id: str) -> SwisperContext:
    context = await sessions.load_session_context(session_id)
    assert context is not None
    return context


async def test_a_session_lives_through_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    before = datetime.now(UTC)
    async with PipelineSessionManager.open(url) as sessions:
        context = await sessions.create_session(user_id="u-17", product_query="fridge")
        context.conversation_history.append(Message(role="user", content="quiet"))
        await sessions.save(context)
    async with PipelineSessionManager.open(url) as sessions:
        again = await loaded(sessions, context.session_id)
    assert again.conversation_history[0].content == "quiet"
    assert (again.user_id, again.product_query, again.version) == ("u-17", "fridge", 2)
    assert again.created_at is not None
    assert again.updated_at is not None
    assert before <= again.created_at <= again.updated_at <= datetime.now(UTC)
    assert len(again.session_id) >= 22


async def test_session_saves_at_the_end_and_not_after_an_exception(sessions: Sessions) -> None:
    made = await sessions.create_session(user_id="u")
    async with sessions.session(made.session_id, user_id="u") as context:
        context.soft_preferences["noise_db"] = 35
    with pytest.raises(ZeroDivisionError):
        async with sessions.session(made.session_id) as context:
            context.soft_preferences["noise_db"] = 99 // 0
    assert (await loaded(sessions, made.session_id)).soft_preferences == {"noise_db": 35}
    with pytest.raises(SessionNotFoundError):
        async with sessions.session(made.session_id, user_id="other"):
            pytest.fail("another user's session was opened")


async def test_two_who_save_see_each_other(sessions: Sessions) -> None:
    mine = await sessions.create_session(user_id="u", metadata={"count": 0})
    yours = await loaded(sessions, mine.session_id)
    mine.product_query = "fridge"
    yours.soft_preferences["noise_db"] = 35
    await sessions.save(mine)
    await sessions.save(yours)
    await sessions.refresh(mine)
    assert (yours.product_query, mine.soft_preferences, mine.version) == ("fridge", {"noise_db": 35}, 3)
    mine.metadata["count"] = 7
    for _ in range(2):
        await sessions.update(mine.session_id, add_one, change_id="once", user_id="u")
    with pytest.raises(ConflictError) as caught:
        await sessions.save(mine)
    assert caught.value.paths == ("/metadata/count",)
    assert (await loaded(sessions, mine.session_id)).metadata == {"count": 1}
    with pytest.raises(ValueError, match="attempts"):
        await sessions.update(mine.session_id, add_one, attempts=0)


def add_one(context: SwisperContext) -> None:
    context.metadata["count"] += 1


async def test_a_pipeline_is_timed_and_recorded_with_the_next_save(sessions: Sessions) -> None:
    context = await sessions.create_session(user_id="u")
    async with sessions.pipeline(context, "product_search", {"q": "fridge"}) as run:
        await asyncio.sleep(0.02)
        run.result = {"found": 3}
        run.metrics["tokens"] = 7
    assert (await loaded(sessions, context.session_id)).pipeline_executions == []
    await sessions.save(context)
    (execution,) = (await loaded(sessions, context.session_id)).pipeline_executions
    assert (execution.pipeline_name, execution.status, execution.error) == ("product_search", "completed", None)
    assert (execution.input, execution.result, execution.metrics) == ({"q": "fridge"}, {"found": 3}, {"tokens": 7})
    assert execution.duration_ms is not None
    assert 20 <= execution.duration_ms < 5_000
    assert execution.started_at is not None
    assert execution.finished_at is not None
    assert execution.started_at < execution.finished_at


async def test_a_failed_pipeline_saves_only_its_own_record(sessions: Sessions) -> None:
    context = await sessions.create_session(user_id="u")
    context.conversation_history.append(Message(role="user", content="unsaved"))
    context.product_query = "half done"
    with pytest.raises(ValueError, match="secret words"):
        async with sessions.pipeline(context, "search"):
            int("secret words")
    stored = await loaded(sessions, context.session_id)
    (execution,) = stored.pipeline_executions
    assert (execution.status, execution.error) == ("failed", {"type": "ValueError"})
    assert (len(stored.conversation_history), stored.product_query) == (0, "")
    assert (len(context.pipeline_executions), context.version) == (1, 2)
    await sessions.save(context)
    stored = await loaded(sessions, context.session_id)
    assert (len(stored.conversation_history), stored.product_query, len(stored.pipeline_executions)) == (
        1,
        "half done",
        1,
    )


async def test_a_failed_pipeline_beside_unsaved_ones_keeps_their_order(sessions: Sessions) -> None:
    context = await sessions.create_session(user_id="u")
    async with sessions.pipeline(context, "good"):
        pass
    with pytest.raises(asyncio.CancelledError):
        async with sessions.pipeline(context, "cancelled"):
            raise asyncio.CancelledError
    assert [e.pipeline_name for e in context.pipeline_executions] == ["cancelled", "good"]
    await sessions.save(context)
    stored = await loaded(sessions, context.session_id)
    assert [e.pipeline_name for e in stored.pipeline_executions] == ["cancelled", "good"]


async def test_a_pipeline_that_fails_while_the_store_does_too_raises_its_own_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FaultyStore(MemorySessionStore())
    sessions = PipelineSessionManager(store)
    context = await sessions.create_session(user_id="u")
    store.inject("commit", fails())
    with caplog.at_level(logging.WARNING, "swisper_ctx"), pytest.raises(ZeroDivisionError):
        async with sessions.pipeline(context, "search"):
            raise ZeroDivisionError
    assert "stays unsaved" in caplog.text
    await sessions.save(context)
    assert [e.status for e in (await loaded(sessions, context.session_id)).pipeline_executions] == ["failed"]


@pytest.mark.parametrize("error", [ValueError("its own"), asyncio.CancelledError("its own")])
@pytest.mark.parametrize("detail", ["input", "result", "metrics"])
async def test_a_failed_pipeline_with_details_that_are_no_json_raises_its_own_error(
    sessions: Sessions, detail: str, error: BaseException
) -> None:
    context = await sessions.create_session(user_id="u")

    async def fail() -> None:
        async with sessions.pipeline(context, "search") as run:
            setattr(run, detail, {"when": object()})
            raise error

    with pytest.raises(type(error), match="its own"):
        await fail()
    await sessions.save(context)
    (execution,) = (await loaded(sessions, context.session_id)).pipeline_executions
    assert (execution.status, execution.error) == ("failed", {"type": type(error).__name__})
    assert (execution.input, execution.result, execution.metrics) == (None, None, None)
    assert (sessions.performance.stats()["search"].runs, sessions.performance.stats()["search"].failures) == (1, 1)


@pytest.mark.parametrize(("name", "input"), [(None, None), ("\ud800", None), ("search", {"when": object()})])
async def test_a_pipeline_that_could_not_be_recorded_does_not_begin(sessions: Sessions, name: Any, input: Any) -> None:
    context = await sessions.create_session(user_id="u")
    began = False
    with pytest.raises(EncodeError):
        async with sessions.pipeline(context, name, input):
            began = True
    assert not began
    assert context.pipeline_executions == []


async def test_a_pipeline_is_recorded_with_the_input_that_it_was_given(sessions: Sessions) -> None:
    context = await sessions.create_session(user_id="u")
    query = {"q": ["fridge"]}
    async with sessions.pipeline(context, "search", query) as run:
        query["q"].append("quiet")
    assert run.input == {"q": ["fridge"]}
    assert context.pipeline_executions[0].input == {"q": ["fridge"]}


async def test_a_failed_pipeline_raises_its_own_error_whatever_becomes_of_its_record() -> None:
    store = FaultyStore(MemorySessionStore())
    sessions = PipelineSessionManager(store)
    context = await sessions.create_session(user_id="u")
    store.inject("commit", fails(DecryptionError("no key")))
    with pytest.raises(ZeroDivisionError):
        async with sessions.pipeline(context, "search"):
            raise ZeroDivisionError


async def test_a_pipeline_that_is_cancelled_waits_for_no_store() -> None:
    store = FaultyStore(MemorySessionStore())
    sessions = PipelineSessionManager(store)
    context = await sessions.create_session(user_id="u")
    hang = Hang()
    store.inject("commit", hang)
    late = asyncio.get_running_loop().call_later(1, hang.release)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), sessions.pipeline(context, "slow"):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() < late.when()
    late.cancel()
    hang.release()
    await sessions.save(context)
    stored = await loaded(sessions, context.session_id)
    assert [(e.status, e.error) for e in stored.pipeline_executions] == [("failed", {"type": "CancelledError"})]


async def run_until_closed(sessions: Sessions, context: SwisperContext) -> None:
    async with sessions.pipeline(context, "closed"):
        await asyncio.Event().wait()


async def test_a_pipeline_in_a_coroutine_that_is_closed_is_recorded(sessions: Sessions) -> None:
    context = await sessions.create_session(user_id="u")
    running = run_until_closed(sessions, context)
    running.send(None)
    running.close()
    await sessions.save(context)
    stored = await loaded(sessions, context.session_id)
    assert [(e.status, e.error) for e in stored.pipeline_executions] == [("failed", {"type": "GeneratorExit"})]


def test_a_pipeline_in_a_coroutine_that_outlives_its_event_loop_is_closed_quietly() -> None:
    sessions = PipelineSessionManager(MemorySessionStore())
    running = run_until_closed(sessions, SwisperContext(user_id="u"))

    async def begin() -> None:
        running.send(None)

    # Not `asyncio.run`, which ends with closing what is in async generators.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()
    running.close()
    assert sessions.performance.stats()["closed"].failures == 1


async def test_an_execution_is_recorded_by_session_id(sessions: Sessions) -> None:
    context = await sessions.create_session(user_id="u")
    data = {"result": {"n": 1}, "duration_ms": 12.5, "tool": "own key"}
    execution_id = await sessions.save_pipeline_execution(context.session_id, "search", data)
    (execution,) = (await loaded(sessions, context.session_id)).pipeline_executions
    assert (execution.execution_id, execution.pipeline_name) == (execution_id, "search")
    assert (execution.result, execution.duration_ms, execution.extra) == ({"n": 1}, 12.5, {"tool": "own key"})
    with pytest.raises(SessionNotFoundError):
        await sessions.save_pipeline_execution("none", "search", {})
    with pytest.raises(EncodeError):
        await sessions.save_pipeline_execution(context.session_id, "search", {"result": {1, 2}})


async def test_an_execution_without_an_id_is_given_one(sessions: Sessions) -> None:
    context = await sessions.create_session(user_id="u")
    execution_id = await sessions.save_pipeline_execution(context.session_id, "search", {"execution_id": None})
    (execution,) = (await loaded(sessions, context.session_id)).pipeline_executions
    assert execution.execution_id == execution_id
    assert len(execution_id) == 36


async def test_the_session_of_another_user_is_absent(sessions: Sessions) -> None:
    session_id = (await sessions.create_session(user_id="ann")).session_id
    with pytest.raises(SessionNotFoundError):
        await sessions.save_pipeline_execution(session_id, "search", {}, user_id="bob")
    with pytest.raises(SessionNotFoundError):
        await sessions.recover(session_id, user_id="bob")
    assert not await sessions.delete_session(session_id, user_id="bob")
    assert not await sessions.delete_session("none", user_id="ann")
    assert (await loaded(sessions, session_id)).version == 1
    await sessions.save_pipeline_execution(session_id, "search", {}, user_id="ann")
    assert (await sessions.recover(session_id, user_id="ann")).newest == 2
    assert await sessions.delete_session(session_id, user_id="ann")
    assert await sessions.load_session_context(session_id) is None


async def test_a_transition_holds_only_from_the_state_it_left(sessions: Sessions) -> None:
    allowed = {"idle": ["browsing"], "browsing": ["paying", "idle"]}
    context = await sessions.create_session(user_id="u")
    context.transition_to("browsing", allowed)
    with pytest.raises(InvalidTransitionError) as caught:
        context.transition_to("shipped", allowed)
    assert (caught.value.current, caught.value.target, caught.value.allowed) == (
        "browsing",
        "shipped",
        ("idle", "paying"),
    )
    assert context.current_state == "browsing"
    await sessions.save(context)
    assert (await loaded(sessions, context.session_id)).current_state == "browsing"


async def test_sessions_are_listed_newest_first_by_user_and_page(sessions: Sessions) -> None:
    for number in range(7):
        await sessions.create_session(user_id="even" if number % 2 == 0 else "odd", session_id=f"s{number}")
    page = await sessions.sessions(limit=4)
    assert [info.session_id for info in page.sessions] == ["s6", "s5", "s4", "s3"]
    rest = await sessions.sessions(limit=4, cursor=page.cursor)
    assert [info.session_id for info in rest.sessions] == ["s2", "s1", "s0"]
    assert rest.cursor is None
    odd = await sessions.sessions(user_id="odd")
    assert [(info.session_id, info.version, info.messages) for info in odd.sessions] == [
        ("s5", 1, 0),
        ("s3", 1, 0),
        ("s1", 1, 0),
    ]


async def test_a_deleted_session_is_gone(sessions: Sessions) -> None:
    context = await sessions.create_session(user_id="u")
    assert await sessions.delete_session(context.session_id)
    assert await sessions.load_session_context(context.session_id) is None
    assert not await sessions.delete_session(context.session_id)
    context.product_query = "x"
    with pytest.raises(ConflictError):
        await sessions.save(context)


def test_a_url_of_no_known_store_says_which_are_known() -> None:
    with pytest.raises(StoreError, match="sqlite://") as caught:
        PipelineSessionManager.open("nosuch://user:secret@host/db")
    assert "secret" not in str(caught.value)


def test_importing_the_package_imports_no_driver() -> None:
    drivers = {"sqlite3", "asyncpg", "redis", "cryptography", "click"}
    probe = f"import sys, swisper_ctx; print(*{drivers} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


async def test_a_session_is_seen_as_it_was(tmp_path: Path) -> None:
    class Shop(SwisperContext):
        cart: list[str] = field(default_factory=list)

    async with PipelineSessionManager.open(f"sqlite:///{tmp_path}/s.db", Shop) as sessions:
        context = await sessions.create_session(user_id="u", cart=["milk"])
        context.cart.append("bread")
        await sessions.save(context, change_id="second")
        old = await sessions.at_version(context.session_id, 1, user_id="u")
        assert (type(old), old.cart, old.version) == (Shop, ["milk"], 1)
        assert old.updated_at == old.created_at == context.created_at
        (second,) = await sessions.history(context.session_id, user_id="u", after=1)
        assert (second.version, second.change_id, second.paths) == (2, "second", ("/cart/-",))
        with pytest.raises(SessionNotFoundError):
            await sessions.history(context.session_id, user_id="v")
        with pytest.raises(SessionNotFoundError):
            await sessions.at_version(context.session_id, 1, user_id="v")
        with pytest.raises(VersionUnavailableError, match="no version 3 yet"):
            await sessions.at_version(context.session_id, 3)


@pytest.mark.parametrize("expires_in", [timedelta(hours=2), 7200, 7200.0])
async def test_a_session_expires_when_it_was_not_saved_for_so_long(expires_in: timedelta | float) -> None:
    clock = ManualClock()
    sessions = PipelineSessionManager(MemorySessionStore(clock=clock), expires_in=expires_in)
    await sessions.create_session(user_id="u", session_id="s")
    for number in range(3):
        clock.advance(90 * MINUTE)
        async with sessions.session("s") as context:
            context.metadata["turn"] = number
    clock.advance(119 * MINUTE)
    assert await sessions.cleanup_expired_sessions() == 0
    with pytest.raises(ValueError, match="x"):
        async with sessions.pipeline(context, "search"):
            raise ValueError("x")
    clock.advance(119 * MINUTE)
    assert await sessions.load_session_context("s") is not None
    clock.advance(MINUTE)
    assert await sessions.load_session_context("s") is None
    assert [line.session_id for line in (await sessions.sessions()).sessions] == ["s"]
    assert await sessions.cleanup_expired_sessions() == 1
    assert (await sessions.sessions()).sessions == ()
    await sessions.create_session(user_id="u", session_id="s")


async def test_cleaning_up_forgets_the_results_of_sessions_that_are_gone_and_tells_how_many() -> None:
    clock, told = ManualClock(), list[tuple[str, object]]()
    store = MemorySessionStore(clock=clock)
    sessions = PipelineSessionManager(
        store, expires_in=7200, on_event=lambda name, details: told.append((name, details.get("sessions")))
    )
    computed = list[str]()

    async def compute(key: str) -> str:
        computed.append(key)
        return key

    for name, ttl in (("short", 7200), ("long", 20_000), ("deleted elsewhere", 20_000)):
        context = SwisperContext(session_id=name, user_id="u")
        await sessions.performance.get_or_compute(name, partial(compute, name), context=context)
        await sessions.performance.get_or_compute("shared", partial(compute, "shared"), context=context)
        await store.save_session(context, ttl=ttl * 1_000_000)
    await store.delete_session("deleted elsewhere")
    clock.advance(121 * MINUTE)
    assert await sessions.cleanup_expired_sessions() == 1
    assert ("sessions_expired", 1) in told
    kept = [sessions.performance.get(key) for key in ("short", "long", "deleted elsewhere", "shared")]
    assert kept == [None, "long", None, "shared"]
    assert computed == ["short", "shared", "long", "deleted elsewhere"]


async def test_a_session_is_kept_for_a_day_unless_it_is_said_otherwise() -> None:
    clock = ManualClock()
    by_default = PipelineSessionManager(MemorySessionStore(clock=clock))
    for_ever = PipelineSessionManager(MemorySessionStore(clock=clock), expires_in=None)
    for sessions, expected in ((by_default, START + DAY), (for_ever, None)):
        await sessions.create_session(user_id="u")
        (line,) = (await sessions.sessions()).sessions
        assert line.expires_at == expected


@pytest.mark.parametrize("expires_in", [0, -1, timedelta(0), float("nan"), float("inf")])
def test_a_time_to_live_is_positive(expires_in: timedelta | float) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        PipelineSessionManager.open("memory://", expires_in=expires_in)


async def test_what_a_manager_stores_is_encrypted(tmp_path: Path) -> None:
    key, url = new_key(), f"sqlite:///{tmp_path}/s.db"
    async with PipelineSessionManager.open(url, SwisperContext, encryption_key=key) as sessions:
        context = await sessions.create_session(user_id="u", session_id="s", product_query="private")
        assert isinstance(sessions.session_store, EncryptedSessionStore)
    assert b"private" not in (tmp_path / "s.db").read_bytes()
    async with PipelineSessionManager.open(url, SwisperContext, encryption_key=[new_key(), key]) as sessions:
        found = await sessions.load_session_context("s")
        assert found is not None
        assert serialize_context(found) == serialize_context(context)
    async with PipelineSessionManager.open(url, encryption_key=new_key()) as sessions:
        with pytest.raises(DecryptionError):
            await sessions.load_session_context("s")


async def test_a_store_that_has_gone_back_is_seen_by_who_kept_an_etag() -> None:
    store = MemorySessionStore()
    sessions = PipelineSessionManager(store)
    context = await sessions.create_session(user_id="u", session_id="s")
    seen = [context.etag]
    for number in range(3):
        backup = dict(store._sessions)
        backup["s"] = backup["s"]._replace(frames=[*backup["s"].frames])
        context.metadata["number"] = number
        await sessions.save(context)
        seen.append(context.etag)
    for etag in seen:
        assert etag is not None
        assert await sessions.load_session_context("s", at_least=etag) is not None
    store._sessions = backup
    assert await sessions.load_session_context("s", at_least=seen[2]) is not None
    for _ in range(2):
        with pytest.raises(CorruptSessionError, match="gone back"):
            await sessions.load_session_context("s", at_least=seen[3])
        # Another history of the same length, and then a longer one.
        forked = await sessions.load_session_context("s")
        assert forked is not None
        forked.metadata["number"] = "other"
        await sessions.save(forked)
        forked.metadata["number"] = "another"
        await sessions.save(forked)
    assert await sessions.load_session_context("none", at_least=seen[3]) is None
