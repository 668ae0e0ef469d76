"""Large saves: made beside the event loop, written alone, and passed by small ones."""

from __future__ import annotations

import asyncio
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from string import ascii_lowercase
from typing import Any

import pytest

from swisper_ctx import PipelineExecution, SwisperContext, serialize_context
from swisper_ctx.log import Change
from swisper_ctx.stores.committer import Answered, Committer
from swisper_ctx.stores.memory import MemorySessionStore


async def test_a_group_ends_where_its_frames_have_become_large() -> None:
    """Those behind them go with the next group."""
    groups: list[int] = []

    class Counting(MemorySessionStore):
        def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
            groups.append(len(changes))
            super().begin_commit(changes, answered)

    store = Counting()
    contexts = [context_of(name, 750_000) for name in ascii_lowercase]
    await asyncio.gather(*(store.save_session(context) for context in contexts))
    assert sum(groups) == len(contexts)
    assert 1 < max(groups) <= 6, groups
    await store.aclose()


async def test_records_that_are_appended_count_as_much_as_saves() -> None:
    groups: list[int] = []

    class Counting(MemorySessionStore):
        def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
            groups.append(sum(len(change.frame) for change in changes))
            super().begin_commit(changes, answered)

    store = Counting()
    await asyncio.gather(*(store.save_session(context_of(name, 10)) for name in ascii_lowercase))
    groups.clear()
    record = PipelineExecution(execution_id="e", pipeline_name="p", result=b64encode(os.urandom(750_000)).decode())
    await asyncio.gather(*(store.append_record(name, "pipeline_executions", record) for name in ascii_lowercase))
    assert max(groups) < 6_000_000, groups
    await store.aclose()


def context_of(session_id: str, size: int) -> SwisperContext:
    """One that is yet to be saved, with so many bytes that cannot be compressed, in four thirds as many characters."""
    context = SwisperContext(session_id=session_id, user_id="u")
    context.metadata["noise"] = b64encode(os.urandom(size)).decode()
    return context


LARGE = 1_200_000


class Holding(MemorySessionStore):
    """Groups wait here until the test lets them go on."""

    groups_in_flight = 2

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, Callable[[], None]] = {}

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        names = "".join(change.session_id for change in changes)
        self.held[names] = partial(super().begin_commit, changes, answered)

    async def let(self, context: SwisperContext) -> None:
        """Save this one, which nobody holds."""
        saving = asyncio.ensure_future(self.save_session(context))
        await self.has_held(context.session_id)
        self.held.pop(context.session_id)()
        await saving

    async def has_held(self, *groups: str) -> None:
        """Until it does, and nothing else."""
        while self.held.keys() != set(groups):
            assert self.held.keys() <= set(groups)
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_large_one_goes_alone_and_small_ones_pass_it(is_replaced: bool) -> None:
    """Whether it has grown by so much or only shows when it is made, as another text in the place of one."""
    store = Holding()
    contexts = [context_of(name, LARGE if name in "LM" else 10) for name in "aLMbc"]
    if is_replaced:
        for context in contexts[1:3]:
            noise, context.metadata["noise"] = context.metadata["noise"], "x" * LARGE * 2
            await store.let(context)
            context.metadata["noise"] = noise
    saving = {one.session_id: asyncio.ensure_future(store.save_session(one)) for one in contexts[:-1]}
    await asyncio.wait_for(store.has_held("ab", "L"), 10)
    store.held.pop("ab")()
    await saving["b"]
    saving["c"] = asyncio.ensure_future(store.save_session(contexts[-1]))
    await asyncio.wait_for(store.has_held("c", "L"), 10)
    store.held.pop("c")()
    await saving["c"]
    store.held.pop("L")()
    await asyncio.wait_for(store.has_held("M"), 10)
    store.held.pop("M")()
    await asyncio.gather(*saving.values())
    await store.aclose()


