"""Redis in front of any store: one hash for each session, which counts only while it is at the etag of the truth.

The etag is asked for in the store, together with those of other sessions, while Redis reads the hash. So Redis may be
lost, late or wrong: it saves the store reading, and decides nothing. Saves reach it after they are durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar, overload

from redis.asyncio.connection import parse_url

from swisper_ctx._core import dumps, loads
from swisper_ctx.context import SwisperContext, deserialize_context
from swisper_ctx.errors import ContextError, OutcomeUnknownError, StoreError, StoreUnavailableError
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
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.redis.appender import Appender
from swisper_ctx.stores.redis.entry import DamagedEntryError, Entry, block_fields
from swisper_ctx.stores.redis.hashes import Counts, Hashes
from swisper_ctx.stores.redis.link import BusyError
from swisper_ctx.stores.redis.writes import Drop, of_change, of_checkpoint, of_session
from swisper_ctx.stores.saving import NEWEST
from swisper_ctx.stores.thread import settle
from swisper_ctx.stores.validation import Validator

C = TypeVar("C", bound=SwisperContext)
R = TypeVar("R")

MAX_BYTES = 4 * 1024 * 1024
"""A session of more stored bytes is not kept in Redis, unless another number is given."""
SCHEMES = ("redis://", "rediss://", "unix://")
MOST_FILLS = 16
"""So many sessions are on their way into Redis at most; others that were read are not put there."""

ReadOptions = tuple[str, Etag | None, int | None]


class RedisCache(SessionStore):
    """A Redis in front of `store`.

    `url` is as redis-py takes it: `redis://user:password@host:port/0`, `rediss://` or `unix://`. What Redis has of a
    session expires `ttl` seconds after its last save, and a session of more than `max_bytes` is not kept there. Redis
    is waited for 50 ms; if it fails, the store works alone, until Redis answers a probe. Calls send one each second;
    while Redis fails again soon after probes that it has answered, the pause doubles each time, up to a minute.

    With `strict`, reads raise StoreUnavailableError instead. What the store has deleted, recovered or encrypted anew
    raises OutcomeUnknownError if Redis does not confirm that it has forgotten it; a save that is durable raises
    nothing. Keys begin with `prefix`. `counts` tells how it went. Raises ValueError for a `ttl` under a millisecond.

    `get` and `set` keep whole contexts for who wants no more than that of a Redis; they need no `store`, without which
    a save raises StoreError: Redis may lose what it has.
    """

    def __init__(
        self,
        url: str,
        store: SessionStore | None = None,
        *,
        ttl: float = 3600,
        max_bytes: int = MAX_BYTES,
        strict: bool = False,
        prefix: str = "swisper:",
    ) -> None:
        self._stands_alone = store is None
        self.store = store or MemorySessionStore()
        if self.store.opens_sealed:
            raise StoreError(
                "a RedisCache goes into an EncryptedSessionStore, not around it: Redis would have clear text"
            )
        super().__init__(clock=self.store._clock, failpoint=self.store._failpoint)
        self._stand_before(self.store)
        check_url(url)
        self._hashes = Hashes(url, prefix, ttl, strict, lambda: self.on_event)
        self._max_bytes = max_bytes
        self._appender = Appender(self._hashes, max_bytes)
        self._validator = Validator(self.store.etags)
        self._reads: dict[ReadOptions, asyncio.Task[StoredSession | None]] = {}
        """Those that are yet to begin, which others may join."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fills = 0

    def __repr__(self) -> str:
        return f"<RedisCache over {type(self.store).__name__}>"

    @property
    def counts(self) -> Counts:
        """What has happened so far."""
        return self._hashes.counts

    # -- whole contexts

    @overload
    async def get(self, session_id: str) -> SwisperContext | None: ...
    @overload
    async def get(self, session_id: str, context_class: type[C]) -> C | None: ...
    async def get(self, session_id: str, context_class: type[Any] = SwisperContext) -> Any:
        """The context that `set` has put under this id; None if there is none any more, or Redis does not answer."""
        found = await self._hashes.get(session_id)
        if found is None:
            return None
        try:
            document = loads(found)
            if isinstance(document, dict):
                return deserialize_context(document, context_class)
        except (ContextError, ValueError):
            pass
        await self._damaged(session_id)
        return None

    async def set(self, session_id: str, context: SwisperContext, ttl: float = 3600) -> None:
        """Keep a context as it is now for `ttl` seconds, as JSON: unencrypted, beside the log, and not durable.

        Deleting the session deletes it. Nothing is kept where Redis does not answer. Raises ValueError for a `ttl`
        under a millisecond.
        """
        await self._hashes.set(session_id, dumps(context), ttl)

    # -- reading

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        return await self.store.etags(session_ids)

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        if (not self._hashes.may_ask() and not self._hashes.is_strict) or after == NEWEST:
            # The newest version without its frames: nothing that Redis could spare the store.
            return await self.store.read(session_id, after=after, tail=tail)
        options, loop = (session_id, after, tail), asyncio.get_running_loop()
        task = self._reads.get(options)
        if task is None or task.get_loop() is not loop:
            task = self._reads[options] = self._start(self._read(options))
        return await asyncio.shield(task)

    async def _read(self, options: ReadOptions) -> StoredSession | None:
        self._reads.pop(options, None)
        session_id = options[0]
        asked = asyncio.ensure_future(self._validator.etag(session_id))
        try:
            fields = await self._fields(options)
            if fields and b"e" in fields:
                etag = await asked
                if etag is None:
                    # Whoever has deleted it did not get to delete it here.
                    self._appender.add(Drop(session_id))
                    return None
                found = await self._checked(options, fields, etag)
                if found is not None:
                    self.counts.hits += 1
                    return found
            elif fields is not None:
                self.counts.misses += 1
            # What is on its way there makes it new again; a lease would take it away.
            may_fill = not (fields and self._appender.is_busy)
            return await self._truth(options, asked, may_fill)
        finally:
            let_go(asked)

    async def _fields(self, options: ReadOptions) -> Mapping[bytes, bytes] | None:
        session_id, after, tail = options
        if after is not None:
            return await self._hashes.later(session_id, after.version)
        if tail is not None:
            return await self._hashes.tail(session_id, tail)
        return await self._hashes.whole(session_id)

    async def _checked(self, options: ReadOptions, fields: Mapping[bytes, bytes], etag: Etag) -> StoredSession | None:
        """What Redis has, if it is at this etag and as it was written."""
        session_id, after, tail = options
        entry = Entry(session_id, fields)
        try:
            if entry.etag == etag:
                return entry.session(after=None if after is None else after.version, is_tail=tail is not None)
            self.counts.stale += 1
        except DamagedEntryError:
            await self._damaged(session_id)
        return None

    async def _truth(
        self, options: ReadOptions, asked: asyncio.Future[Etag | None], may_fill: bool
    ) -> StoredSession | None:
        """What the store has; a whole session goes into Redis then, under a lease that was taken before."""
        session_id, after, tail = options
        may_fill = may_fill and after is None and tail is None and self._fills < MOST_FILLS
        leases = await self._hashes.lease([session_id]) if may_fill else None
        if asked.done() and not asked.cancelled() and asked.exception() is None and asked.result() is None:
            return None
        stored = await self.store.read(session_id, after=after, tail=tail)
        if leases and stored is not None:
            self._fills += 1
            self._start(self._fill(stored, leases[0]))
        return stored

    async def _fill(self, stored: StoredSession, lease: bytes) -> None:
        try:
            fields = of_session(stored, self._max_bytes)
            if fields is not None:
                await self._hashes.fill(stored.session_id, lease, fields)
        finally:
            self._fills -= 1

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        found = await self._kept_blocks(session_id, list(dict.fromkeys(block_ids)))
        return await self.store.blocks(session_id, block_ids) if found is None else found

    async def _kept_blocks(self, session_id: str, block_ids: list[bytes]) -> tuple[Block, ...] | None:
        """Those blocks, if Redis has all of them and is at the etag of the truth."""
        try:
            wanted = [field for block_id in block_ids for field in block_fields(block_id)]
        except ValueError:
            return None
        if not self._hashes.may_ask() and not self._hashes.is_strict:
            return None
        asked = asyncio.ensure_future(self._validator.etag(session_id))
        try:
            fields = await self._hashes.some(session_id, [b"e", *wanted])
            if fields is None or len(fields) <= len(wanted):
                return None
            entry = Entry(session_id, fields)
            return entry.blocks() if entry.etag == await asked else None
        except DamagedEntryError:
            await self._damaged(session_id)
            return None
        finally:
            let_go(asked)

    # -- writing

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        future: asyncio.Future[list[CommitResult]] = asyncio.get_running_loop().create_future()
        self.begin_commit(changes, partial(settle, future))
        return await future

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        if self._stands_alone:
            raise StoreError("this RedisCache has no store behind it: RedisCache(url, store)")
        created = [change.session_id for change in changes if change.expected is None]
        if created and self._hashes.may_ask():
            self._start(self._lease_and_commit(created, changes, answered))
        else:
            self.store.begin_commit(changes, partial(self._answered, changes, {}, answered))

    async def _lease_and_commit(self, created: list[str], changes: Sequence[Change], answered: Answered) -> None:
        """What is created goes into Redis as what is read does: under a lease from before."""
        taken: dict[str, bytes] = {}
        try:
            with suppress(StoreUnavailableError):
                taken = dict(zip(created, await self._hashes.lease(created) or (), strict=False))
            self.store.begin_commit(changes, partial(self._answered, changes, taken, answered))
        except BaseException as error:
            answered(None, error)
            if not isinstance(error, Exception):
                raise

    def _answered(
        self,
        changes: Sequence[Change],
        leases: Mapping[str, bytes],
        answered: Answered,
        results: list[CommitResult] | None,
        error: BaseException | None,
    ) -> None:
        """The group is durable: on with it to Redis. Only if that is far behind do the savers wait for it."""
        try:
            self._failpoint("redis.append")
            if results is not None and len(results) == len(changes) and self._hashes.may_ask():
                most = self._max_bytes
                writes = [
                    of_change(change, time, leases.get(change.session_id), most)
                    for change, (time, _) in zip(changes, results, strict=True)
                    if time is not None
                ]
                self._appender.add(*writes)
        finally:
            self._appender.when_close(partial(answered, results, error))

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        written = await self.store.checkpoint(checkpoint)
        if self._hashes.may_ask():
            # One that was refused may come from an old head in Redis.
            write = of_checkpoint(checkpoint, self._max_bytes) if written else Drop(checkpoint.session_id)
            await self._appender.put(write)
        else:
            self._hashes.owed.moved([checkpoint.session_id])
        return written

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        async with self._forgetting(session_ids):
            return await self.store.delete(session_ids, expired=expired)

    async def restore(self, restoration: Restoration) -> bool:
        async with self._forgetting([restoration.session_id, restoration.quarantine_id]):
            return await self.store.restore(restoration)

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        # What Redis has is of the same etag, and under a key that may be gone tomorrow.
        async with self._forgetting([session_id]):
            return await self.store.replace(session_id, bodies)

    async def _doubted(self, session_id: str) -> bool:
        forgotten = await self._damaged(session_id)
        return await self.store._doubted(session_id) or forgotten

    async def _deleted(self, session_ids: Collection[str]) -> None:
        async with self._forgetting(session_ids):
            await self.store._deleted(session_ids)

    # -- forgetting

    @asynccontextmanager
    async def _forgetting(self, session_ids: Collection[str]) -> AsyncIterator[None]:
        """Redis forgets these after the store has changed them, or may have: its own error is that of the call."""
        try:
            yield
        except BaseException:
            await self._forget(session_ids)
            raise
        if not await self._forget(session_ids) and self._hashes.is_strict:
            raise OutcomeUnknownError(
                "Redis does not answer: it has not confirmed that it forgot the session, and may keep it for "
                f"{self._hashes.ttl // 1000} s more; all that was asked of the store is done"
            )

    async def _forget(self, session_ids: Collection[str]) -> bool:
        """Whether Redis has confirmed it. It goes on if whoever waits for it is cancelled."""
        return await asyncio.shield(self._start(self._dropped(session_ids)))

    async def _dropped(self, session_ids: Collection[str]) -> bool:
        try:
            return await self._hashes.drop(session_ids) is not None
        except BusyError:
            self._appender.add(*map(Drop, session_ids))
            return False

    async def _damaged(self, session_id: str) -> bool:
        """As `Hashes.damaged`, however busy Redis is."""
        try:
            return await self._hashes.damaged(session_id)
        except BusyError:
            await self._appender.put(Drop(session_id))
            return True

    # -- what the store does

    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        return await self.store.read_version(session_id, version)

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        return await self.store.frames(session_id, after=after, limit=limit)

    async def holds(self, session_id: str, change_id: str) -> bool:
        return await self.store.holds(session_id, change_id)

    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        return await self.store.sessions(user_id=user_id, expired=expired, cursor=cursor, limit=limit)

    async def remains(self, session_id: str) -> Remains | None:
        return await self.store.remains(session_id)

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        return await self.store.bodies(session_id)

    async def has_other_writers(self) -> bool:
        return await self.store.has_other_writers()

    async def settle(self) -> None:
        """Wait until everything that is known here is in Redis, or was given up."""
        await self._appender.drain()
        loop = asyncio.get_running_loop()
        while tasks := [task for task in self._tasks if task.get_loop() is loop]:
            await asyncio.wait(tasks)
            await self._appender.drain()

    async def _close(self) -> None:
        await self.settle()
        await self._hashes.aclose()
        await self.store.aclose()

    def _start(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Do this in a task of its own; what it raises is for who awaits it, if anybody does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        let_go(task)


def check_url(url: str) -> None:
    """Raises StoreError for what is no URL of a Redis; it may hold a password, and is not told."""
    with suppress(ValueError):
        if url.startswith(SCHEMES):
            parse_url(url)
            return
    raise StoreError("the URL of a Redis is like redis://host:6379/0, rediss:// or unix:///path")


def let_go(future: asyncio.Future[Any]) -> None:
    """Nobody waits for this any more."""
    if not future.cancel() and not future.cancelled():
        future.exception()
