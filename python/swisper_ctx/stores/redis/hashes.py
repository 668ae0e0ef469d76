"""The hashes of sessions in one Redis: what may be asked of them, and what becomes of it when Redis fails.

Nothing here raises for Redis, unless `is_strict`: it answers None, and the store behind goes on alone. What has failed
once is not asked again until a probe was answered.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from swisper_ctx._core import token
from swisper_ctx.errors import StoreUnavailableError
from swisper_ctx.events import OnEvent, emit
from swisper_ctx.stores.redis.breaker import Breaker
from swisper_ctx.stores.redis.cluster import ClusterLink
from swisper_ctx.stores.redis.debts import Debts
from swisper_ctx.stores.redis.link import (
    BusyError,
    ClusterFoundError,
    Command,
    Link,
    Values,
    WrongKeyError,
    every,
    first,
)
from swisper_ctx.stores.redis.scripts import FILL, LATER, LEASE, TAIL, Script

log = logging.getLogger("swisper_ctx.redis")

PATIENCE = 0.05
PROBE = 1.0
LEASE_TIME = 10_000
"""Milliseconds after which a session may be leased by nobody any more."""
MOST_PAID = 500
"""So many sessions are forgotten in one call when Redis is back."""
LONGEST = 2.0**62
"""Milliseconds; Redis adds the present time to them, in 63 bits."""
ALARM_PAUSE = 60.0
"""Seconds between two lines of the log about damage."""

_inherited: list[Link] = []
"""Links of the process that this one was forked from: closing them would take them out of its event loop."""


@dataclass(slots=True)
class Counts:
    """What has happened so far."""

    hits: int = 0
    """Reads that Redis has served."""
    misses: int = 0
    """Reads for which Redis had nothing."""
    stale: int = 0
    """Reads for which Redis had another version than the truth."""
    fills: int = 0
    appends: int = 0
    """Saves that were added to what Redis had."""
    damaged: int = 0
    """Bytes that were not those written."""
    outages: int = 0
    """How often Redis has failed after it had answered."""


Fields = dict[bytes, bytes]


class Hashes:
    """One Redis, from whatever event loop and process it is used."""

    def __init__(self, url: str, prefix: str, ttl: float, is_strict: bool, on_event: Callable[[], OnEvent | None]):
        self._url, self._prefix, self._on_event = url, prefix, on_event
        self.ttl = milliseconds(ttl)
        self.is_strict = is_strict
        self.counts, self.breaker = Counts(), Breaker(PROBE)
        self._link: Link | None = None
        self._link_class: type[Link] = Link
        self._probe: asyncio.Task[None] | None = None
        self.owed = Debts()
        """What is to be forgotten before Redis is asked again."""
        self._alarmed_at = -ALARM_PAUSE
        self.is_closed = False

    def may_ask(self) -> bool:
        """Whether Redis may be asked. While it is away, this sends a probe now and then."""
        if self.breaker.is_closed:
            return not self.is_closed
        if not (self.is_closed or self._is_probing()) and self.breaker.is_due():
            self._probe = asyncio.ensure_future(self._probed())
        return False

    def _is_probing(self) -> bool:
        return self._probe is not None and not (self._probe.done() or self._probe.get_loop().is_closed())

    def key(self, session_id: str) -> bytes:
        """The key of a session's hash. It is by itself in its slot of a cluster if the id begins with `}`."""
        return f"{self._prefix}{{{session_id}}}".encode("utf-8", "surrogatepass")

    def value_key(self, session_id: str) -> bytes:
        """The key of a whole context, for who uses `get` and `set`."""
        return self.key(session_id) + b":context"

    # -- reading

    async def whole(self, session_id: str) -> Fields | None:
        """All fields of a session; empty if it is not there."""
        return await self._fields(session_id, lambda link, key: first(link, "HGETALL", key))

    async def tail(self, session_id: str, records: int) -> Fields | None:
        """All fields but the bodies of blocks before the last so many records of each list."""
        return await self._fields(session_id, lambda link, key: link.run(TAIL, [records], [(key, [])]))

    async def later(self, session_id: str, version: int) -> Fields | None:
        """Those that a reader of the frames after a version needs."""
        return await self._fields(session_id, lambda link, key: link.run(LATER, [version], [(key, [])]))

    async def some(self, session_id: str, fields: Sequence[bytes]) -> Fields | None:
        """Those of some fields that are there."""

        async def read(link: Link, key: bytes) -> list[Any]:
            values = await first(link, "HMGET", key, *fields)
            pairs = zip(fields, values, strict=True)
            return [part for field, value in pairs if value is not None for part in (field, value)]

        return await self._fields(session_id, read)

    async def _fields(self, session_id: str, read: Callable[[Link, bytes], Awaitable[list[Any]]]) -> Fields | None:
        key = self.key(session_id)

        async def paired(link: Link) -> Fields:
            try:
                answer = await read(link, key)
            except WrongKeyError:
                await self.damaged(session_id)
                return {}
            return dict(zip(answer[::2], answer[1::2], strict=True))

        found: Fields | None = await self._ask(paired)
        return found

    # -- writing

    async def lease(self, session_ids: Sequence[str]) -> list[bytes] | None:
        """Forget what is there of these sessions; what may fill each, unless it is forgotten once more."""
        leases = [token() for _ in session_ids]
        entries = [(self.key(session_id), [lease]) for session_id, lease in zip(session_ids, leases, strict=True)]
        answer = await self.run(LEASE, [LEASE_TIME], entries)
        return None if answer is None else leases

    async def fill(self, session_id: str, lease: bytes, fields: Mapping[bytes, bytes]) -> None:
        """Put a whole session there, if the lease still holds."""
        values = [part for field in fields.items() for part in field]
        filled = await self.run(FILL, [self.ttl], [(self.key(session_id), [lease, *values])])
        self.counts.fills += filled or 0

    async def run(self, script: Script, common: Values, entries: Sequence[tuple[bytes, Values]]) -> Any:
        """The answer of a script, None without one."""
        return await self._ask(lambda link: link.run(script, common, entries))

    async def drop(self, session_ids: Collection[str]) -> bool | None:
        """Forget these sessions; whether anything was there. None if Redis fails: they are forgotten when it is back.

        Raises BusyError, also if not strict: they are still there.
        """
        if self.is_closed or not session_ids:
            return False
        commands = self._unlinks(session_ids)
        try:
            # Tried also while Redis is away: what is to be forgotten is not served any more, but would lie there.
            return any(await self._try(lambda link: every(link, *commands)))
        except BusyError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is Redis that failed
            await self._failed(error)
        self.owed.deleted(session_ids)
        return None

    def _unlinks(self, session_ids: Iterable[str]) -> list[Command]:
        # A command for each key: both need not be in one slot of a cluster.
        keys = (key for session_id in session_ids for key in (self.key(session_id), self.value_key(session_id)))
        return [("UNLINK", key) for key in keys]

    async def get(self, session_id: str) -> bytes | None:
        """The whole context under this id."""
        found: bytes | None = await self._ask(lambda link: first(link, "GET", self.value_key(session_id)))
        return found

    async def set(self, session_id: str, value: bytes, ttl: float) -> None:
        """Keep a whole context for so many seconds. Raises ValueError for less than a millisecond."""
        key, time = self.value_key(session_id), milliseconds(ttl)
        await self._ask(lambda link: first(link, "SET", key, value, "PX", time))

    # -- failing

    async def damaged(self, session_id: str) -> bool:
        """What is there of a session is not what was written: it is forgotten, and told. Whether there was anything.

        Raises BusyError, and StoreUnavailableError if strict.
        """
        forgotten = await self.drop([session_id])
        if forgotten is None and self.is_strict:
            raise StoreUnavailableError("Redis does not answer")
        if not forgotten:
            return False
        self.counts.damaged += 1
        now = asyncio.get_running_loop().time()
        if now - self._alarmed_at >= ALARM_PAUSE:
            self._alarmed_at = now
            log.error("Redis has damaged bytes of session %s; %d so far", session_id, self.counts.damaged)
        emit(self._on_event(), "cache_damaged", session_id=session_id)
        return True

    async def _ask(self, ask: Callable[[Link], Awaitable[Any]]) -> Any:
        """The answer, None if Redis has none. Raises StoreUnavailableError if strict."""
        if self.may_ask():
            try:
                return await self._try(ask)
            except (BusyError, WrongKeyError):
                pass
            except Exception as error:  # noqa: BLE001 - whatever it is, it is Redis that failed
                await self._failed(error)
        if self.is_strict:
            raise StoreUnavailableError("Redis does not answer")
        return None

    async def _try(self, ask: Callable[[Link], Awaitable[Any]]) -> Any:
        link = self._here()
        try:
            return await ask(link)
        except ClusterFoundError:
            await link.hang_up()
            if self._link is link:
                self._link_class, self._link = ClusterLink, None
            return await ask(self._here())

    async def _failed(self, error: Exception) -> None:
        if self.breaker.open():
            self.counts.outages += 1
            log.warning("Redis fails (%s): the store behind it goes on alone", type(error).__name__)
            emit(self._on_event(), "cache_failed", error=type(error).__name__)
        # What has cut one connection has cut them all.
        if self._link is not None and self._link.is_here:
            await self._link.hang_up()

    async def _probed(self) -> None:
        """See whether Redis can be written to again, and delete there what could not be deleted."""
        try:
            await self._try(lambda link: every(link, ("SET", f"{self._prefix}probe", "", "PX", 1_000)))
            while owed := self.owed.next(MOST_PAID):
                await self._pay(owed)
        except Exception as error:  # noqa: BLE001 - whatever it is, Redis is still away
            log.debug("Redis still fails: %s", type(error).__name__)
            return
        away = self.breaker.close()
        log.warning("Redis is back after %.1f s", away)
        emit(self._on_event(), "cache_restored", seconds=round(away, 3))

    async def _pay(self, session_ids: Sequence[str]) -> None:
        """Forget these, which were owed. What Redis does not permit is not owed for ever: it expires by itself."""
        commands = self._unlinks(session_ids)
        answers = await self._try(lambda link: link.call(*commands))
        errors = [answer for answer in answers if isinstance(answer, ResponseError)]
        for error in errors:
            if not isinstance(error, NoPermissionError):
                raise error
        if errors:
            log.error("Redis does not permit to delete %d keys: they stay until they expire", len(errors))
        self.owed.paid(session_ids)

    # -- connections

    def _here(self) -> Link:
        """The connections of this event loop and process."""
        link = self._link
        if link is None or not link.is_here:
            if link is not None:
                leave(link)
            link = self._link = self._link_class(self._url, PATIENCE)
        return link

    async def aclose(self) -> None:
        """Close the connections; Redis is not asked any more."""
        self.is_closed = True
        if self._probe is not None and self._is_probing():
            self._probe.cancel()
            await asyncio.wait([self._probe])
        if self._link is not None and self._link.is_here:
            await self._link.hang_up(nowait=False)
        # Connections that were given up just now are closed in the next step of the event loop, if there is one.
        await asyncio.sleep(0)


def milliseconds(ttl: float) -> int:
    """So many seconds as Redis takes them. Raises ValueError for less than a millisecond, and for what is no time."""
    if not 1 <= ttl * 1000 < LONGEST:
        raise ValueError("the ttl must be at least 0.001 seconds, and finite")
    return round(ttl * 1000)


def leave(link: Link) -> None:
    """Let go of connections that belong elsewhere."""
    if link.process != os.getpid():
        _inherited.append(link)
        return
    with suppress(RuntimeError):  # that loop is closed
        link.loop.call_soon_threadsafe(lambda: asyncio.ensure_future(link.hang_up()))
