"""Processes that write and read the same sessions while links are cut and some of them are killed: nobody can tell
that it was not one thing after the other, or with a cache, not older than allowed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from collections import Counter
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from random import Random

import pytest
from tests.servers.proxy import BlackHole, Cut, Delay, FaultProxy, HoldReplies, Mode, Pass, Refuse
from tests.stores.histories.history import heard, violations
from tests.stores.histories.process import Setup, Work, run
from tests.stores.postgres.locks import assert_whole

from swisper_ctx import SwisperContext
from swisper_ctx.stores.postgres import PostgresSessionStore

pytestmark = pytest.mark.servers
PROCESSES = 3
OPERATIONS = 6
AT_ONCE = 4


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Of which each begins in a few milliseconds: what they need is imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([run.__module__, "swisper_ctx.stores.postgres"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


async def ended(process: ForkServerProcess) -> None:
    """Wait for its end."""
    for _ in range(6_000):
        if not process.is_alive():
            return
        await asyncio.sleep(0.01)
    process.kill()


class History:
    """One run with its own sessions."""

    def __init__(self, url: str, staleness: float | None, path: Path, seed: int, processes: ForkServerContext) -> None:
        self.url, self.staleness, self.path, self.processes = url, staleness, path, processes
        self.dice, self.started = Random(seed), 0
        self.sessions = tuple(f"{seed}-{number}" for number in range(2))

    def start(self, setup: Setup) -> ForkServerProcess:
        name = f"p{self.started}"
        self.started += 1
        work = Work(name, self.path / f"{self.sessions[0]}-{name}", self.sessions, OPERATIONS)
        process = self.processes.Process(target=run, args=(setup, work))
        process.start()
        return process

    async def go(self) -> Counter[str]:
        """Until all have done their work; what became of it, once it was checked."""
        truth = PostgresSessionStore(self.url)
        for session in self.sessions:
            await truth.save_session(SwisperContext(session_id=session, user_id="u"))
        async with FaultProxy(self.url) as proxy:
            setup = Setup(proxy.url, self.staleness)
            running = [self.start(setup) for _ in range(PROCESSES)]
            faults = asyncio.ensure_future(self.faults(proxy))
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))
            victim = self.dice.choice(running)
            victim.kill()
            running.append(self.start(setup))
            # Not in threads: two that ask about one process take its exit code from one another.
            for process in running:
                await ended(process)
            faults.cancel()
        assert {process.exitcode for process in running if process is not victim} == {0}
        return await self.check(truth)

    async def faults(self, proxy: FaultProxy) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(0.05, 0.4))
            modes: list[Mode] = [BlackHole(), Cut(self.dice.randrange(2_000)), Delay(0.02), HoldReplies(), Refuse()]
            await proxy.switch(self.dice.choice(modes))
            await asyncio.sleep(self.dice.uniform(0, 0.05))
            if self.dice.random() < 0.5:
                await proxy.drop()
            await proxy.switch(Pass())

    async def check(self, truth: PostgresSessionStore) -> Counter[str]:
        logs = {}
        for session in self.sessions:
            context = await truth.load_session(session)
            assert context is not None
            logs[session] = [str(message.message_id) for message in context.conversation_history]
        await truth.aclose()
        operations = heard(self.path.glob(f"{self.sessions[0]}-*"))
        assert violations(operations, logs) == []
        return Counter(
            f"{'write' if one.is_write else 'read'} {'unknown' if one.returned is None else 'done'}"
            for one in operations
        )


@pytest.mark.parametrize("staleness", [None, 0.05], ids=["strict", "cached"])
async def test_one_thing_after_the_other(
    url: str, tmp_path: Path, effort: int, processes: ForkServerContext, staleness: float | None
) -> None:
    outcomes: Counter[str] = Counter()
    seeds = iter(range(10 if effort == 1 else 5 * effort))

    async def go_on() -> None:
        for seed in seeds:
            outcomes.update(await History(url, staleness, tmp_path, seed, processes).go())

    await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))
    assert outcomes["write done"] > outcomes["write unknown"]
    assert outcomes["read done"] > 0.5 * outcomes["read unknown"]
    await assert_whole(url)
