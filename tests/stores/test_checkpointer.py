"""Frames are folded into blocks in the background, and nobody who reads or writes can tell."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from swisper_ctx import ConflictError, Message, StoreUnavailableError, SwisperContext, serialize_context
from swisper_ctx.log import Block, Checkpoint, StoredSession
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.checkpointer import FRAMES, PRESSURE, SEGMENT, Job
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing import FaultyStore, Hang, delays, fails
from swisper_ctx.testing.changes import folded


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SessionStore]:
    made: SessionStore = MemorySessionStore() if request.param == "memory" else SQLiteSessionStore(tmp_path / "s.db")
    yield made
    await made.aclose()


async def turn(store: SessionStore, context: SwisperContext, number: int, size: int = 400) -> None:
    content = f"{number} {random.Random(number).randbytes(size // 2).hex()}"
    context.conversation_history.append(Message(role="user", content=content))
    context.performance_metrics["turns"] = number
    await store.save_session(context)


async def loaded(store: SessionStore, context: SwisperContext) -> SwisperContext:
    found = await store.load_session(context.session_id)
    assert found is not None
    return found


async def base_of(store: SessionStore, context: SwisperContext) -> int:
    stored = await store.read(context.session_id)
    assert stored is not None
    assert stored.head is not None
    assert [frame.version for frame in stored.frames] == list(range(stored.head.base + 1, stored.etag.version + 1))
    return stored.head.base


async def test_many_turns_leave_few_frames_and_the_whole_history(store: SessionStore) -> None:
    context = SwisperContext(user_id="u")
    context.buffer_store["large"] = "x" * 30_000
    for number in range(700):
        await turn(store, context, number)
        if number % 50 == 0:
            assert serialize_context(await loaded(store, context)) == serialize_context(context)
    await store._checkpointer.settle()
    # The last checkpoint may have been overtaken by many turns; the next turn asks for another.
    await turn(store, context, 700)
    await store._checkpointer.settle()
    assert context.version - await base_of(store, context) <= FRAMES * 1.25 + 1
    stored = await store.read(context.session_id)
    assert stored is not None
    segments = [block for block in stored.blocks if block.field == "conversation_history"]
    assert len(segments) >= 4
    assert [block.field for block in stored.blocks].count("buffer_store") == 1
    assert serialize_context(await loaded(store, context)) == serialize_context(context)


async def test_large_frames_are_folded_sooner(store: SessionStore) -> None:
    context = SwisperContext(user_id="u")
    for number in range(12):
        await turn(store, context, number, size=SEGMENT // 4)
    await store._checkpointer.settle()
    assert await base_of(store, context) >= 4


async def test_edits_of_folded_records_and_of_several_contexts(store: SessionStore) -> None:
    rng = random.Random(7)
    context = SwisperContext(user_id="u")
    for number in range(400):
        await turn(store, context, number)
        if number % 40 == 39:
            context = await loaded(store, context)
        if number % 25 == 24:
            history = context.conversation_history
            at = rng.randrange(len(history))
            history[at] = history[at].replace(content="edited")
            del history[rng.randrange(len(history))]
            await store.save_session(context)
            await store._checkpointer.settle()
    await store._checkpointer.settle()
    assert await base_of(store, context) > 200
    assert serialize_context(await loaded(store, context)) == serialize_context(context)


async def test_who_loads_a_long_log_folds_it(store: SessionStore) -> None:
    context = SwisperContext(user_id="u")
    await store.save_session(context)
    context._position.mark = None
    for number in range(FRAMES * 2):
        await turn(store, context, number)
    assert await base_of(store, context) == 0
    await loaded(store, context)
    await store._checkpointer.settle()
    assert await base_of(store, context) == context.version


async def test_a_checkpoint_that_came_second_changes_nothing(store: SessionStore) -> None:
    context = SwisperContext(user_id="u")
    for number in range(FRAMES // 2):
        await turn(store, context, number, size=20)
    other = await loaded(store, context)
    for number in range(FRAMES * 2):
        await turn(store, other, number, size=20)
    await store._checkpointer.settle()
    base = await base_of(store, other)
    assert base > 0
    with pytest.raises(ConflictError):
        await turn(store, context, 0)
    stored, mark = await store.read(context.session_id), context._position.mark
    assert stored is not None
    assert stored.head is not None
    assert mark is not None
    assert not await store.checkpoint(Checkpoint(context.session_id, mark.stamp, stored.head, (), ()))
    assert await base_of(store, other) == base


async def test_a_context_folds_nothing_into_a_session_that_was_made_in_the_place_of_its_own(
    store: SessionStore,
) -> None:
    context, other = (SwisperContext(session_id="s", user_id="u") for _ in range(2))
    for number in range(3):
        await turn(store, context, number)
    await store.delete(["s"])
    for number in range(5):
        await turn(store, other, number + 10)
    position, before = context._position, await store.read("s")
    assert position.etag is not None
    for _ in range(2):
        assert not await store._checkpointer.make(Job(position, position.snapshot, position.etag, 0))
        assert position.mark is None
    assert await store.read("s") == before


async def test_two_contexts_that_merge_both_fold(store: SessionStore) -> None:
    first = SwisperContext(user_id="u")
    await store.save_session(first)
    second = await loaded(store, first)
    for number in range(FRAMES * 4):
        for context in (first, second):
            context.conversation_history.append(Message("user", f"{number}"))
            await store.save_session(context)
    await store._checkpointer.settle()
    assert second.version == FRAMES * 8 + 1
    assert second.version - await base_of(store, second) <= FRAMES * 2
    await store.refresh(first)
    assert None not in (first._position.mark, second._position.mark)
    for context in (first, second):
        assert serialize_context(await loaded(store, first)) == serialize_context(context)


async def test_a_value_that_did_not_change_is_not_written_again(store: SessionStore) -> None:
    context = SwisperContext(user_id="u")
    context.buffer_store["large"] = "x" * 200_000
    for number in range(FRAMES * 4):
        await turn(store, context, number, size=20)
    await store._checkpointer.settle()
    first = await store.read(context.session_id)
    for number in range(FRAMES * 4):
        await turn(store, context, number, size=2000)
    await store._checkpointer.settle()
    second = await store.read(context.session_id)
    assert first is not None
    assert second is not None

    def own(blocks: tuple[Block, ...], field: str) -> list[bytes]:
        return [block.block_id for block in blocks if block.field == field]

    assert own(first.blocks, "buffer_store") == own(second.blocks, "buffer_store") != []
    assert own(first.blocks, "") != own(second.blocks, "")


async def test_turns_beside_a_checkpoint_do_not_ask_for_a_second_one(store: SessionStore) -> None:
    written: list[int] = []
    write = store._checkpointer._write

    async def watched(checkpoint: Checkpoint) -> bool:
        written.append(checkpoint.head.base)
        return await write(checkpoint)

    store._checkpointer._write = watched
    context = SwisperContext(user_id="u")
    for number in range(FRAMES * 4):
        await turn(store, context, number, size=20)
    await store._checkpointer.settle()
    assert 2 <= len(written) <= 4
    assert all(later - earlier > FRAMES / 2 for earlier, later in pairwise(written))
    assert context._position.mark is not None
    assert context._position.mark.frames == context.version - written[-1]
    # No frame is counted twice, and none is forgotten: nothing is left exactly when all are folded.
    assert context._position.mark.size >= 0
    assert (context._position.mark.size == 0) == (context._position.mark.frames == 0)


MOST = FRAMES * 1.25 * PRESSURE + 1
"""So many frames a session has at most when its checkpoints keep it waiting: jitter included."""


async def pressed(store: FaultyStore, context: SwisperContext) -> asyncio.Task[None]:
    """Take turns until a save waits for a checkpoint, which hangs."""
    for number in range(int(MOST) + 1):
        save = asyncio.create_task(turn(store, context, number, size=20))
        # A turn in memory takes a few steps of the event loop, and never a wait.
        for _ in range(20):
            await asyncio.sleep(0)
        if not save.done():
            return save
        await save
    raise AssertionError("no save ever waited")


async def test_a_session_far_behind_waits_for_its_checkpoint_and_no_other_does() -> None:
    store, hang = FaultyStore(MemorySessionStore()), Hang()
    store.inject("checkpoint", hang)
    context, other = SwisperContext(user_id="u"), SwisperContext(user_id="u")
    save = await pressed(store, context)
    assert hang.reached.is_set()
    assert FRAMES * PRESSURE <= context.version <= MOST
    # What waits is durable already.
    assert serialize_context(await loaded(store, context)) == serialize_context(context)
    for number in range(20):
        await asyncio.wait_for(turn(store, other, number), 5)
    hang.release()
    await asyncio.wait_for(save, 5)
    await store._checkpointer.settle()
    # Who loaded it meanwhile had asked for a checkpoint on a head that has moved since; the next turn asks again.
    await turn(store, context, 0)
    await store._checkpointer.settle()
    assert context.version - await base_of(store, context) <= FRAMES * 1.25
    await store.aclose()


async def test_who_waits_for_a_checkpoint_may_be_cancelled() -> None:
    store, hang = FaultyStore(MemorySessionStore()), Hang()
    store.inject("checkpoint", hang)
    context = SwisperContext(user_id="u")
    save = await pressed(store, context)
    version = context.version
    save.cancel()
    assert isinstance((await asyncio.gather(save, return_exceptions=True))[0], asyncio.CancelledError)
    hang.release()
    await store._checkpointer.settle()
    await turn(store, context, 0)
    assert context.version == version + 1
    assert serialize_context(await loaded(store, context)) == serialize_context(context)
    await store.aclose()


async def test_a_store_that_closes_lets_go_who_waits() -> None:
    store, hang = FaultyStore(MemorySessionStore()), Hang()
    store.inject("checkpoint", hang)
    save = await pressed(store, SwisperContext(user_id="u"))
    await asyncio.wait_for(store.aclose(), 5)
    await asyncio.wait_for(save, 5)


def test_an_event_loop_that_ended_leaves_nobody_waiting() -> None:
    store = FaultyStore(MemorySessionStore())
    context = SwisperContext(user_id="u")

    async def first() -> None:
        store.inject("checkpoint", Hang())
        await pressed(store, context)

    async def second() -> None:
        await asyncio.wait_for(turn(store, context, 0), 5)
        await store._checkpointer.settle()
        assert await base_of(store, context) == context.version

    asyncio.run(first())
    assert context._position.mark is not None
    assert context._position.mark.frames > FRAMES * PRESSURE
    asyncio.run(second())


@pytest.mark.parametrize("sessions", [1, 4])
async def test_slow_checkpoints_do_not_let_the_log_grow(sessions: int) -> None:
    store = FaultyStore(MemorySessionStore())
    store.inject("checkpoint", *[delays(0.2)] * 1_000)
    contexts = [SwisperContext(user_id="u") for _ in range(sessions)]
    longest = 0

    async def live(context: SwisperContext) -> None:
        nonlocal longest
        for number in range(1_000):
            await turn(store, context, number, size=20)
            assert context._position.mark is not None
            longest = max(longest, context._position.mark.frames)

    await asyncio.gather(*map(live, contexts))
    assert FRAMES * PRESSURE < longest <= MOST
    await store.aclose()


async def test_two_checkpoints_of_one_context_at_a_time_are_one(store: SessionStore) -> None:
    context = SwisperContext(user_id="u")
    for number in range(20):
        await turn(store, context, number)
    written = await asyncio.gather(*(folded(store, context) for _ in range(4)))
    assert sorted(written) == [False, False, False, True]
    assert serialize_context(await loaded(store, context)) == serialize_context(context)
    await turn(store, context, 20)
    assert await folded(store, context)
    assert serialize_context(await loaded(store, context)) == serialize_context(context)


@pytest.mark.parametrize("error", [StoreUnavailableError("down"), ValueError("a defect of the driver")])
async def test_checkpoints_that_fail_stop_nobody_and_are_tried_ever_less_often(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaultyStore(MemorySessionStore())
    store.inject("checkpoint", *[fails(error)] * 4)
    context = SwisperContext(user_id="u")
    with caplog.at_level(logging.WARNING, "swisper_ctx.store"):
        for number in range(FRAMES * 12):
            await asyncio.wait_for(turn(store, context, number, size=20), 5)
        await store._checkpointer.settle()
    assert len(caplog.records) == store.calls.count("checkpoint") == 4
    assert context._position.mark is not None
    assert context._position.mark.frames == context.version
    for number in range(FRAMES * 12):
        await turn(store, context, number, size=20)
    await store._checkpointer.settle()
    # Once one has succeeded, the threshold is what it was.
    assert context.version - await base_of(store, context) <= FRAMES * 1.25 + 1
    assert serialize_context(await loaded(store, context)) == serialize_context(context)
    await store.aclose()


async def test_a_loop_about_to_end_makes_no_checkpoint_and_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    store, context = MemorySessionStore(), SwisperContext(user_id="u")
    await turn(store, context, 1)
    await asyncio.get_running_loop().shutdown_default_executor()
    position = context._position
    assert position.etag is not None
    with caplog.at_level(logging.DEBUG):
        await store._checkpointer.attempt(Job(position, position.snapshot, position.etag, 0))
    assert caplog.records == []
    assert await base_of(store, context) == 0
    await store.aclose()


async def test_a_session_that_is_saved_while_another_checkpoint_is_looked_at_goes_on_with_its_own(
    store: SessionStore,
) -> None:
    context = SwisperContext(user_id="u")
    await turn(store, context, 0)
    assert await folded(store, await loaded(store, context))
    read = store._checkpointer._read

    async def read_and_save(session_id: str) -> StoredSession | None:
        stored = await read(session_id)
        await turn(store, context, 1)
        return stored

    store._checkpointer._read = read_and_save
    assert not await folded(store, context)
    await turn(store, context, 2)
    assert await folded(store, context)
    assert await base_of(store, context) == context.version == 3
