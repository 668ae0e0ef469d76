"""Who waits for a save: tasks that go on, are cancelled, end the program, or whose event loop has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from swisper_ctx import SwisperContext
from swisper_ctx._core import read_directly
from swisper_ctx.errors import StoreUnavailableError
from swisper_ctx.log import Change, Etag
from swisper_ctx.stores.committer import Answered
from swisper_ctx.stores.memory import MemorySessionStore

WHO = ContextVar("WHO", default="nobody")


class Held(MemorySessionStore):
    """A store that answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Sequence[Change], Answered]] = []
        self.came = asyncio.Event()

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        self.held.append((changes, answered))
        self.came.set()

    def answer(self, error: Exception | None = None) -> None:
        """Write the groups that wait, or fail them."""
        held, self.held = self.held, []
        self.came.clear()
        for changes, answered in held:
            answered(None if error else self._commit(changes), error)


class Talk:
    """Sessions whose saves wait for their answer, each in a task of its own."""

    def __init__(self, names: str) -> None:
        self.store = Held()
        self.contexts = [SwisperContext(session_id=name, user_id="u") for name in names]
        self.after: list[str] = []
        """What went on, in order."""

    async def save(self, context: SwisperContext) -> None:
        await self.store.save_session(context)
        self.after.append(context.session_id)

    async def begin(self) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.save(context)) for context in self.contexts]
        await self.store.came.wait()
        return tasks

    async def answered(self, error: Exception | None = None) -> None:
        """In a callback of the event loop, as stores do."""
        done = asyncio.get_running_loop().create_future()

        def tell() -> None:
            self.store.answer(error)
            done.set_result(None)

        asyncio.get_running_loop().call_soon(tell)
        await done


async def test_all_that_waited_go_on_in_their_order_and_their_context() -> None:
    talk, seen = Talk("abc"), list[str]()

    async def named(context: SwisperContext) -> None:
        WHO.set(context.session_id)
        await talk.save(context)
        seen.append(WHO.get())

    tasks = [asyncio.create_task(named(context)) for context in talk.contexts]
    await talk.store.came.wait()
    await talk.answered()
    await asyncio.gather(*tasks)
    assert talk.after == seen == ["a", "b", "c"]
    assert WHO.get() == "nobody"


async def test_a_task_that_answers_goes_on_before_those_it_wakes() -> None:
    talk = Talk("ab")
    tasks = await talk.begin()
    talk.store.answer()
    assert talk.after == []
    await asyncio.gather(*tasks)
    assert talk.after == ["a", "b"]


async def test_several_wait_for_one_save() -> None:
    talk = Talk("a")
    tasks = await talk.begin()
    tasks += [asyncio.create_task(talk.save(talk.contexts[0])) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel("no longer")
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    await talk.answered()
    await asyncio.gather(tasks[0], *tasks[2:])
    assert talk.after == ["a"] * 3
    assert talk.contexts[0].version == 1


async def test_all_that_wait_for_one_save_are_told_its_error() -> None:
    talk = Talk("a")
    tasks = await talk.begin()
    tasks.append(asyncio.create_task(talk.save(talk.contexts[0])))
    await asyncio.sleep(0)
    await talk.answered(StoreUnavailableError("down"))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 2
    assert talk.contexts[0]._freeze() is not None


async def test_a_cancelled_caller_is_told_why_and_its_save_goes_through() -> None:
    talk = Talk("ab")
    tasks = await talk.begin()
    tasks[0].cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await tasks[0]
    await talk.answered()
    await tasks[1]
    assert talk.after == ["b"]
    assert [context.version for context in talk.contexts] == [1, 1]


async def test_a_time_limit_ends_the_wait() -> None:
    talk = Talk("a")
    (task,) = await talk.begin()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await talk.save(talk.contexts[0])
    await talk.answered()
    await task


async def test_a_task_that_goes_on_may_cancel_the_next_one() -> None:
    talk = Talk("ab")
    tasks: list[asyncio.Task[None]] = []

    async def cancelling(context: SwisperContext) -> None:
        await talk.save(context)
        tasks[1].cancel()

    tasks.append(asyncio.create_task(cancelling(talk.contexts[0])))
    tasks.append(asyncio.create_task(talk.save(talk.contexts[1])))
    await talk.store.came.wait()
    await talk.answered()
    await tasks[0]
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert talk.contexts[1].version == 1


def test_a_task_that_ends_the_program_takes_nobody_along() -> None:
    talk = Talk("ab")

    async def leaving(context: SwisperContext) -> None:
        await talk.save(context)
        raise SystemExit(3)

    async def others() -> tuple[asyncio.Task[None], asyncio.Task[None]]:
        first = asyncio.create_task(leaving(talk.contexts[0]))
        second = asyncio.create_task(talk.save(talk.contexts[1]))
        await talk.store.came.wait()
        return first, second

    with asyncio.Runner() as runner:
        first, second = runner.run(others())
        runner.get_loop().call_soon(talk.store.answer)
        with pytest.raises(SystemExit):
            runner.get_loop().run_forever()
        runner.run(asyncio.wait_for(second, 5))
        assert isinstance(first.exception(), SystemExit)
    assert talk.after == ["a", "b"]


def test_a_caller_whose_event_loop_has_ended_is_told_nothing() -> None:
    talk = Talk("a")

    async def begun() -> None:
        await talk.begin()

    with asyncio.Runner() as runner:
        runner.run(begun())
    talk.store.answer()
    assert talk.after == []
    assert talk.contexts[0].version == 1


async def test_a_save_that_follows_at_once_goes_into_a_group_of_its_own() -> None:
    talk = Talk("ab")

    async def twice(context: SwisperContext) -> None:
        await talk.save(context)
        context.product_query = "more"
        await talk.save(context)

    tasks = [asyncio.create_task(twice(context)) for context in talk.contexts]
    for _ in range(2):
        await talk.store.came.wait()
        await talk.answered()
    await asyncio.gather(*tasks)
    assert talk.after == ["a", "b", "a", "b"]
    assert [context.version for context in talk.contexts] == [2, 2]


async def test_it_is_awaited_like_any_future() -> None:
    talk = Talk("a")
    context = talk.contexts[0]
    waiting = asyncio.ensure_future(talk.save(context))
    await talk.store.came.wait()
    (save,) = context._position.saves
    shielded = asyncio.shield(asyncio.ensure_future(save))
    await talk.answered()
    await asyncio.gather(waiting, shielded)
    await save
    assert talk.after == ["a"]


@pytest.mark.parametrize("directly", [True, False])
async def test_what_a_save_makes_is_what_its_class_makes(directly: bool) -> None:
    read_directly(directly)
    try:
        talk = Talk("a")
        (task,) = await talk.begin()
        ((change,),) = [changes for changes, _ in talk.store.held]
    finally:
        read_directly(True)
    assert (type(change), type(change.etag)) == (Change, Etag)
    assert {change.etag: 1, change: 2} == {Etag(*change.etag): 1, Change(*change): 2}
    assert hash(change.etag) == hash(tuple(change.etag)) != 0
    assert change.etag._replace(version=2) == Etag(2, change.etag.token)
    await talk.answered()
    await task
