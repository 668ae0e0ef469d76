"""A store that fails on demand is a store like any other as long as nothing is demanded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.stores.memory_bodies import bodies, remove_body, replace_body

from swisper_ctx import Message, PipelineExecution, SwisperContext, serialize_context
from swisper_ctx.errors import ConflictError, OutcomeUnknownError, StoreError, StoreUnavailableError
from swisper_ctx.log import RETRY_WINDOW
from swisper_ctx.stores.appending import LOST_ATTEMPTS
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore, Hang, ManualClock, StoreContract, delays, fails, loses, passes
from swisper_ctx.testing.changes import append, committed, creation, folded, grow, moved
from swisper_ctx.testing.clock import DAY
from swisper_ctx.testing.faults import Call, Fault


class TestFaultyStore(StoreContract):
    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> FaultyStore:
        return FaultyStore(MemorySessionStore(keep_versions=keep_versions, clock=clock))

    def inner(self, store: SessionStore) -> MemorySessionStore:
        assert isinstance(store, FaultyStore)
        assert isinstance(store.store, MemorySessionStore)
        return store.store

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        return bodies(self.inner(store))

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        replace_body(self.inner(store), old, new)

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        remove_body(self.inner(store), old)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def faulty(clock: ManualClock) -> FaultyStore:
    return FaultyStore(MemorySessionStore(clock=clock))


async def test_faults_come_in_their_order_and_then_no_more(faulty: FaultyStore) -> None:
    etag = await grow(faulty, "s", 1)
    faulty.inject("commit", passes, fails(), loses())
    etag = await committed(faulty, append("s", etag))
    change = append("s", etag)
    with pytest.raises(StoreUnavailableError):
        await faulty.commit([change])
    assert await faulty.etags(["s"]) == {"s": etag}
    with pytest.raises(OutcomeUnknownError):
        await faulty.commit([change])
    assert await faulty.etags(["s"]) == {"s": change.etag}
    await committed(faulty, append("s", change.etag))
    assert faulty.calls.count("commit") == 5


async def test_each_operation_has_faults_of_its_own(faulty: FaultyStore) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "etags": lambda: faulty.etags(["s"]),
        "read": lambda: faulty.read("s"),
        "frames": lambda: faulty.frames("s"),
        "holds": lambda: faulty.holds("s", "order-1"),
        "commit": lambda: faulty.commit([creation("s")]),
        "delete": lambda: faulty.delete(["s"]),
        "sessions": faulty.sessions,
    }
    for operation, call in calls.items():
        faulty.inject(operation, fails(StoreError(operation)))
        with pytest.raises(StoreError, match=operation):
            await call()
        await call()
    context = SwisperContext(user_id="u")
    await faulty.save_session(context)
    faulty.inject("checkpoint", fails(StoreError("checkpoint")))
    with pytest.raises(StoreError, match="checkpoint"):
        await folded(faulty, context)
    assert await folded(faulty, context)


def test_there_is_no_other_operation(faulty: FaultyStore) -> None:
    with pytest.raises(ValueError, match="commit"):
        faulty.inject("load", fails())


async def test_what_hangs_waits_for_its_release(faulty: FaultyStore) -> None:
    hang = Hang()
    faulty.inject("commit", hang)
    saving = asyncio.create_task(faulty.commit([creation("s")]))
    await hang.reached.wait()
    assert await faulty.etags(["s"]) == {}
    assert not saving.done()
    hang.release()
    (result,) = await saving
    assert result.time is not None


async def test_closing_releases_what_hangs(faulty: FaultyStore) -> None:
    hang = Hang()
    faulty.inject("commit", hang)
    saving = asyncio.create_task(faulty.save_session(SwisperContext(user_id="u")))
    await hang.reached.wait()
    await faulty.aclose()
    await saving


async def test_a_delay_only_delays(faulty: FaultyStore) -> None:
    faulty.inject("etags", delays(0.01))
    slow = asyncio.create_task(faulty.etags(["s"]))
    await asyncio.sleep(0)
    assert not slow.done()
    assert await slow == {}


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
async def test_a_save_that_failed_either_way_is_written_once_in_the_end(faulty: FaultyStore, written: bool) -> None:
    context = SwisperContext(user_id="u")
    await faulty.save_session(context)
    faulty.inject("commit", loses() if written else fails())
    context.conversation_history.append(Message(role="user", content="once"))
    with pytest.raises(StoreUnavailableError):
        await faulty.save_session(context)
    assert [message.content for message in context.conversation_history] == ["once"]
    loaded = await faulty.load_session(context.session_id)
    assert loaded is not None
    assert len(loaded.conversation_history) == written
    await faulty.save_session(context)
    loaded = await faulty.load_session(context.session_id)
    assert loaded is not None
    assert serialize_context(loaded) == serialize_context(context)


def test_faults_need_no_pytest() -> None:
    program = "import sys, swisper_ctx.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("written", [True, False])
async def test_a_save_whose_answer_was_lost_is_written_once(faulty: FaultyStore, is_new: bool, written: bool) -> None:
    context = SwisperContext(user_id="u")
    if not is_new:
        await faulty.save_session(context)
    lost = loses() if written else fails(OutcomeUnknownError("the link was cut"))
    faulty.inject("commit", lost)

    async def say(text: str) -> None:
        context.conversation_history.append(Message(role="user", content=text))
        await faulty.save_session(context)

    results = await asyncio.gather(say("first"), say("queued behind it"), return_exceptions=True)
    assert [type(result) for result in results] == [OutcomeUnknownError, OutcomeUnknownError]
    await say("later")
    loaded = await faulty.load_session(context.session_id)
    assert loaded is not None
    assert [m.content for m in loaded.conversation_history] == ["first", "queued behind it", "later"]
    assert (loaded.version, context.version) == (3 - is_new, 3 - is_new)
    await faulty.save_session(context)
    assert context.version == 3 - is_new


async def test_a_lost_save_that_somebody_overtook_is_a_conflict_and_keeps_its_edits(faulty: FaultyStore) -> None:
    context = SwisperContext(user_id="u")
    await faulty.save_session(context)
    other = await faulty.load_session(context.session_id)
    assert other is not None
    faulty.inject("commit", fails(OutcomeUnknownError("the link was cut")))
    context.conversation_history.append(Message(role="user", content="mine"))
    context.product_query = "mine"
    with pytest.raises(OutcomeUnknownError):
        await faulty.save_session(context)
    other.product_query = "theirs"
    await faulty.save_session(other)
    context.conversation_history.append(Message(role="user", content="mine too"))
    with pytest.raises(ConflictError):
        await faulty.save_session(context)
    assert [m.content for m in context.conversation_history] == ["mine", "mine too"]


def lost(written: bool) -> Fault:
    return loses() if written else fails(OutcomeUnknownError("the link was cut"))


@pytest.mark.parametrize("written", [True, False])
async def test_a_lost_save_stays_one_when_the_store_is_down_afterwards(faulty: FaultyStore, written: bool) -> None:
    context = SwisperContext(user_id="u")
    await faulty.save_session(context)
    faulty.inject("commit", lost(written), fails(), fails())
    context.conversation_history.append(Message(role="user", content="once"))
    for _ in range(3):
        with pytest.raises(OutcomeUnknownError):
            await faulty.save_session(context)
    context.product_query = "later"
    await faulty.save_session(context)
    loaded = await faulty.load_session(context.session_id)
    assert loaded is not None
    assert serialize_context(loaded) == serialize_context(context)
    assert ([m.content for m in loaded.conversation_history], loaded.version) == (["once"], 3)


@pytest.mark.parametrize("written", [True, False])
async def test_a_lost_save_is_unknown_for_ever_when_no_frame_tells(
    faulty: FaultyStore, clock: ManualClock, written: bool
) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    await faulty.save_session(context)
    faulty.inject("commit", lost(written))
    context.product_query = "lost"
    with pytest.raises(OutcomeUnknownError):
        await faulty.save_session(context)
    await grow(faulty, "s", 10)
    await moved(faulty, "s", 10)
    clock.advance(RETRY_WINDOW)
    await grow(faulty, "s", 200)
    await moved(faulty, "s", 200)
    assert (await faulty.frames("s"))[0].version == 10
    for _ in range(2):
        with pytest.raises(OutcomeUnknownError, match="still unknown"):
            await faulty.save_session(context)


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("then", [(), (loses(),), (fails(),), (fails(OutcomeUnknownError("again")), loses())])
async def test_a_record_whose_answer_was_lost_is_appended_once(
    faulty: FaultyStore, written: bool, then: tuple[Fault, ...]
) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    await faulty.save_session(context)
    faulty.inject("commit", lost(written), *then)
    execution = PipelineExecution(pipeline_name="p")
    await faulty.append_record("s", "pipeline_executions", execution)
    loaded = await faulty.load_session("s")
    assert loaded is not None
    assert (loaded.version, list(loaded.pipeline_executions)) == (2, [execution])


@pytest.mark.parametrize("written", [True, False])
async def test_a_record_that_stays_lost_is_said_to_be_so(faulty: FaultyStore, written: bool) -> None:
    await faulty.save_session(SwisperContext(session_id="s", user_id="u"))
    faulty.inject("commit", lost(written), *[fails()] * LOST_ATTEMPTS)
    with pytest.raises(OutcomeUnknownError):
        await faulty.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"))
    loaded = await faulty.load_session("s")
    assert loaded is not None
    assert len(loaded.pipeline_executions) == written


async def test_a_record_that_somebody_overtook_after_it_was_lost_is_appended_once(faulty: FaultyStore) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    await faulty.save_session(context)
    inner = faulty.store

    async def overtaken(call: Call) -> Any:
        context.product_query = "first"
        await inner.save_session(context)
        raise OutcomeUnknownError("the link was cut")

    faulty.inject("commit", overtaken)
    await faulty.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"))
    assert [info.paths for info in await faulty.history("s", after=1)] == [
        ("/product_query",),
        ("/pipeline_executions/-",),
    ]


async def test_a_record_that_cannot_be_written_is_not_tried_again(faulty: FaultyStore) -> None:
    await faulty.save_session(SwisperContext(session_id="s", user_id="u"))
    faulty.inject("commit", fails())
    with pytest.raises(StoreUnavailableError, match="injected"):
        await faulty.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"))
    assert faulty.calls.count("commit") == 2


async def test_a_record_after_a_save_needs_no_content_and_is_kept_as_that_save_says(
    faulty: FaultyStore, clock: ManualClock
) -> None:
    context = SwisperContext(session_id="s", user_id="u")
    await faulty.save_session(context, ttl=DAY)
    await faulty.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"), ttl=DAY)
    for policy, days in (("2d:idle", 2), ("5d:idle", 5)):
        await faulty.refresh(context)
        context.data_retention_policy = policy
        await faulty.save_session(context, ttl=DAY)
        faulty.calls.clear()
        clock.advance(DAY)
        await faulty.append_record("s", "pipeline_executions", PipelineExecution(pipeline_name="p"), ttl=DAY)
        assert faulty.calls == ["read", "commit"]
        (line,) = (await faulty.sessions()).sessions
        assert line.expires_at == clock.now + days * DAY
