"""The named scenarios of the protocol model, replayed step by step against the real stores.

Left out are those about what is not here: redaction, forks, rotation of keys, caches and Redis; those about the clock
(purge, expiry) are in the contract of the stores. A guard is here a transition, the only one that contexts have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from tests.stores.protocol import Patch, State, begin, edit
from tests.stores.schedules import SESSION, Actor, Process, World

from swisper_ctx import ConflictError, OutcomeUnknownError, SwisperContext
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.testing.changes import folded

ATTEMPTS = 6


async def answered(call: Callable[[], Awaitable[object]]) -> None:
    """Try again while the answers are lost."""
    for _ in range(ATTEMPTS):
        try:
            await call()
        except OutcomeUnknownError:
            continue
        return
    raise OutcomeUnknownError("lost too often")


async def write(
    world: World, store: Process, context: SwisperContext, name: str, patch: Patch, change_id: str | None = None
) -> bool:
    """Edit and save once; whether it was acknowledged."""
    assert context._position.etag is not None
    store.change, base = (name, patch), context._position.etag.token
    edit(context, patch)
    try:
        await answered(lambda: store.save_session(context, change_id=change_id))
    except ConflictError as error:
        world.refuse(store.name, name, patch, error)
    except OutcomeUnknownError:
        assert world.old_log, "the frames can tell"
    else:
        world.acknowledge(name, base, context, change_id is not None)
        return True
    return False


def writer(name: str, *edits: Patch) -> tuple[str, Actor]:
    async def actor(world: World, store: Process, context: SwisperContext) -> None:
        for number, patch in enumerate(edits):
            if not await write(world, store, context, f"{name}{number}", patch):
                return

    return name, actor


def job(name: str) -> tuple[str, Actor]:
    """A queue's worker: it loads afresh each time it is delivered, and names its change."""

    async def actor(world: World, store: Process, context: SwisperContext) -> None:
        now = await store.load_session(SESSION)
        if now is not None:
            await write(world, store, now, "job-7", REF, "job-7")

    return name, actor


def checkpoint(name: str, times: int = 1) -> tuple[str, Actor]:
    async def actor(world: World, store: Process, context: SwisperContext) -> None:
        for _ in range(times):
            now = await store.load_session(SESSION)
            world.observe(now)
            if now is not None:
                await folded(store, now)

    return name, actor


def tail(name: str) -> tuple[str, Actor]:
    """The last records first, the others afterwards; of the same version, or all of it anew."""

    async def actor(world: World, store: Process, context: SwisperContext) -> None:
        found = await store.load_session(SESSION, tail=1)
        if found is not None:
            try:
                await found.load_history()
            except ConflictError:
                found = await store.load_session(SESSION)
        world.observe(found)

    return name, actor


def deletion(name: str, then: State | None = None, *edits: Patch, change_id: str | None = None) -> tuple[str, Actor]:
    """Delete the session, and perhaps create another of the same id, with its own changes."""

    async def actor(world: World, store: Process, context: SwisperContext) -> None:
        await store.delete_session(SESSION)
        if then is None:
            return
        fresh = begin(SESSION, then)
        store.change = f"{name} again", (("all", then),)
        await answered(lambda: store.save_session(fresh))
        for number, patch in enumerate(edits):
            if not await write(world, store, fresh, change_id or f"{name}{number}", patch, change_id):
                return

    return name, actor


def says(who: str, what: str = "msg") -> Patch:
    return (("append", "log", (who, what)),)


REF, A1, A2, B1 = (("append", "refs", "r"),), (("set", "a", 1),), (("set", "a", 2),), (("set", "b", 1),)
BUSY, CONSENT = (("set", "status", "busy"),), (("set", "consent", False),)
REMOVE, REPLACE = (("remove", "tags", 0),), (("replace", "tags", 1, "new"),)
EDIT = (("replace", "log", 0, ("A", "edited")),)
HISTORY = State(log=(("A", "msg"), ("A", "msg2")))

PAIRS = [
    (one, two)
    for one in (says("A"), REF, A1, BUSY, CONSENT, REMOVE, REPLACE, EDIT)
    for two in (says("B"), REF, A2, B1, BUSY, CONSENT, REMOVE, REPLACE)
]
CALLS = says("A", "call"), says("A", "result")


