"""One store and the contexts loaded from it, in a form in which stores can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from swisper_ctx import (
    ConflictError,
    ContextError,
    OutcomeUnknownError,
    SessionNotFoundError,
    StoreUnavailableError,
    SwisperContext,
    serialize_context,
)
from swisper_ctx._core import patch_of
from swisper_ctx.keys import new_key
from swisper_ctx.log import Change, CommitResult
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.clock import Failpoint
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.changes import folded

Hand = tuple[str, int]
"""One of the contexts of a session: two of them play two processes."""

NAMES = ["a", "b"]
KEYS = [new_key(), new_key()]

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
