from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from swisper_ctx.stores.mailbox import Mailboxes, Post

name: ContextVar[str] = ContextVar("name", default="nobody's")


@pytest.fixture(params=["with eventfd", "without"], autouse=True)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What there is on Linux, and what there is elsewhere."""
    if request.param == "without":
        monkeypatch.delattr(os, "eventfd", raising=False)
    yield request.param
    gc.collect()


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def test_what_a_thread_posts_arrives_in_its_order() -> None:
    mailboxes, arrived = Mailboxes(), []
    post, last = mailboxes.here(), asyncio.Event()

    def told(result: Any, error: BaseException | None) -> None:
        arrived.append((result, type(error)))
        if result == 99:
            last.set()

    in_thread(lambda: [post(told, number, ValueError() if number % 2 else None) for number in range(100)])
    assert arrived == [], "the loop was not running"
    await asyncio.wait_for(last.wait(), 10)
    assert arrived == [(number, ValueError if number % 2 else type(None)) for number in range(100)]
    mailboxes.close()


async def test_a_callback_sees_no_context_variable_of_who_asked_first_or_before() -> None:
    mailboxes, seen, last = Mailboxes(), [], asyncio.Event()

    def told(result: Any, error: BaseException | None) -> None:
        seen.append(name.get())
        name.set("a callback's")
        if result == 2:
            last.set()

    name.set("whose request came first")
    post = mailboxes.here()
    in_thread(lambda: [post(told, number, None) for number in range(3)])
    await asyncio.wait_for(last.wait(), 10)
    assert seen == ["nobody's"] * 3
    assert copy_context()[name] == "whose request came first"
    mailboxes.close()


async def test_a_callback_that_raises_is_reported_and_stops_no_other() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about["exception"]))
    mailboxes, last = Mailboxes(), asyncio.Event()

    def told(result: Any, error: BaseException | None) -> None:
        if result == "first":
            raise LookupError
        last.set()

    post = mailboxes.here()
    in_thread(lambda: [post(told, result, None) for result in ("first", "second")])
    await asyncio.wait_for(last.wait(), 10)
    assert [type(complaint) for complaint in complaints] == [LookupError]
    mailboxes.close()


def test_what_stops_the_loop_leaves_the_rest_for_when_it_goes_on() -> None:
    loop, arrived = asyncio.new_event_loop(), []

    def told(result: Any, error: BaseException | None) -> None:
        arrived.append(result)
        if result == 0:
            raise KeyboardInterrupt

    mailboxes = Mailboxes()

    async def begin() -> Post:
        return mailboxes.here()

    post = loop.run_until_complete(begin())
    in_thread(lambda: [post(told, number, None) for number in range(3)])
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.sleep(10))
    loop.run_until_complete(asyncio.sleep(0.01))
    assert arrived == [0, 1, 2]
    loop.close()


def test_posting_to_a_loop_that_is_closed_does_nothing() -> None:
    arrived: list[Any] = []
    mailboxes = Mailboxes()

    async def begin() -> Post:
        return mailboxes.here()

    post = asyncio.run(begin())
    in_thread(lambda: post(lambda result, error: arrived.append(result), 1, None))
    asyncio.run(asyncio.sleep(0))
    assert arrived == []


def test_no_descriptor_stays_of_loops_that_are_gone() -> None:
    async def ask(mailboxes: Mailboxes, closes: bool) -> None:
        last = asyncio.Event()
        post = mailboxes.here()
        assert post == mailboxes.here() or not hasattr(os, "eventfd")
        in_thread(lambda: post(lambda *_: last.set(), None, None))
        await asyncio.wait_for(last.wait(), 10)
        if closes:
            mailboxes.close()

    shared = Mailboxes()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for closes in (True, False):
        for _ in range(20):
            asyncio.run(ask(shared, closes))
            asyncio.run(ask(Mailboxes(), closes))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
