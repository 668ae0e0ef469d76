from __future__ import annotations

import pytest
from benches.conversation import context_of, texts
from pytest_benchmark.fixture import BenchmarkFixture

from swisper_ctx import Message, SwisperContext

SIZES = [100, 100_000]


def conversation(messages: int) -> SwisperContext:
    """One whose last messages are the same at any length, and have ids."""
    context = context_of(messages)
    for number in range(20):
        context.conversation_history.append(Message("user", texts()[number], message_id=f"last {number}"))
    return context


@pytest.mark.parametrize("messages", SIZES)
def bench_chat_last_20(benchmark: BenchmarkFixture, messages: int) -> None:
    context = conversation(messages)
    last = benchmark(lambda: context.chat(last=20))
    assert last == [{"role": "user", "content": text} for text in texts()[:20]]


@pytest.mark.parametrize("messages", SIZES)
def bench_index_of_one_of_the_last(benchmark: BenchmarkFixture, messages: int) -> None:
    history = conversation(messages).conversation_history
    assert benchmark(lambda: history.index_of("last 0")) == messages
