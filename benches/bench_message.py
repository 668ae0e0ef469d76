from __future__ import annotations

from benches.conversation import METADATA, QUESTION, question
from pytest_benchmark.fixture import BenchmarkFixture

from swisper_ctx import Message


def bench_construct(benchmark: BenchmarkFixture) -> None:
    assert benchmark(question).content == QUESTION


def bench_construct_with_new_id_and_time(benchmark: BenchmarkFixture) -> None:
    message = benchmark(Message, role="user", content=QUESTION)
    assert message.timestamp is not None
    assert message.message_id != Message(role="user").message_id


def bench_construct_and_encode(benchmark: BenchmarkFixture) -> None:
    text = benchmark(lambda: question().to_json())
    assert Message.from_json(text) == question()


def bench_from_json(benchmark: BenchmarkFixture) -> None:
    text = question().to_json()
    assert benchmark(Message.from_json, text).to_json() == text


def bench_read_text(benchmark: BenchmarkFixture) -> None:
    message = question()
    assert benchmark(lambda: message.content) == QUESTION


def bench_read_dict(benchmark: BenchmarkFixture) -> None:
    message = question()
    assert benchmark(lambda: message.metadata) == METADATA


def bench_replace(benchmark: BenchmarkFixture) -> None:
    message = question()
    replaced = benchmark(message.replace, content="redacted")
    assert (replaced.content, replaced.message_id) == ("redacted", message.message_id)
