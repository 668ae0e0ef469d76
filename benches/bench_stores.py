from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from benches.conversation import FIRST_NUMBER, add_turn, context_of, texts
from benches.disk import scratch
from pytest_benchmark.fixture import BenchmarkFixture

from swisper_ctx import PipelineSessionManager, SwisperContext
from swisper_ctx.log import StoredSession
from swisper_ctx.stores.loaded import opened

MESSAGES = 1_000
Manager = PipelineSessionManager[SwisperContext]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["memory", "sqlite"])
def sessions(runner: asyncio.Runner, request: pytest.FixtureRequest) -> Iterator[Manager]:
    with scratch() as directory:
        urls = {"memory": "memory://", "sqlite": f"sqlite:///{directory / 'sessions.db'}"}
        sessions = PipelineSessionManager.open(urls[request.param])
        yield sessions
        runner.run(sessions.aclose())


async def save_long_session(sessions: Manager) -> StoredSession:
    """A session of 1,000 messages, as it is in its store after its first checkpoint."""
    context = context_of(MESSAGES)
    await sessions.save(context)
    await sessions.session_store._checkpointer.settle()
    stored = await sessions.session_store.read(context.session_id)
    assert stored is not None
    assert sum(block.records for block in stored.blocks) == MESSAGES
    return stored


@pytest.mark.parametrize("sessions", ["memory"], indirect=True)
def bench_open_1000_messages(benchmark: BenchmarkFixture, runner: asyncio.Runner, sessions: Manager) -> None:
    stored = runner.run(save_long_session(sessions))
    context = benchmark(opened, stored, SwisperContext)
    assert [message.content for message in context.conversation_history] == texts()[:MESSAGES]


def bench_load_1000_messages(benchmark: BenchmarkFixture, runner: asyncio.Runner, sessions: Manager) -> None:
    session_id = runner.run(save_long_session(sessions)).session_id
    context = benchmark(lambda: runner.run(sessions.load_session_context(session_id)))
    assert context is not None
    assert context.conversation_history[-1].content == texts()[MESSAGES - 1]


@pytest.mark.parametrize("together", [1, 64])
def bench_save_turns(benchmark: BenchmarkFixture, runner: asyncio.Runner, sessions: Manager, together: int) -> None:
    contexts = [context_of(10) for _ in range(together)]
    number = FIRST_NUMBER

    async def save() -> None:
        nonlocal number
        number += 1
        for context in contexts:
            add_turn(context, number)
        await asyncio.gather(*map(sessions.save, contexts))

    benchmark(lambda: runner.run(save()))
    stored = runner.run(sessions.load_session_context(contexts[-1].session_id))
    assert stored is not None
    assert stored.version == number - FIRST_NUMBER
    assert stored.performance_metrics == {"turns": number}
    assert len(stored.conversation_history) == 10 + 2 * stored.version
