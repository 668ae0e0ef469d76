"""Sessions that were used last, in memory, in front of any store.

An entry is a snapshot with its etag. It is trusted for `max_staleness` seconds after it was last held against the
truth; then its etag is asked for, with those of other sessions, and what is new is fetched as frames. There are no
messages between processes: the etag of the truth always wins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from operator import attrgetter

from swisper_ctx._core import Conflict, LRUCache, Snapshot, rebase
from swisper_ctx.context import ContextBase, Position, SwisperContext
from swisper_ctx.errors import ContextError, StoreError, StoreUnavailableError
from swisper_ctx.log import (
    Block,
    Change,
    Checkpoint,
    CommitResult,
    Etag,
    Frame,
    Remains,
    Restoration,
    SessionPage,
    StoredBody,
    StoredSession,
)
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.committer import Answered
from swisper_ctx.stores.loaded import Loaded
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.validation import Validator

log = logging.getLogger("swisper_ctx.cache")

MAX_BYTES = 256 * 1024 * 1024
"""The raw bytes of all sessions that are kept, unless another number is given."""


@dataclass(slots=True)
class Entry:
    """A version of a session, and when it was last known to be the newest."""

    loaded: Loaded
    declared: Snapshot
    """Whose declarations of fields it was opened with."""
    checked: float
    """On the monotonic clock, from before the query that has told was sent."""
    weight: int


@dataclass(slots=True)
class Load:
    """A load on its way, which others may join."""

    loop: asyncio.AbstractEventLoop
    declared: Snapshot
    began: float = inf
    """When its first query was sent; it is yet to be sent until then."""
    joined: list[asyncio.Future[Loaded | None]] = field(default_factory=list)

    def serves(self, loop: asyncio.AbstractEventLoop, declared: Snapshot, oldest: float) -> bool:
        """Whether its result is what a caller wants who takes none that began before `oldest`, nor just then."""
        return self.loop is loop and self.declared is declared and self.began > oldest


@dataclass(slots=True, eq=False)
class Sent:
    """A group of changes on its way."""

    at: float
    """On the monotonic clock."""


class SessionCache(SessionStore):
    """Snapshots in memory in front of `persistent_store`, which may be any store; without one, of a memory store.

    `redis_cache` is a cache that stands between the two, made around that store: else this raises StoreError. Loads are
    served from memory for `max_staleness` seconds after an entry was last validated, and validated by etag after that;
    a strict load always is. With `stale_if_error`, entries validated so many seconds ago at most still serve loads that
    are not strict while the store is unavailable.

    At most `max_bytes` of raw session bytes are kept. That bounds content, not memory: an entry takes about 5 kB beside
    its bytes, so that small sessions take many times what they count, and blocks of an encrypted session count as they
    are stored, also once they were opened.
    """

    def __init__(
        self,
        persistent_store: SessionStore | None = None,
        redis_cache: SessionStore | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        max_staleness: float = 1.0,
        stale_if_error: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if redis_cache is not None and persistent_store is not None and not leads_to(redis_cache, persistent_store):
            raise StoreError("redis_cache does not lead to persistent_store: RedisCache(url, persistent_store)")
        behind = redis_cache or persistent_store or MemorySessionStore()
        super().__init__(clock=behind._clock, failpoint=behind._failpoint)
        self._stand_before(behind)
        self.persistent_store, self.redis_cache = persistent_store or behind, redis_cache
        self.memory_cache: LRUCache[str, Entry] = LRUCache(max_bytes, weigh=attrgetter("weight"))
        self._behind, self._max_bytes = behind, max_bytes
        self._max_staleness, self._stale_if_error, self._monotonic = max_staleness, stale_if_error, monotonic
        self._validator = Validator(behind.etags)
        self._loads: dict[str, Load] = {}
        self._sent: dict[str, Sent] = {}
        """The group of each session's change that is on its way; out of here once something else was learnt of it."""
        self._told: Sent | None = None
        """The group whose answer is being told."""

    async def get_session(self, session_id: str) -> SwisperContext | None:
        """The context of a session, None if there is none; `load_session` gives one of another class too."""
        return await self.load_session(session_id)

    def invalidate(self, session_id: str) -> None:
        """Forget what is known of a session; loads and saves on their way are finished, and remembered by nobody."""
        self._loads.pop(session_id, None)
        self._sent.pop(session_id, None)
        self.memory_cache.pop(session_id, None)

    # -- loading

    async def _loaded(self, session_id: str, declared: Snapshot, tail: int | None, strict: bool) -> Loaded | None:
        now = self._monotonic()
        entry = self.memory_cache.get(session_id)
        if entry is not None and (ends := entry.loaded.expires_at) is not None and ends <= self._clock():
            entry = None
        if entry is not None and entry.declared is declared:
            if not strict and now - entry.checked <= self._max_staleness:
                return entry.loaded
        elif tail is not None:
            # Only whole sessions are kept.
            return await super()._loaded(session_id, declared, tail, strict)
        try:
            return await self._join(session_id, declared, now, strict)
        except StoreUnavailableError:
            if entry is None or strict or now - entry.checked > self._stale_if_error:
                raise
            log.warning("the store is unavailable: session %s is served as of a while ago", session_id)
            return entry.loaded

    async def _join(self, session_id: str, declared: Snapshot, now: float, strict: bool) -> Loaded | None:
        """The result of a load that began late enough for this caller; cancelling a caller cancels no load."""
        loop, load = asyncio.get_running_loop(), self._loads.get(session_id)
        oldest = now if strict else now - self._max_staleness
        if load is None or not load.serves(loop, declared, oldest):
            load = self._loads[session_id] = Load(loop, declared)
            task = loop.create_task(self._perform(session_id, load))
            task.add_done_callback(partial(self._ended, session_id, load))
        answer: asyncio.Future[Loaded | None] = loop.create_future()
        load.joined.append(answer)
        return await answer

    def _ended(self, session_id: str, load: Load, task: asyncio.Task[Loaded | None]) -> None:
        if self._loads.get(session_id) is load:
            del self._loads[session_id]
        for answer in load.joined:
            if answer.done():
                continue
            if task.cancelled():
                answer.cancel()
            elif (error := task.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(task.result())

    async def _perform(self, session_id: str, load: Load) -> Loaded | None:
        load.began = began = self._monotonic()
        entry = self.memory_cache.peek(session_id)
        known = entry.loaded if entry is not None and entry.declared is load.declared else None
        found = await self._newest(session_id, known, load.declared)
        # It may show more than what a save that is on its way has written.
        self._sent.pop(session_id, None)
        if self._loads.get(session_id) is load:
            self._fill(session_id, found, load.declared, began)
        return found

    async def _newest(self, session_id: str, known: Loaded | None, declared: Snapshot) -> Loaded | None:
        if known is not None:
            etag = await self._validator.etag(session_id)
            if etag is None or etag == known.etag:
                return known if etag else None
            caught_up = await self._catch_up(session_id, known)
            if caught_up is not None:
                return caught_up
        return await super()._loaded(session_id, declared, None, strict=False)

    async def _catch_up(self, session_id: str, known: Loaded) -> Loaded | None:
        """The newest version by the frames after one that is known; None if they do not lead there."""
        stored = await self._behind.read(session_id, after=known.etag)
        return None if stored is None else follow(known, stored)

    def _fill(self, session_id: str, found: Loaded | None, declared: Snapshot, checked: float) -> None:
        if found is None or (weight := found.snapshot.size) > self._max_bytes:
            self.memory_cache.pop(session_id, None)
        else:
            self.memory_cache[session_id] = Entry(found, declared, checked, weight)

    # -- saving

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        sent = Sent(self._monotonic())

        def told(results: list[CommitResult] | None, error: BaseException | None) -> None:
            for change in changes:
                self._outdate(change.session_id)
            before, self._told = self._told, sent
            try:
                answered(results, error)
            finally:
                self._told = before
                self._settle(changes, sent)

        for change in changes:
            self._sent[change.session_id] = sent
        try:
            self._behind.begin_commit(changes, told)
        except BaseException:
            self._settle(changes, sent)
            raise

    def _settle(self, changes: Sequence[Change], sent: Sent) -> None:
        """A group is on its way no more."""
        for change in changes:
            if self._sent.get(change.session_id) is sent:
                del self._sent[change.session_id]

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        try:
            return await self._behind.commit(changes)
        finally:
            for change in changes:
                self._outdate(change.session_id)

    def _outdate(self, session_id: str) -> None:
        """A change was answered: what is known from before must be held against the truth, whatever the answer."""
        self._loads.pop(session_id, None)
        entry = self.memory_cache.peek(session_id)
        if entry is not None:
            entry.checked = -inf

    def _committed(self, context: ContextBase, position: Position, snapshot: Snapshot) -> None:
        etag = position.etag
        if etag is None or position.blocks is not None:
            return  # a part of the history was left in the store, and only whole sessions are kept
        sent = self._sent.get(position.session_id)
        if sent is None or sent is not self._told:
            return  # it was deleted since the change was sent, or read with more, or found written without an answer
        times = position.created_at, position.updated_at, position.expires_at
        loaded = Loaded(position.session_id, position.user_id, etag, position.epoch, *times, snapshot, position.mark)
        self._fill(position.session_id, loaded, context._unopened, sent.at)

    # -- what the store behind it does

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        return await self._behind.etags(session_ids)

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        return await self._behind.read(session_id, after=after, tail=tail)

    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        return await self._behind.read_version(session_id, version)

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        return await self._behind.blocks(session_id, block_ids)

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        return await self._behind.frames(session_id, after=after, limit=limit)

    async def holds(self, session_id: str, change_id: str) -> bool:
        return await self._behind.holds(session_id, change_id)

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        return await self._behind.checkpoint(checkpoint)

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        try:
            return await self._behind.delete(session_ids, expired=expired)
        finally:
            for session_id in session_ids:
                self.invalidate(session_id)

    async def remains(self, session_id: str) -> Remains | None:
        return await self._behind.remains(session_id)

    async def restore(self, restoration: Restoration) -> bool:
        try:
            return await self._behind.restore(restoration)
        finally:
            self.invalidate(restoration.session_id)

    async def _doubted(self, session_id: str) -> bool:
        return await self._behind._doubted(session_id)

    async def _deleted(self, session_ids: Collection[str]) -> None:
        for session_id in session_ids:
            self.invalidate(session_id)
        await self._behind._deleted(session_ids)

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        return await self._behind.bodies(session_id)

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        return await self._behind.replace(session_id, bodies)

    async def has_other_writers(self) -> bool:
        return await self._behind.has_other_writers()

    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        return await self._behind.sessions(user_id=user_id, expired=expired, cursor=cursor, limit=limit)

    async def _close(self) -> None:
        self.memory_cache.clear()
        await self._behind.aclose()


def leads_to(cache: SessionStore, store: SessionStore) -> bool:
    """Whether what is given to a cache ends up in this store."""
    reached: SessionStore | None = cache
    while reached is not store and reached is not None:
        reached = reached._next
    return reached is not None


def follow(known: Loaded, stored: StoredSession) -> Loaded | None:
    """The version at the end of frames that were read after `known`; None if they do not lead from one to the other."""
    frames, last = stored.frames, stored.frames[-1] if stored.frames else None
    if last is None or (last.version, last.token) != stored.etag or stored.epoch != known.epoch:
        return None
    bodies = [(frame.version, frame.body) for frame in frames]
    try:
        found = rebase(known.snapshot, [], {}, known.session_id, (known.epoch, stored.epoch), known.etag, bodies)
    except ContextError:
        return None
    if isinstance(found, Conflict):
        return None
    if known.mark is not None:
        for frame in frames:
            known.mark.grew(frame.version, len(frame.body or b""))
    return known._replace(
        etag=stored.etag, updated_at=stored.updated_at, expires_at=stored.expires_at, snapshot=found[0]
    )
