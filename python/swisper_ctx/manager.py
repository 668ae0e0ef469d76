"""The API of an application: sessions by their id, saved by what changed, pipelines timed and recorded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from swisper_ctx._core import PipelineExecution
from swisper_ctx.context import SwisperContext, new_session_id
from swisper_ctx.errors import ContextError, CorruptSessionError, EncodeError, SessionNotFoundError
from swisper_ctx.events import EventName, OnEvent, emit
from swisper_ctx.keys import Keys
from swisper_ctx.log import NEVER, Etag, SessionPage, VersionInfo
from swisper_ctx.retention import LONGEST
from swisper_ctx.stats import PerformanceCache
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.cache import SessionCache
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.recovery import RecoveryReport
from swisper_ctx.stores.registry import open_cache, open_store
from swisper_ctx.stores.saving import NEWEST

log = logging.getLogger("swisper_ctx.manager")

C = TypeVar("C", bound=SwisperContext)
D = TypeVar("D", bound=SwisperContext)


DAY = timedelta(days=1)


def _cache_keys(context: SwisperContext) -> list[str]:
    """Those of a context that was just loaded; reading the attribute would make each save look at them."""
    snapshot = context._position.snapshot
    keys = snapshot.get("cache_keys") if "cache_keys" in snapshot else []
    return [key for key in keys if isinstance(key, str)]


class PipelineRun:
    """A pipeline while it runs: set `result` and `metrics`, JSON values that are recorded with it."""

    def __init__(self, name: str, input: Any) -> None:
        # A copy, of what can be recorded: at the end an error would take the place of the application's own.
        self.name, self.input = name, PipelineExecution(pipeline_name=name, input=input).input
        self.result: Any = None
        self.metrics: dict[str, Any] = {}
        self.started_at = datetime.now(UTC)
        self._clock = time.perf_counter()

    def finish(self, error: BaseException | None) -> PipelineExecution:
        """The record of this run. Raises EncodeError for details that JSON cannot hold; a failed run goes without."""
        details = {"input": self.input, "result": self.result, "metrics": self.metrics or None}
        if error is None:
            return self._execution("completed", details)
        # Only the class: the text of an error may hold what the user said.
        failure = {"error": {"type": type(error).__name__}}
        try:
            return self._execution("failed", details | failure)
        except EncodeError:
            log.warning("a failed pipeline run is recorded without its details, which are no JSON")
            return self._execution("failed", failure)

    def _execution(self, status: str, details: dict[str, Any]) -> PipelineExecution:
        return PipelineExecution(
            pipeline_name=self.name,
            status=status,
            started_at=self.started_at,
            finished_at=datetime.now(UTC),
            duration_ms=round((time.perf_counter() - self._clock) * 1000, 3),
            **{name: value for name, value in details.items() if value is not None},
        )


class PipelineSessionManager(Generic[C]):
    """Sessions of one store, as contexts of one class.

    `expires_in` is how long a session is kept after its last save, a timedelta or seconds, unless its
    `data_retention_policy` says otherwise; with None it is kept until it is deleted, also one that had an end before,
    from its next save that writes something. One that has expired cannot be loaded any more, and
    `cleanup_expired_sessions()` deletes it.
    """

    @overload
    def __init__(
        self: PipelineSessionManager[SwisperContext],
        session_store: SessionStore,
        *,
        expires_in: timedelta | float | None = DAY,
        performance: PerformanceCache | None = None,
        on_event: OnEvent | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        session_store: SessionStore,
        context_class: type[C],
        *,
        expires_in: timedelta | float | None = DAY,
        performance: PerformanceCache | None = None,
        on_event: OnEvent | None = None,
    ) -> None: ...
    def __init__(
        self,
        session_store: SessionStore,
        context_class: type[Any] = SwisperContext,
        *,
        expires_in: timedelta | float | None = DAY,
        performance: PerformanceCache | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        """`expires_in`, a timedelta or seconds, is how long a session is kept after its last save; None is for ever.

        `on_event` is told what happens here, in the store and in `performance`; see `swisper_ctx.events`. A store, and
        a cache, tells one only: that of the manager which was made last.
        """
        self.session_store = session_store
        self.context_class: type[C] = context_class
        self._ttl = _micros(expires_in)
        self.performance = PerformanceCache() if performance is None else performance
        if on_event is not None:
            session_store.on_event = self.performance.on_event = on_event

    @overload
    @classmethod
    def open(
        cls,
        url: str,
        *,
        expires_in: timedelta | float | None = DAY,
        cache: str | None = None,
        encryption_key: Keys | None = None,
        on_event: OnEvent | None = None,
    ) -> PipelineSessionManager[SwisperContext]: ...
    @overload
    @classmethod
    def open(
        cls,
        url: str,
        context_class: type[D],
        *,
        expires_in: timedelta | float | None = DAY,
        cache: str | None = None,
        encryption_key: Keys | None = None,
        on_event: OnEvent | None = None,
    ) -> PipelineSessionManager[D]: ...
    @classmethod
    def open(
        cls,
        url: str,
        context_class: type[Any] = SwisperContext,
        *,
        expires_in: timedelta | float | None = DAY,
        cache: str | None = None,
        encryption_key: Keys | None = None,
        on_event: OnEvent | None = None,
    ) -> PipelineSessionManager[Any]:
        """A manager over the store at a URL: `memory://`, `sqlite:///relative.db`, `sqlite:////absolute.db`.

        With `encryption_key` what is stored is encrypted; see EncryptedSessionStore. `cache` is the URL of a Redis in
        front of the store, see RedisCache; with it, what was used last stays in memory too, see SessionCache: a load
        may give what was the newest version a second ago, unless it is `at_least`. Use it as `async with`, or call
        `aclose()`. Raises StoreError for a URL that means no store or no Redis, and ValueError for what is no key or an
        `expires_in` that is not positive.
        """
        store = open_store(url)
        if cache is not None:
            store = open_cache(cache, store)
            store.on_event = on_event
        if encryption_key is not None:
            store = EncryptedSessionStore(encryption_key, store)
        if cache is not None:
            store = SessionCache(store)
        return cls(store, context_class, expires_in=expires_in, on_event=on_event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Finish what was begun and close the store."""
        await self.session_store.aclose()

    async def create_session(self, *, user_id: str, session_id: str | None = None, **fields: Any) -> C:
        """A new session, stored. `session_id` is 128 random bits unless it is given; `fields` start its context.

        Raises ConflictError if there is a session of that id, StoreError for an id that is no str of 1 to 255 bytes of
        UTF-8 without NUL.
        """
        session_id = new_session_id() if session_id is None else session_id
        context: C = self.context_class(session_id=session_id, user_id=user_id, **fields)
        await self.session_store.save_session(context, ttl=self._ttl)
        return context

    async def load_session_context(
        self,
        session_id: str,
        *,
        user_id: str | None = None,
        tail: int | None = None,
        at_least: Etag | None = None,
    ) -> C | None:
        """The context of a session, None if there is none or `user_id` is given and it is another user's.

        With `tail`, only about so many of the last records of each list; see `SwisperContext.load_history`. With
        `at_least`, the etag of a state that the caller has seen (`context.etag`), CorruptSessionError if the store has
        gone back behind it.
        """
        # A cache asks the truth then: what it trusts may be older than what the caller has seen.
        context = await self.session_store.load_session(
            session_id, user_id=user_id, tail=tail, strict=at_least is not None, context_class=self.context_class
        )
        if context is not None and at_least is not None:
            await check_not_older(self.session_store, context, at_least)
        if context is not None and len(self.performance) > 0:
            self.performance.refer(session_id, _cache_keys(context))
        return context

    async def save(self, context: C, *, change_id: str | None = None) -> None:
        """Write what changed since the last save; see `SessionStore.save_session`."""
        await self.session_store.save_session(context, change_id=change_id, ttl=self._ttl)

    async def refresh(self, context: C) -> None:
        """Bring in what others have saved since, under unsaved edits; see `SessionStore.refresh`."""
        await self.session_store.refresh(context)

    async def update(
        self,
        session_id: str,
        change: Callable[[C], object],
        attempts: int = 5,
        *,
        user_id: str | None = None,
        change_id: str | None = None,
    ) -> C:
        """Load, apply `change(context)`, save, and all of it again after a conflict; see `SessionStore.update`."""
        return await self.session_store.update(
            session_id,
            change,
            attempts,
            user_id=user_id,
            change_id=change_id,
            ttl=self._ttl,
            context_class=self.context_class,
        )

    @asynccontextmanager
    async def session(self, session_id: str, *, user_id: str | None = None) -> AsyncGenerator[C]:
        """Load a session, and save it at the end; nothing is saved if the body raises.

        Raises SessionNotFoundError.
        """
        context = await self.load_session_context(session_id, user_id=user_id)
        if context is None:
            raise SessionNotFoundError(f"no session {session_id}")
        yield context
        await self.save(context)

    @asynccontextmanager
    async def pipeline(self, context: C, name: str, input: Any = None) -> AsyncGenerator[PipelineRun]:
        """Time a pipeline and record it in `context.pipeline_executions`.

        The record of one that succeeds is saved with the context; that of one that raises is saved at once and
        alone, and the exception goes on; where the body was cancelled or closed, nobody waits for that save.

        `input` is recorded as it is now. Raises EncodeError for a name or an input that JSON cannot hold, and at the
        end for such a result or metrics.
        """
        run = PipelineRun(name, input)
        try:
            yield run
        except BaseException as error:
            execution = run.finish(error)
            self._count(context.session_id, execution)
            recording = self._record_failure(context, execution)
            if isinstance(error, Exception):
                await recording
            else:
                begin(recording)
            raise
        execution = run.finish(None)
        context.pipeline_executions.append(execution)
        self._count(context.session_id, execution)

    def _count(self, session_id: str, execution: PipelineExecution) -> None:
        name, failed = execution.pipeline_name, execution.status == "failed"
        # What comes by `save_pipeline_execution` is as its caller made it.
        duration = execution.duration_ms if isinstance(execution.duration_ms, int | float) else None
        self.performance.record(name, duration, failed=failed)
        event: EventName = "pipeline_failed" if failed else "pipeline_completed"
        emit(self.session_store.on_event, event, session_id=session_id, pipeline=name, ms=duration or 0)

    async def _record_failure(self, context: C, execution: PipelineExecution) -> None:
        try:
            await self.session_store.save_record(context, "pipeline_executions", execution, ttl=self._ttl)
        except ContextError as error:
            log.warning("a failed pipeline run stays unsaved in its context: %s", type(error).__name__)

    async def save_pipeline_execution(
        self, session_id: str, pipeline_name: str, execution_data: dict[str, Any], *, user_id: str | None = None
    ) -> str:
        """Record a run of a pipeline in a session that need not be loaded; the execution_id.

        As with a save, the session is kept for `expires_in` from now on, or as its `data_retention_policy` says.

        Fields of PipelineExecution are taken from `execution_data`; its other keys are kept beside them. Raises
        SessionNotFoundError, also if `user_id` is given and it is another user's, CorruptSessionError, and EncodeError
        for a value that JSON cannot hold.
        """
        made = PipelineExecution(pipeline_name=pipeline_name)
        about = {**made.to_dict(), **execution_data, "pipeline_name": pipeline_name}
        if about["execution_id"] is None:
            about["execution_id"] = made.execution_id
        execution = PipelineExecution.from_dict(about)
        await self._check_user(session_id, user_id)
        await self.session_store.append_record(
            session_id, "pipeline_executions", execution, ttl=self._ttl, context_class=self.context_class
        )
        self._count(session_id, execution)
        return str(execution.execution_id)

    async def history(self, session_id: str, *, user_id: str | None = None, after: int = 0) -> tuple[VersionInfo, ...]:
        """The versions above `after` that are still known, oldest first; see `SessionStore.history`."""
        return await self.session_store.history(session_id, user_id=user_id, after=after)

    async def at_version(self, session_id: str, version: int, *, user_id: str | None = None) -> C:
        """The context as it was at a version, to be looked at; see `SessionStore.at_version`."""
        return await self.session_store.at_version(
            session_id, version, user_id=user_id, context_class=self.context_class
        )

    async def fork(
        self,
        session_id: str,
        *,
        version: int | None = None,
        new_session_id: str | None = None,
        user_id: str | None = None,
    ) -> C:
        """A new session with the content that a session has, or had at a version; see `SessionStore.fork`."""
        return await self.session_store.fork(
            session_id,
            version=version,
            new_session_id=new_session_id,
            user_id=user_id,
            ttl=self._ttl,
            context_class=self.context_class,
        )

    async def recover(
        self, session_id: str, dry_run: bool = False, *, user_id: str | None = None, force: bool = False
    ) -> RecoveryReport:
        """Let a damaged session go on from its last good state; see `SessionStore.recover`."""
        await self._check_user(session_id, user_id)
        return await self.session_store.recover(session_id, dry_run, force=force)

    async def delete_session(self, session_id: str, *, user_id: str | None = None) -> bool:
        """Delete a session with everything it has; whether there was one, of this user if `user_id` is given."""
        try:
            await self._check_user(session_id, user_id)
        except SessionNotFoundError:
            return False
        deleted = await self.session_store.delete_session(session_id)
        self.performance.forget(session_id)
        return deleted

    async def _check_user(self, session_id: str, user_id: str | None) -> None:
        """Raise SessionNotFoundError if a user is given and has no such session."""
        if user_id is not None:
            stored = await self.session_store.read(session_id, after=NEWEST)
            if stored is None or stored.user_id != user_id:
                raise SessionNotFoundError(f"no session {session_id}")

    async def cleanup_expired_sessions(self) -> int:
        """Delete the sessions that have expired; how many. See `SessionStore.cleanup_expired_sessions`.

        Of `performance` go the results whose time has passed, and those that only sessions refer to that are gone.
        """
        deleted = await self.session_store.cleanup_expired_sessions()
        referring = self.performance.sessions
        # Others may have deleted them.
        alive = await self.session_store.etags(referring) if referring else {}
        self.performance.forget(*(referring - alive.keys()))
        self.performance.clear_expired()
        return deleted

    async def sessions(self, *, user_id: str | None = None, limit: int = 100, cursor: str | None = None) -> SessionPage:
        """A page of the sessions, newest first; `page.cursor` asks for the next one.

        Raises ValueError for a `limit` below 1.
        """
        return await self.session_store.sessions(user_id=user_id, limit=limit, cursor=cursor)


