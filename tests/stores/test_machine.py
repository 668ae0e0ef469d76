"""Contexts on every store at once: whatever is done to them, all stores answer as the one in memory does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.conftest import FULL
from tests.stores.machine.machine import Stores
from tests.stores.machine.worlds import FAULTS, MOMENTS, OUTCOMES, RULES, SEEN, World, sealed, unseen
from tests.stores.postgres.schemas import Schemas, execute, in_a_thread

from swisper_ctx.stores.clock import Failpoint
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.postgres import PostgresSessionStore

TABLES = "session_etags, context_heads, context_blocks, context_frames, sessions, pipeline_executions"


@pytest.fixture
def on_postgres(schemas: Schemas) -> type[Stores]:
    """The machine with worlds on a server, which begin without sessions."""
    urls = schemas.new(), schemas.new()

    class OnPostgres(Stores):
        def begin_worlds(self, path: Path) -> list[World]:
            for url in urls:
                in_a_thread(execute(url, f"TRUNCATE {TABLES}"))

            def opened(url: str, failpoint: Failpoint) -> PostgresSessionStore:
                def both(name: str) -> None:
                    failpoint(name)
                    # One statement: before it, or in it and rolled back, is the same.
                    if name == "commit.begin":
                        failpoint("commit.applied")

                return PostgresSessionStore(url, clock=self.clock, failpoint=both)

            return [
                World(lambda failpoint: MemorySessionStore(clock=self.clock, failpoint=failpoint)),
                World(lambda failpoint: opened(urls[0], failpoint)),
                World(lambda failpoint: sealed(opened(urls[1], failpoint))),
            ]

    return OnPostgres


def test_all_stores_answer_as_the_one_in_memory() -> None:
    examples = settings().max_examples // 3
    go_through(Stores, examples)
    assert sum(SEEN[rule] for rule in RULES) > 10 * examples
    # The few rounds of every day come to most of it, and not always to the same.
    assert len(unseen()) <= (0 if FULL else len(OUTCOMES | RULES) // 2)


@pytest.mark.servers
def test_postgres_answers_as_the_store_in_memory(on_postgres: type[Stores]) -> None:
    go_through(on_postgres, settings().max_examples // 20)


def go_through(machine: type[Stores], examples: int) -> None:
    SEEN.clear()
    rounds = settings(max_examples=examples, stateful_step_count=40)
    run_state_machine_as_test(machine, settings=rounds)


def by_hand(stores: Stores) -> list[Callable[[], Any]]:
    """A life in which everything happens that the rules can come to."""
    a, b = ("a", 0), ("a", 1)
    return [
        lambda: (stores.create(b), stores.load(b, None), stores.load(b, "other"), stores.create(("b", 0))),
        lambda: (
            stores.say(a, ["x", "\0", "y"]),
            stores.reword(a, 1, "z"),
            stores.insert(a, -1, ""),
            stores.forget(a, 0, 1),
        ),
        lambda: (stores.note(a, "k", {"no JSON": (1, 2)}), stores.save(a, None), stores.note(a, "k", 1)),
        lambda: (stores.ask(a, "q", ["c"]), stores.save(a, "x"), stores.record_a_pipeline("a")),
        lambda: (stores.say(b, ["w"]), stores.save_both_at_once("a"), stores.load(a, None), stores.load(b, None)),
        lambda: (stores.say(a, ["from a"]), stores.save(a, None), stores.say(b, ["from b"]), stores.refresh(b)),
        lambda: (stores.save(b, None), stores.note(a, "k", 2), stores.save(a, None), stores.note(b, "k", 3)),
        lambda: (stores.refresh(b), stores.save(b, None), stores.load(b, None), stores.update("a", "k", 4, "z")),
        lambda: (stores.disagree("a", 6), stores.update("a", "k", 5, "z"), stores.load(a, None), stores.load(b, None)),
        lambda: (stores.checkpoint(a), stores.checkpoint(b), stores.converse(a, 5)),
        lambda: (stores.checkpoint_an_earlier_state("a", 2), stores.checkpoint_an_earlier_state("a", 4)),
        *(
            lambda m=moment: (stores.checkpoint_beside_every_save(m), stores.converse(a, 2))
            for moment in reversed(MOMENTS)
        ),
        *(
            lambda f=fault: (stores.fail_once(f), stores.say(a, [f]), stores.save(a, None), stores.save(a, None))
            for fault in FAULTS
        ),
        lambda: (stores.fail_once("checkpoint.begin"), stores.checkpoint(a)),
        lambda: (stores.look_back("a", 3), stores.look_back("a", 0), stores.look_back("a", 99)),
        lambda: (stores.save_an_old_version("a", 2, "old"), stores.save_an_old_version("a", 0, "new")),
        lambda: (stores.reopen(), stores.grow_old(a, 11), stores.wait(1)),
        lambda: (stores.look_back("a", 140), stores.look_back("a", 128)),
        lambda: (stores.delete("a"), stores.delete("a"), stores.refresh(a)),
    ]


def test_the_rules_come_to_everything_they_are_there_for() -> None:
    come_to_everything(Stores())


@pytest.mark.servers
def test_they_do_on_postgres(on_postgres: type[Stores]) -> None:
    come_to_everything(on_postgres())


def come_to_everything(stores: Stores) -> None:
    SEEN.clear()
    stores.begin()
    for step in by_hand(stores):
        step()
        stores.the_same_is_stored()
        stores.the_same_is_in_hand()
    stores.teardown()
    assert unseen() == set()