@pytest.mark.parametrize("places", [1, 2, 3])
async def test_a_large_one_takes_no_place_of_small_ones_where_there_are_several(places: int) -> None:
    store = Holding()
    store._committer = Committer(store.begin_commit, lambda *_: asyncio.sleep(0), in_flight=places)
    large, other, *small = (context_of(name, LARGE if name in "LM" else 10) for name in "LMabcd")
    saving = [asyncio.ensure_future(store.save_session(large))]
    await asyncio.wait_for(store.has_held("L"), 10)
    saving.append(asyncio.ensure_future(store.save_session(other)))
    at_once = places if places > 1 else 0
    for number, context in enumerate(small, 1):
        saving.append(asyncio.ensure_future(store.save_session(context)))
        await asyncio.wait_for(store.has_held("L", *"abcd"[: min(number, at_once)]), 10)
    await asyncio.sleep(0.05)
    await store.has_held("L", *"abcd"[:at_once])
    store.held.pop("L")()
    while not all(save.done() for save in saving):
        for name in list(store.held):
            store.held.pop(name)()
        await asyncio.sleep(0.001)
    assert [context.version for context in (large, other, *small)] == [1] * 6
    await store.aclose()


class Threads(ThreadPoolExecutor):
    """Its work begins when the test says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.open = threading.Event()

    def submit(self, work: Any, /, *values: Any, **named: Any) -> Future[Any]:
        def wait() -> Any:
            assert self.open.wait(10)
            return work(*values, **named)

        return super().submit(wait)


async def test_while_a_large_frame_is_made_others_are_saved_and_those_of_its_session_wait() -> None:
    store, threads = MemorySessionStore(), Threads()
    asyncio.get_running_loop().set_default_executor(threads)
    large, small = context_of("large", LARGE), context_of("small", 10)
    saving = [asyncio.ensure_future(store.save_session(large))]
    for number in range(5):
        await store.save_session(small)
        small.metadata["number"] = large.metadata["number"] = number
        saving.append(asyncio.ensure_future(store.save_session(large)))
    assert large.version == 0
    threads.open.set()
    await asyncio.gather(*saving)
    loaded = await store.load_session("large")
    assert loaded is not None
    assert serialize_context(loaded) == serialize_context(large)
    assert large.version == 6
    await store.aclose()


async def test_a_large_save_is_made_where_no_thread_makes_it() -> None:
    store, threads, context = MemorySessionStore(), Threads(), context_of("large", LARGE)
    asyncio.get_running_loop().set_default_executor(threads)
    threads.shutdown()
    await store.save_session(context)
    assert context.version == 1
    loaded = await store.load_session("large")
    assert loaded is not None
    assert serialize_context(loaded) == serialize_context(context)
    await store.aclose()


async def test_a_large_save_is_made_whose_thread_was_given_up() -> None:
    store, threads, context = MemorySessionStore(), Threads(), context_of("large", LARGE)
    asyncio.get_running_loop().set_default_executor(threads)
    threads.submit(threads.open.is_set)  # the only thread waits here
    saving = asyncio.ensure_future(store.save_session(context))
    await asyncio.sleep(0.01)
    threads.shutdown(wait=False, cancel_futures=True)
    await saving
    threads.open.set()
    assert context.version == 1
    await store.aclose()


async def test_a_text_in_the_place_of_one_as_large_is_a_large_save() -> None:
    store, threads, context = MemorySessionStore(), Threads(), context_of("large", LARGE)
    asyncio.get_running_loop().set_default_executor(threads)
    threads.open.set()
    await store.save_session(context)
    threads.open.clear()
    context.metadata = context_of("other", LARGE).metadata
    saving = asyncio.ensure_future(store.save_session(context))
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert context.version == 1
    threads.open.set()
    await saving
    assert context.version == 2
    await store.aclose()


def test_a_large_save_whose_event_loop_ended_before_it_was_made_is_written_by_the_next() -> None:
    store, threads, context = MemorySessionStore(), Threads(), context_of("large", LARGE)
    loop = asyncio.new_event_loop()
    loop.set_default_executor(threads)
    saving = loop.create_task(store.save_session(context))
    loop.run_until_complete(asyncio.sleep(0.01))
    saving.cancel()
    loop.run_until_complete(asyncio.wait([saving]))
    assert context.version == 0
    asyncio.run(move_on(loop, threads, store, context))


async def move_on(
    loop: asyncio.AbstractEventLoop, threads: Threads, store: MemorySessionStore, context: SwisperContext
) -> None:
    loop.close()
    await asyncio.wait_for(store.save_session(context), 10)
    threads.open.set()
    assert context.version == 1
    loaded = await store.load_session("large")
    assert loaded is not None
    assert serialize_context(loaded) == serialize_context(context)
    await store.aclose()
