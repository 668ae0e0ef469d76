"""How long pipelines took, and results of them that are kept for the next time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, TypeVar

from swisper_ctx._core import Histogram, LRUCache, plain
from swisper_ctx.events import OnEvent, emit

T = TypeVar("T")

MOST_NAMES = 256
MOST_KEYS = 100
MOST_SESSIONS = 1000
"""So many are remembered of those that refer to a result. It is forgotten when these have ended: too early at most."""
MISSING = object()


class PipelineStats(NamedTuple):
    """The runs of one pipeline so far. Durations in milliseconds, percentiles to within 1 %."""

    runs: int
    failures: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class _Runs:
    def __init__(self) -> None:
        self.runs = self.failures = 0
        self.micros = Histogram()

    def stats(self) -> PipelineStats:
        p50, p95, p99 = (self.micros.percentile(percent) / 1000 for percent in (50, 95, 99))
        return PipelineStats(self.runs, self.failures, p50, p95, p99, self.micros.max / 1000)


class _Result(NamedTuple):
    value: Any
    expires: float
    sessions: set[str]
    """The ids of those that refer to it."""


class _Computation:
    def __init__(self) -> None:
        self.task: asyncio.Task[Any]
        self.sessions: set[str] = set()
        """The ids of those that will refer to its result."""
        self.awaited: list[_Computation] = []
        """What it, or a task that was begun in it, waits for."""

    def waits_for(self, other: _Computation) -> bool:
        """Whether it ends only after another one, or is that itself."""
        seen, found = set(), [self]
        while found:
            each = found.pop()
            if each is other:
                return True
            if each not in seen and not each.task.done():
                seen.add(each)
                found += each.awaited
        return False


_within: ContextVar[_Computation | None] = ContextVar("swisper_ctx_computation", default=None)
"""The computation that runs here."""


class Session(Protocol):
    """What is asked of a context here."""

    cache_keys: list[str]

    @property
    def session_id(self) -> str: ...


class PerformanceCache:
    """Counters and latencies of pipelines, and their results, kept for `ttl` seconds, the `max_results` last used.

    A key names everything that its result depends on, the user too if it does on the user. Results are JSON values;
    who asks for one gets a copy of his own. They live in this process and are used from one thread.

    Raises ValueError for a `ttl` below 0, here and where one is given for a result, and for `max_results` below 1.
    """

    def __init__(
        self,
        *,
        ttl: float = 3600.0,
        max_results: int = 1024,
        clock: Callable[[], float] = time.monotonic,
        on_event: OnEvent | None = None,
    ) -> None:
        if max_results < 1:
            raise ValueError("max_results must be at least 1")
        self.ttl, self.on_event, self._clock = _checked(ttl), on_event, clock
        self._runs: dict[str, _Runs] = {}
        self._results: LRUCache[str, _Result] = LRUCache(max_entries=max_results)
        self._computing: dict[tuple[asyncio.AbstractEventLoop, str], _Computation] = {}

    # -- pipelines

    def record(self, name: str, duration_ms: float | None = None, *, failed: bool = False) -> None:
        """Count a run of a pipeline. Of more than 256 names, the later ones are counted as "other"."""
        if name not in self._runs and len(self._runs) >= MOST_NAMES:
            name = "other"
        runs = self._runs.setdefault(name, _Runs())
        runs.runs += 1
        runs.failures += failed
        if duration_ms is not None and 0 <= duration_ms < 1e12:
            runs.micros.record(round(duration_ms * 1000))

    def stats(self) -> dict[str, PipelineStats]:
        """What was counted, by the name of the pipeline."""
        return {name: runs.stats() for name, runs in self._runs.items()}

    # -- results

    def __len__(self) -> int:
        return len(self._results)

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of a kept result."""
        found = self._hit(key)
        return default if found is MISSING else plain(found)

    def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Keep a result. Raises EncodeError for one that is no JSON value."""
        self._keep(key, plain(value), None if ttl is None else _checked(ttl), set())

    async def get_or_compute(
        self, key: str, compute: Callable[[], Awaitable[T]], *, ttl: float | None = None, context: Session | None = None
    ) -> T:
        """A kept result, or the one that `compute` gives, which is then kept.

        Callers of one key share one computation, in a task of its own: one that is cancelled fails nobody. What it
        raises is raised to all of them, and not kept. With `context`, the key is put into its `cache_keys`.

        Raises EncodeError for a result that is no JSON value, and RuntimeError if `compute`, or a task that was begun
        in it, asks for its own result or for one that waits for that.
        """
        ttl = None if ttl is None else _checked(ttl)
        value = self._hit(key)
        if value is MISSING:
            computation = self._computation(key, compute, ttl)
            if context is not None:
                # Already now: if its session ends meanwhile, the result will not be kept.
                _refer(computation.sessions, context.session_id)
            value = await _result(computation)
        elif context is not None:
            self.refer(context.session_id, [key])
        if context is not None:
            _note(context, key)
        copy: T = plain(value)
        return copy

    def invalidate(self, key: str) -> bool:
        """Forget a result, whether there was one; one that is being computed will not be kept."""
        for running in [running for running in self._computing if running[1] == key]:
            del self._computing[running]
        return self._results.pop(key, None) is not None

    def clear_expired(self) -> int:
        """Forget all results whose time has passed; how many. Until then they are only not given to anybody."""
        now = self._clock()
        expired = [key for key, result in self._results.items() if result.expires <= now]
        for key in expired:
            self._expire(key)
        return len(expired)

    # -- sessions

    def refer(self, session_id: str, cache_keys: Iterable[str]) -> None:
        """A session that was loaded refers to these results; those that are kept here end with it."""
        for key in cache_keys:
            if (result := self._results.peek(key)) is not None:
                _refer(result.sessions, session_id)

    @property
    def sessions(self) -> frozenset[str]:
        """The ids of the sessions that refer to a result."""
        return frozenset().union(*(referred.sessions for _, referred in self._referred()))

    def forget(self, *session_ids: str) -> None:
        """Sessions have ended: the results to which no other session refers are forgotten."""
        for key, referred in self._referred():
            if not referred.sessions.isdisjoint(session_ids):
                referred.sessions.difference_update(session_ids)
                if not referred.sessions:
                    self.invalidate(key)

    def _referred(self) -> list[tuple[str, _Result | _Computation]]:
        """What sessions refer to, kept or yet to come, by its key."""
        return [*self._results.items(), *((key, computation) for (_, key), computation in self._computing.items())]

    def _hit(self, key: str) -> Any:
        found = self._results.get(key)
        if found is None:
            return MISSING
        if found.expires <= self._clock():
            self._expire(key)
            return MISSING
        emit(self.on_event, "result_hit", results=len(self._results))
        return found.value

    def _expire(self, key: str) -> None:
        self._results.pop(key, None)
        emit(self.on_event, "result_expired", results=len(self._results))

    def _keep(self, key: str, value: Any, ttl: float | None, sessions: set[str]) -> None:
        old = self._results.peek(key)
        expires = self._clock() + (self.ttl if ttl is None else ttl)
        if old is not None:
            for session_id in sessions:
                _refer(old.sessions, session_id)
            sessions = old.sessions
        self._results[key] = _Result(value, expires, sessions)

    def _computation(self, key: str, compute: Callable[[], Awaitable[Any]], ttl: float | None) -> _Computation:
        running = (asyncio.get_running_loop(), key)
        computation = self._computing.get(running)
        if computation is None:
            computation = self._computing[running] = _Computation()
            computation.task = asyncio.ensure_future(self._compute(running, computation, compute, ttl))
            # Its callers raise what it raised; they may all have been cancelled.
            computation.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return computation

    async def _compute(
        self,
        running: tuple[asyncio.AbstractEventLoop, str],
        computation: _Computation,
        compute: Callable[[], Awaitable[Any]],
        ttl: float | None,
    ) -> Any:
        _within.set(computation)
        begun = time.perf_counter()
        try:
            value = plain(await compute())
        except BaseException as error:
            emit(self.on_event, "result_failed", error=type(error).__name__)
            raise
        else:
            if self._is_wanted(running):
                self._keep(running[1], value, ttl, computation.sessions)
            emit(self.on_event, "result_computed", ms=round((time.perf_counter() - begun) * 1000, 3))
            return value
        finally:
            if self._is_wanted(running):
                del self._computing[running]

    def _is_wanted(self, running: tuple[asyncio.AbstractEventLoop, str]) -> bool:
        """Whether the computation that asks has not been given up since it began."""
        computation = self._computing.get(running)
        return computation is not None and computation.task is asyncio.current_task()


async def _result(computation: _Computation) -> Any:
    asking = _within.get()
    if asking is None:
        return await asyncio.shield(computation.task)
    if computation.waits_for(asking):
        raise RuntimeError("a computation waits for its own result")
    asking.awaited.append(computation)
    try:
        return await asyncio.shield(computation.task)
    finally:
        asking.awaited.remove(computation)


def _checked(ttl: float) -> float:
    if not ttl >= 0:  # nor NaN
        raise ValueError("ttl must not be negative")
    return ttl


def _refer(sessions: set[str], session_id: str) -> None:
    if len(sessions) < MOST_SESSIONS:
        sessions.add(session_id)


def _note(context: Session, key: str) -> None:
    keys = context.cache_keys
    if key not in keys:
        keys.append(key)
        del keys[:-MOST_KEYS]
