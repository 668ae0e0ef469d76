"""The machine that does the same in several worlds, and holds each against the first one."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.stores.machine.worlds import (
    FAULTS,
    MOMENTS,
    NAMES,
    SEEN,
    Hand,
    World,
    counted,
    outcome,
    sealed,
    seen_at,
    shape,
    versions,
)

from swisper_ctx import Message, PipelineExecution, SwisperContext, serialize_context
from swisper_ctx.log import GRACE_VERSIONS
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing import ManualClock
from swisper_ctx.testing.changes import folded
from swisper_ctx.testing.clock import MINUTE

names = st.sampled_from(NAMES)
hands = st.tuples(names, st.integers(0, 1))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["x" * 700, "\0"])
json_values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
values = json_values | st.sampled_from([{"no JSON": (1, 2)}, {"large": "y" * 40_000}])
positions = st.integers(-3, 3)


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.clock, self.number = ManualClock(), 0
        self.worlds = self.begin_worlds(Path(self.directory.name))
        self.truth: dict[str, dict[int, Any]] = defaultdict(dict)
        """What was stored of each session at each version that was looked at while it was the newest."""

    def begin_worlds(self, path: Path) -> list[World]:
        """All of them; the first one is the reference."""
        return [
            World(lambda failpoint: MemorySessionStore(clock=self.clock, failpoint=failpoint)),
            World(lambda failpoint: SQLiteSessionStore(path / "sqlite", clock=self.clock, failpoint=failpoint)),
            World(lambda failpoint: ShelveSessionStore(path / "shelve", clock=self.clock, failpoint=failpoint)),
            World(lambda failpoint: sealed(MemorySessionStore(clock=self.clock, failpoint=failpoint))),
            World(lambda failpoint: sealed(SQLiteSessionStore(path / "2", clock=self.clock, failpoint=failpoint))),
            World(lambda failpoint: sealed(ShelveSessionStore(path / "3", clock=self.clock, failpoint=failpoint))),
        ]

    def same(self, do: Callable[[World], Awaitable[Any]], what: str = "") -> Any:
        """Do it in every world; the answer, which is the same in all, and is counted under a name."""

        async def everywhere() -> list[Any]:
            return [await outcome(do(world)) for world in self.worlds]

        expected, *others = self.runner.run(everywhere())
        for answer in others:
            assert answer == expected
        if what and isinstance(expected, tuple | bool):
            SEEN[f"{what}: {expected[0].__name__ if isinstance(expected, tuple) else expected}"] += 1
        return expected

    def each(self, hand: Hand, edit: Callable[[SwisperContext], Any]) -> Any:
        """Edit this context in every world, if there is one."""

        async def edited(world: World) -> Any:
            return edit(world.contexts[hand]) if hand in world.contexts else None

        return self.same(edited)

    def message(self, text: str) -> Message:
        self.number += 1
        return Message(
            role="user", content=text, message_id=str(self.number), timestamp=datetime(2026, 1, 1, tzinfo=UTC)
        )

    @initialize()
    def begin(self) -> None:
        self.create(("a", 0))

    @rule(hand=hands)
    @counted
    def create(self, hand: Hand) -> None:
        async def created(world: World) -> None:
            context = SwisperContext(session_id=hand[0], user_id="u")
            await world.store.save_session(context)
            world.contexts[hand] = context

        self.same(created)

    @rule(hand=hands, user=st.sampled_from([None, "u", "other"]))
    @counted
    def load(self, hand: Hand, user: str | None) -> None:
        self.loaded(hand, user)

    def loaded(self, hand: Hand, user: str | None = None) -> Any:
        async def loaded(world: World) -> Any:
            context = await world.store.load_session(hand[0], user_id=user)
            if context is not None:
                world.contexts[hand] = context
            return context and serialize_context(context)

        return self.same(loaded)

    @rule(hand=hands, said=st.lists(texts, min_size=1, max_size=4))
    @counted
    def say(self, hand: Hand, said: list[str]) -> None:
        messages = [self.message(text) for text in said]
        self.each(hand, lambda context: context.conversation_history.extend(messages))

    @rule(hand=hands, at=positions, text=texts)
    @counted
    def reword(self, hand: Hand, at: int, text: str) -> None:
        def edit(context: SwisperContext) -> None:
            history = context.conversation_history
            history[at] = history[at].replace(content=text)

        self.each(hand, edit)

    @rule(hand=hands, at=positions, text=texts)
    @counted
    def insert(self, hand: Hand, at: int, text: str) -> None:
        message = self.message(text)
        self.each(hand, lambda context: context.conversation_history.insert(at, message))

    @rule(hand=hands, begin=positions, end=positions)
    @counted
    def forget(self, hand: Hand, begin: int, end: int) -> None:
        def edit(context: SwisperContext) -> None:
            del context.conversation_history[begin:end]

        self.each(hand, edit)

    @rule(hand=hands, key=st.sampled_from(["k", "l/~"]), value=values)
    @counted
    def note(self, hand: Hand, key: str, value: Any) -> None:
        self.each(hand, lambda context: context.metadata.update({key: copy.deepcopy(value)}))

    @rule(hand=hands, query=texts, constraints=st.lists(texts, max_size=3))
    @counted
    def ask(self, hand: Hand, query: str, constraints: list[str]) -> None:
        def edit(context: SwisperContext) -> None:
            context.product_query = query
            context.hard_constraints = [*constraints]

        self.each(hand, edit)

    @rule(hand=hands, change_id=st.sampled_from([None, None, "x", "y", ""]))
    @counted
    def save(self, hand: Hand, change_id: str | None) -> None:
        async def saved(world: World) -> Any:
            if hand in world.contexts:
                await world.store.save_session(world.contexts[hand], change_id=change_id)

        self.same(saved)

    @rule(hand=hands)
    @counted
    def refresh(self, hand: Hand) -> None:
        async def refreshed(world: World) -> Any:
            if hand in world.contexts:
                await world.store.refresh(world.contexts[hand])

        self.same(refreshed, "refreshed")

    @rule(name=names, value=json_values)
    @counted
    def disagree(self, name: str, value: Any) -> None:
        for place, hand in enumerate(((name, 0), (name, 1))):
            self.note(hand, "k", [place, value])
        self.save((name, 0), None)
        self.refresh((name, 1))

    @rule(name=names, key=st.sampled_from(["k", "l/~"]), value=json_values, change_id=st.sampled_from([None, "x", "z"]))
    @counted
    def update(self, name: str, key: str, value: Any, change_id: str | None) -> None:
        def change(context: SwisperContext) -> None:
            context.metadata[key] = copy.deepcopy(value)

        async def updated(world: World) -> Any:
            return serialize_context(await world.store.update(name, change, change_id=change_id))

        self.same(updated)

    @rule(name=names)
    @counted
    def save_both_at_once(self, name: str) -> None:
        async def saved(world: World) -> Any:
            contexts = [world.contexts[hand] for hand in ((name, 0), (name, 1)) if hand in world.contexts]
            return await asyncio.gather(*(outcome(world.store.save_session(context)) for context in contexts))

        self.same(saved)

    @rule(hand=hands, turns=st.integers(1, 20))
    @counted
    def converse(self, hand: Hand, turns: int) -> None:
        messages = [self.message("one of many") for _ in range(turns)]

        async def held(world: World) -> Any:
            if hand in world.contexts:
                for message in messages:
                    world.contexts[hand].conversation_history.append(message)
                    await world.store.save_session(world.contexts[hand])

        self.same(held)

    @rule(name=names)
    @counted
    def record_a_pipeline(self, name: str) -> None:
        execution = PipelineExecution(pipeline_name="p")
        self.same(lambda world: world.store.append_record(name, "pipeline_executions", execution))

    @rule(hand=hands)
    @counted
    def checkpoint(self, hand: Hand) -> None:
        async def made(world: World) -> Any:
            context = world.contexts.get(hand)
            position = context._position if context is not None else None
            if context is not None and position and position.etag and position.mark and position.limbo is None:
                return await folded(world.store, context)
            return None

        self.same(made, "checkpoint of what is in hand")

    @rule(name=names, back=st.integers(0, 6))
    @counted
    def checkpoint_an_earlier_state(self, name: str, back: int) -> None:
        self.same(lambda world: world.fold(name, back), "checkpoint of an earlier state")

    @rule(moment=st.sampled_from(MOMENTS))
    @counted
    def checkpoint_beside_every_save(self, moment: str) -> None:
        for world in self.worlds:
            world.moment = moment

    @rule(fault=st.sampled_from([*FAULTS]))
    @counted
    def fail_once(self, fault: str) -> None:
        for world in self.worlds:
            world.fault = fault

    @rule(name=names, back=st.integers(0, 40) | st.integers(0, 300))
    @counted
    def look_back(self, name: str, back: int) -> None:
        version = self.version_before(name, back)
        was = self.same(lambda world: seen_at(world.store, name, version), "looking back")
        if isinstance(was, dict) and version in self.truth[name]:
            SEEN["looking back: as it was"] += 1
            assert was == self.truth[name][version]

    @rule(name=names, back=st.integers(0, 3), query=texts)
    @counted
    def save_an_old_version(self, name: str, back: int, query: str) -> None:
        version = self.version_before(name, back)

        async def saved(world: World) -> Any:
            context = await world.store.at_version(name, version)
            context.product_query = query
            await world.store.save_session(context)

        self.same(saved, "saving an old version")

    def version_before(self, name: str, back: int) -> int:
        return max(self.truth[name], default=0) - back

    @rule(hand=hands, minutes=st.sampled_from([9, 11, 1441]))
    @counted
    def grow_old(self, hand: Hand, minutes: int) -> None:
        """A head is replaced, and whether it is purged depends on the time between."""
        self.load(hand, None)
        self.checkpoint(hand)
        self.wait(minutes)
        self.converse(hand, GRACE_VERSIONS)
        self.checkpoint(hand)

    @rule(name=names)
    @counted
    def delete(self, name: str) -> None:
        self.same(lambda world: world.store.delete_session(name), "deleted")
        self.truth[name].clear()

    @rule(minutes=st.integers(1, 20))
    @counted
    def wait(self, minutes: int) -> None:
        self.clock.advance(minutes * MINUTE)

    @rule()
    @counted
    def reopen(self) -> None:
        self.same(World.reopen)

    @invariant()
    def the_same_is_stored(self) -> None:
        for name in NAMES:
            self.same(lambda world, name=name: shape(world.store, name))  # type: ignore[misc]
            now = self.loaded((name, 2))
            if now is not None:
                self.truth[name][now["version"]] = now
                ids = [message["message_id"] for message in now["conversation_history"]]
                assert len(set(ids)) == len(ids), "a message was saved twice"
            told = self.same(lambda world, name=name: versions(world.store, name))  # type: ignore[misc]
            SEEN["a version without its patch"] += any(version.paths is None for version in told)
        listed = self.same(lambda world: world.store.sessions())
        assert {line.session_id for line in listed.sessions} <= set(NAMES)

    @invariant()
    def the_same_is_in_hand(self) -> None:
        for hand in self.worlds[0].contexts:
            self.each(hand, serialize_context)

    def teardown(self) -> None:
        for world in self.worlds:
            self.runner.run(world.store.aclose())
        self.runner.close()
        self.directory.cleanup()
