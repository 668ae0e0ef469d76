from __future__ import annotations

import asyncio
import socket
import time

import pytest

from swisper_ctx.stores.redis.patience import MOST_EXTENSIONS, Patience


async def test_it_ends_what_takes_too_long() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with Patience(0.05):
            await asyncio.sleep(10)
    assert 0.05 <= time.monotonic() - begun < 5


async def test_what_is_in_time_is_not_touched() -> None:
    async with Patience(10):
        await asyncio.sleep(0.01)
    with pytest.raises(ZeroDivisionError):
        async with Patience(10):
            raise ZeroDivisionError


async def test_a_cancelled_task_is_cancelled() -> None:
    async def waits() -> None:
        async with Patience(10):
            await asyncio.sleep(10)

    task = asyncio.ensure_future(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("held_up", [0.06, 0.5])
async def test_an_answer_that_is_there_when_the_loop_comes_back_is_taken(held_up: float) -> None:
    here, there = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=here)

    def hold_up() -> None:
        there.sendall(b"answer")
        time.sleep(held_up)

    asyncio.get_running_loop().call_later(0.01, hold_up)
    async with Patience(0.05):
        assert await reader.readexactly(6) == b"answer"
    writer.close()
    await writer.wait_closed()
    there.close()


async def test_a_loop_that_is_always_held_up_has_an_end() -> None:
    async def hold_up() -> None:
        while True:
            time.sleep(0.02)  # noqa: ASYNC251 - that is what it is about
            await asyncio.sleep(0)

    task = asyncio.ensure_future(hold_up())
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with Patience(0.01):
            await asyncio.sleep(100)
    assert time.monotonic() - begun < 1 * (MOST_EXTENSIONS + 2)
    task.cancel()