class Scenario(NamedTuple):
    start: State
    actors: tuple[tuple[str, Actor], ...]
    losses: int = 0
    crashes: int = 0


SCENARIOS = {
    "tool calls": Scenario(State(), (writer("A", *CALLS), writer("B", says("B"), B1), checkpoint("C")), crashes=1),
    "two writers, lost answer": Scenario(
        State(), (writer("A", says("A"), A1), writer("B", says("B"), B1), checkpoint("C")), 2, 1
    ),
    "two checkpoints": Scenario(State(), (writer("A", says("A"), A1), checkpoint("C", 2), checkpoint("D")), crashes=1),
    "a retry": Scenario(State(), (writer("A", REF), writer("B", B1), checkpoint("C")), losses=2),
    "job delivered twice": Scenario(State(), (job("A"), job("B"), checkpoint("C")), 2, 1),
    "delete and writers": Scenario(HISTORY, (writer("A", REF), deletion("X"), checkpoint("C")), 1, 1),
    "re-create and writers": Scenario(HISTORY, (writer("A", REF), deletion("X", State(), A1), checkpoint("C")), 1),
    "change_id used again": Scenario(State(), (job("A"), deletion("X", State(), A1, change_id="job-7"))),
    "re-create and tail": Scenario(
        HISTORY, (deletion("X", State(log=(("X", "msg"), ("X", "msg2")))), checkpoint("C"), tail("T"))
    ),
    "tail and whole reads": Scenario(HISTORY, (writer("A", EDIT, says("A")), checkpoint("C", 2), tail("T"))),
    "busy": Scenario(
        HISTORY,
        (
            writer("A", says("A"), REF, A1, BUSY),
            writer("B", says("B", "call"), says("B", "result"), B1),
            writer("R", EDIT, A2),
            job("J"),
            job("K"),
            checkpoint("C", 2),
            tail("T"),
        ),
        3,
        2,
    ),
}


@pytest.fixture(params=["memory", "sqlite", "shelve", pytest.param("postgres", marks=pytest.mark.servers)])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Callable[[], SessionStore]]:
    """For each run: a new place, and stores on it, one for each process where a store can be shared.

    On PostgreSQL the processes of a run share a store, of which each run finds no session of the one before.
    """
    url = request.getfixturevalue("postgres_tables") if request.param == "postgres" else ""
    runs = 0

    def new_run() -> Callable[[], SessionStore]:
        nonlocal runs
        runs += 1
        path = tmp_path / f"{runs}"
        if request.param == "sqlite":
            return lambda: SQLiteSessionStore(path)
        only: SessionStore
        if request.param == "postgres":
            only = PostgresSessionStore(url)
        else:
            only = MemorySessionStore() if request.param == "memory" else ShelveSessionStore(path)
        return lambda: only

    return new_run


@pytest.fixture
def share(request: pytest.FixtureRequest, effort: int) -> int:
    """One of so many is replayed: on a server each takes its time, and every store goes by the same rules."""
    return 5 if effort == 1 and request.node.callspec.params["stores"] == "postgres" else 1


async def replay(stores: Callable[[], SessionStore], scenario: Scenario, seed: str) -> World:
    world = World(stores, Random(seed), scenario.losses, scenario.crashes)
    try:
        await world.start(scenario.start)
        for name, actor in scenario.actors:
            await world.add(name, actor)
        await world.run()
        await world.check()
    finally:
        await world.aclose()
    return world


async def test_what_merges_by_the_rules_merges_and_nothing_else(
    stores: Callable[[], Callable[[], SessionStore]], share: int
) -> None:
    outcomes: Counter[bool] = Counter()
    for number, (one, two) in list(enumerate(PAIRS))[::share]:
        scenario = Scenario(State(log=(("A", "msg"),)), (writer("A", one), writer("B", two)))
        for order in range(2):
            world = await replay(stores(), scenario, f"{number} {order}")
            outcomes[bool(world.refused)] += 1
    assert min(outcomes.values()) > outcomes.total() // 4


@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_schedule_keeps_the_rules(
    stores: Callable[[], Callable[[], SessionStore]], name: str, effort: int, share: int
) -> None:
    for number in range(0, 30 * min(effort, 10), share):
        await replay(stores(), SCENARIOS[name], f"{name} {number}")
