from __future__ import annotations

import pytest
from benches.conversation import context_of, question, texts
from pytest_benchmark.fixture import BenchmarkFixture

from swisper_ctx import Message, RecordList

MESSAGES = 1_000


@pytest.fixture
def history() -> RecordList[Message]:
    return context_of(MESSAGES).conversation_history


def bench_append_1000(benchmark: BenchmarkFixture) -> None:
    message = question()

    def fill() -> RecordList[Message]:
        history = RecordList(Message)
        for _ in range(MESSAGES):
            history.append(message)
        return history

    history = benchmark(fill)
    assert len(history) == MESSAGES
    assert history[-1] == message


def bench_index(benchmark: BenchmarkFixture, history: RecordList[Message]) -> None:
    assert benchmark(lambda: history[500]).content == texts()[500]


def bench_index_from_the_end(benchmark: BenchmarkFixture, history: RecordList[Message]) -> None:
    assert benchmark(lambda: history[-1]).content == texts()[MESSAGES - 1]


def bench_last_20(benchmark: BenchmarkFixture, history: RecordList[Message]) -> None:
    last = benchmark(lambda: history[-20:])
    assert [message.content for message in last] == texts()[MESSAGES - 20 : MESSAGES]


def bench_iterate_1000(benchmark: BenchmarkFixture, history: RecordList[Message]) -> None:
    assert [message.content for message in benchmark(lambda: list(history))] == texts()[:MESSAGES]


def bench_iterate_1000_and_read(benchmark: BenchmarkFixture, history: RecordList[Message]) -> None:
    pairs = benchmark(lambda: [(message.role, message.content) for message in history])
    assert pairs == [("user", text) for text in texts()[:MESSAGES]]
