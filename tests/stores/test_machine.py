"""Contexts on every store at once: whatever is done to them, all stores answer as the one in memory does."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swisper_ctx import ConflictError, ContextError, Message, PipelineExecution, SwisperContext, serialize_context
from swisper_ctx._core import patch_of
from swisper_ctx.log import GRACE_VERSIONS
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing import ManualClock
from swisper_ctx.testing.changes import folded
from swisper_ctx.testing.clock import MINUTE

Hand = tuple[str, int]
"""One of the contexts of a session: two of them play two processes."""

NAMES = ["a", "b"]
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


class World:
    """One store, and the contexts that were loaded from it."""

    def __init__(self, opened: Callable[[], SessionStore]) -> None:
        self.opened = opened
        self.contexts: dict[Hand, SwisperContext] = {}
        self.store = self.open()

    def open(self) -> SessionStore:
        store = self.opened()
        # When a checkpoint is due is drawn for each session: here they come when the rule makes them.
        store._checkpointer.consider = lambda *_: None  # type: ignore[method-assign]
        return store

    async def reopen(self) -> None:
        if not isinstance(self.store, MemorySessionStore):
            await self.store.aclose()
            self.store = self.open()


async def outcome(answer: Awaitable[Any]) -> Any:
    """What came of it, in a form that is the same for every store."""
    try:
        return await answer
    except (ContextError, IndexError) as error:
        return type(error), str(error) if isinstance(error, ConflictError) else ""


async def shape(store: SessionStore, session_id: str) -> Any:
    """What is stored of a session, without what is random."""
    stored = await store.read(session_id)
    if stored is None or stored.head is None:
        return stored
    blocks = [(block.field, block.position, block.records) for block in stored.blocks]
    frames = [
        (frame.version, frame.change_id, frame.time, frame.body and patch_of(session_id, 0, frame.version, frame.body))
        for frame in await store.frames(session_id)
    ]
    times = stored.created_at, stored.updated_at
    return stored.user_id, stored.etag.version, times, stored.head.base, blocks, frames


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.clock, self.number = ManualClock(), 0
        path = Path(self.directory.name)
        self.worlds = [
            World(lambda: MemorySessionStore(clock=self.clock)),
            World(lambda: SQLiteSessionStore(path / "sqlite", clock=self.clock)),
            World(lambda: ShelveSessionStore(path / "shelve", clock=self.clock)),
        ]

    def same(self, do: Callable[[World], Awaitable[Any]]) -> Any:
        """Do it in every world; the answer, which is the same in all."""

        async def everywhere() -> list[Any]:
            return [await outcome(do(world)) for world in self.worlds]

        expected, *others = self.runner.run(everywhere())
        for answer in others:
            assert answer == expected
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
    def create(self, hand: Hand) -> None:
        async def created(world: World) -> None:
            context = SwisperContext(session_id=hand[0], user_id="u")
            await world.store.save_session(context)
            world.contexts[hand] = context

        self.same(created)

    @rule(hand=hands, user=st.sampled_from([None, "u", "other"]))
    def load(self, hand: Hand, user: str | None) -> None:
        async def loaded(world: World) -> Any:
            context = await world.store.load_session(hand[0], user_id=user)
            if context is not None:
                world.contexts[hand] = context
            return context and serialize_context(context)

        self.same(loaded)

    @rule(hand=hands, said=st.lists(texts, min_size=1, max_size=4))
    def say(self, hand: Hand, said: list[str]) -> None:
        messages = [self.message(text) for text in said]
        self.each(hand, lambda context: context.conversation_history.extend(messages))

    @rule(hand=hands, at=positions, text=texts)
    def reword(self, hand: Hand, at: int, text: str) -> None:
        def edit(context: SwisperContext) -> None:
            history = context.conversation_history
            history[at] = history[at].replace(content=text)

        self.each(hand, edit)

    @rule(hand=hands, at=positions, text=texts)
    def insert(self, hand: Hand, at: int, text: str) -> None:
        message = self.message(text)
        self.each(hand, lambda context: context.conversation_history.insert(at, message))

    @rule(hand=hands, begin=positions, end=positions)
    def forget(self, hand: Hand, begin: int, end: int) -> None:
        def edit(context: SwisperContext) -> None:
            del context.conversation_history[begin:end]

        self.each(hand, edit)

    @rule(hand=hands, key=st.sampled_from(["k", "l/~"]), value=values)
    def note(self, hand: Hand, key: str, value: Any) -> None:
        self.each(hand, lambda context: context.metadata.update({key: copy.deepcopy(value)}))

    @rule(hand=hands, query=texts, constraints=st.lists(texts, max_size=3))
    def ask(self, hand: Hand, query: str, constraints: list[str]) -> None:
        def edit(context: SwisperContext) -> None:
            context.product_query = query
            context.hard_constraints = [*constraints]

        self.each(hand, edit)

    @rule(hand=hands, change_id=st.sampled_from([None, None, "x", "y", ""]))
    def save(self, hand: Hand, change_id: str | None) -> None:
        async def saved(world: World) -> Any:
            if hand in world.contexts:
                await world.store.save_session(world.contexts[hand], change_id=change_id)

        self.same(saved)

    @rule(name=names)
    def save_both_at_once(self, name: str) -> None:
        async def saved(world: World) -> Any:
            contexts = [world.contexts[hand] for hand in ((name, 0), (name, 1)) if hand in world.contexts]
            return await asyncio.gather(*(outcome(world.store.save_session(context)) for context in contexts))

        self.same(saved)

    @rule(hand=hands, turns=st.integers(1, 20))
    def converse(self, hand: Hand, turns: int) -> None:
        messages = [self.message("one of many") for _ in range(turns)]

        async def held(world: World) -> Any:
            if hand in world.contexts:
                for message in messages:
                    world.contexts[hand].conversation_history.append(message)
                    await world.store.save_session(world.contexts[hand])

        self.same(held)

    @rule(name=names)
    def record_a_pipeline(self, name: str) -> None:
        execution = PipelineExecution(pipeline_name="p")
        self.same(lambda world: world.store.append_record(name, "pipeline_executions", execution))

    @rule(hand=hands)
    def checkpoint(self, hand: Hand) -> None:
        async def made(world: World) -> Any:
            context = world.contexts.get(hand)
            if context is not None and context._position.etag and context._position.mark:
                return await folded(world.store, context)
            return None

        self.same(made)

    @rule(hand=hands, minutes=st.sampled_from([9, 11, 1441]))
    def grow_old(self, hand: Hand, minutes: int) -> None:
        """A head is replaced, and whether it is purged depends on the time between."""
        self.load(hand, None)
        self.checkpoint(hand)
        self.wait(minutes)
        self.converse(hand, GRACE_VERSIONS)
        self.checkpoint(hand)

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.same(lambda world: world.store.delete_session(name))

    @rule(minutes=st.integers(1, 20))
    def wait(self, minutes: int) -> None:
        self.clock.advance(minutes * MINUTE)

    @rule()
    def reopen(self) -> None:
        self.same(World.reopen)

    @invariant()
    def the_same_is_stored(self) -> None:
        for name in NAMES:
            self.same(lambda world, name=name: shape(world.store, name))  # type: ignore[misc]
            self.load((name, 2), None)
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


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=settings().max_examples // 3, stateful_step_count=40)