def begin(recording: Coroutine[Any, Any, None]) -> None:
    """Hand over what is to be recorded, without waiting for the store: a save needs nobody who waits for it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass  # in a coroutine that has outlived its event loop nothing can be saved
    else:
        with suppress(StopIteration):
            recording.send(None)
    recording.close()


def _micros(period: timedelta | float | None) -> int:
    """In whole microseconds, NEVER for None.

    Raises ValueError for a period that is not positive, or of more than 100 years.
    """
    if period is None:
        return NEVER
    seconds = period.total_seconds() if isinstance(period, timedelta) else period
    if not 0 < seconds <= LONGEST / 1_000_000:
        raise ValueError(
            "expires_in must be positive and at most 100 years; None keeps sessions until they are deleted"
        )
    return max(round(seconds * 1_000_000), 1)


async def check_not_older(store: SessionStore, context: SwisperContext, seen: Etag) -> None:
    """Raise CorruptSessionError if a loaded context does not follow on a state that was seen before."""
    now = context.etag
    if now is None or now == seen:
        return
    if now.version > seen.version:
        frames = await store.frames(context.session_id, after=seen.version - 1, limit=1)
        # What has been purged meanwhile cannot tell; the version has gone on.
        if not frames or frames[0].version != seen.version or frames[0].token == seen.token:
            return
    problem = f"version {now.version} does not follow on {seen.version}, which was seen: the store has gone back"
    raise CorruptSessionError(problem, session_id=context.session_id)
