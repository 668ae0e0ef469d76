from __future__ import annotations

import json

import pytest
from benches.conversation import FIRST_NUMBER, add_turn, context_of, operations
from pytest_benchmark.fixture import BenchmarkFixture

from swisper_ctx import SwisperContext

TURNS = 100


@pytest.mark.parametrize("messages", [10, 10_000])
def bench_100_turns(benchmark: BenchmarkFixture, messages: int) -> None:
    context = context_of(messages)
    context._freeze()

    def take_turns() -> bytes:
        patch = b""
        for number in range(FIRST_NUMBER, FIRST_NUMBER + TURNS):
            add_turn(context, number)
            delta = context._freeze()
            assert delta is not None
            patch = delta.patch()
        return patch

    # So few, because the history grows.
    patch = benchmark.pedantic(take_turns, rounds=50, warmup_rounds=2)  # type: ignore[no-untyped-call]
    assert json.loads(patch) == operations(FIRST_NUMBER + TURNS - 1)


def bench_freeze_nothing(benchmark: BenchmarkFixture) -> None:
    context = context_of(1_000)
    context._freeze()
    assert benchmark(context._freeze) is None


def bench_small_change_of_a_dict(benchmark: BenchmarkFixture) -> None:
    context = context_of(10)
    context.soft_preferences.update({f"preference_{n}": {"weight": n, "seen": [n, n + 1]} for n in range(200)})
    context._freeze()
    number = 0

    def change() -> bytes:
        nonlocal number
        number += 1
        context.soft_preferences["preference_100"]["weight"] = -number
        delta = context._freeze()
        assert delta is not None
        return delta.patch()

    patch = benchmark(change)
    path = "/soft_preferences/preference_100/weight"
    assert json.loads(patch) == [{"op": "replace", "path": path, "value": -number}]


def bench_first_version(benchmark: BenchmarkFixture) -> None:
    def first() -> bytes:
        delta = SwisperContext(user_id="u-17")._freeze()
        assert delta is not None
        return delta.patch()

    assert json.loads(benchmark(first))[0]["value"]["conversation_history"] == []
