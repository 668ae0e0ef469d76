"""Contexts on every store at once: whatever is done to them, all stores answer as the one in memory does."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.conftest import FULL

from swisper_ctx import (
    ConflictError,
    ContextError,
    Message,
    OutcomeUnknownError,
    PipelineExecution,
    SessionNotFoundError,
    StoreUnavailableError,
    SwisperContext,
    serialize_context,
)
from swisper_ctx._core import patch_of
from swisper_ctx.keys import new_key
from swisper_ctx.log import GRACE_VERSIONS, Change, CommitResult
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.clock import Failpoint
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing import FaultyStore, ManualClock
from swisper_ctx.testing.changes import folded
from swisper_ctx.testing.clock import MINUTE

Hand = tuple[str, int]
"""One of the contexts of a session: two of them play two processes."""

NAMES = ["a", "b"]
KEYS = [new_key(), new_key()]
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

FAULTS = {
    "commit.begin": StoreUnavailableError("injected"),
    "commit.applied": StoreUnavailableError("injected"),
    "commit.done": OutcomeUnknownError("injected"),
    "checkpoint.begin": StoreUnavailableError("injected"),
}
MOMENTS = ["", "before a commit", "after a commit"]

SEEN: Counter[str] = Counter()
"""How often each rule was followed, and what came of it."""
RULES: set[str] = set()

R = TypeVar("R", bound=Callable[..., Any])


def counted(function: R) -> R:
    """Count how often a rule is followed."""
    RULES.add(function.__name__)

    @wraps(function)
    def counting(*values: Any, **named: Any) -> Any:
        SEEN[function.__name__] += 1
        return function(*values, **named)

    return counting  # type: ignore[return-value]


def sealed(store: SessionStore) -> EncryptedSessionStore:
    return EncryptedSessionStore(KEYS, store)


class World:
    """One store, and the contexts that were loaded from it."""

    def __init__(self, opened: Callable[[Failpoint], SessionStore]) -> None:
        self.opened = opened
        self.contexts: dict[Hand, SwisperContext] = {}
        self.moment = self.fault = ""
        """When a checkpoint is made beside each save, and the failpoint that raises the next time it is come to."""
        self.store = self.open()

    def open(self) -> Watched:
        store = Watched(self.opened(self.failpoint), self)
        store.on_event = lambda name, details: SEEN.update([name])
        # When a checkpoint is due is drawn for each session: here they come when a rule makes them.
        store._checkpointer.consider = lambda *_: None  # type: ignore[method-assign]
        return store

    def failpoint(self, name: str) -> None:
        if name == self.fault:
            self.fault = ""
            SEEN[f"fault at {name}"] += 1
            raise FAULTS[name]

    async def fold_all(self, changes: Sequence[Change]) -> None:
        for change in changes:
            SEEN[f"checkpoint {self.moment}"] += await outcome(self.fold(change.session_id, 0)) is True

    async def fold(self, session_id: str, back: int) -> bool | None:
        """Make a checkpoint of the state so many versions ago; None if there is none."""
        etag = (await self.store.etags([session_id])).get(session_id)
        if etag is None:
            return None
        return await folded(self.store, await self.store.at_version(session_id, max(etag.version - back, 1)))

    async def reopen(self) -> None:
        store = self.store.store
        if not isinstance(store.store if isinstance(store, EncryptedSessionStore) else store, MemorySessionStore):
            await self.store.aclose()
            self.store = self.open()


class Watched(FaultyStore):
    """The store of a world, with a checkpoint beside each commit if that is wanted."""

    def __init__(self, store: SessionStore, world: World) -> None:
        super().__init__(store)
        self.world = world

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        if self.world.moment == MOMENTS[1]:
            await self.world.fold_all(changes)
        results = await super().commit(changes)
        if self.world.moment == MOMENTS[2]:
            await self.world.fold_all(changes)
        return results


async def outcome(answer: Awaitable[Any]) -> Any:
    """What came of it, in a form that is the same for every store."""
    try:
        return await answer
    except (ContextError, IndexError) as error:
        return type(error), (str(error), error.paths) if isinstance(error, ConflictError) else ""


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


async def seen_at(store: SessionStore, session_id: str, version: int) -> Any:
    return serialize_context(await store.at_version(session_id, version))


async def versions(store: SessionStore, session_id: str) -> Any:
    """What the history tells, without the sizes: random tokens compress to one size or another."""
    try:
        return [version._replace(size=None) for version in await store.history(session_id)]
    except SessionNotFoundError:
        return []


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.clock, self.number = ManualClock(), 0
        path = Path(self.directory.name)
        self.worlds = [
            World(lambda failpoint: MemorySessionStore(clock=self.clock, failpoint=failpoint)),
            World(lambda failpoint: SQLiteSessionStore(path / "sqlite", clock=self.clock, failpoint=failpoint)),
            World(lambda failpoint: ShelveSessionStore(path / "shelve", clock=self.clock, failpoint=failpoint)),
            World(lambda failpoint: sealed(MemorySessionStore(clock=self.clock, failpoint=failpoint))),
            World(lambda failpoint: sealed(SQLiteSessionStore(path / "2", clock=self.clock, failpoint=failpoint))),
            World(lambda failpoint: sealed(ShelveSessionStore(path / "3", clock=self.clock, failpoint=failpoint))),
        ]
        self.truth: dict[str, dict[int, Any]] = defaultdict(dict)
        """What was stored of each session at each version that was looked at while it was the newest."""

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


OUTCOMES = {
    *(f"checkpoint {moment}" for moment in MOMENTS[1:]),
    *(
        f"checkpoint {what}: {answer}"
        for what in ("of what is in hand", "of an earlier state")
        for answer in (True, False)
    ),
    *(f"fault at {failpoint}" for failpoint in FAULTS),
    "looking back: as it was",
    "looking back: VersionUnavailableError",
    "saving an old version: ConflictError",
    "session_merged",
    "session_conflict",
    "refreshed: ConflictError",
    "refreshed: SessionNotFoundError",
    "a version without its patch",
    "deleted: True",
}


def unseen() -> set[str]:
    """What the tests are there for, and did not come to."""
    return {name for name in OUTCOMES | RULES if not SEEN[name]}


def test_all_stores_answer_as_the_one_in_memory() -> None:
    SEEN.clear()
    rounds = settings(max_examples=settings().max_examples // 3, stateful_step_count=40)
    run_state_machine_as_test(Stores, settings=rounds)
    assert sum(SEEN[rule] for rule in RULES) > 10 * rounds.max_examples
    # The few rounds of every day come to most of it, and not always to the same.
    assert len(unseen()) <= (0 if FULL else len(OUTCOMES | RULES) // 2)


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
    SEEN.clear()
    stores = Stores()
    stores.begin()
    for step in by_hand(stores):
        step()
        stores.the_same_is_stored()
        stores.the_same_is_in_hand()
    stores.teardown()
    assert unseen() == set()
