"""Checkpoints in the background: the frames of a session are folded into blocks when they have become many.

One at a time in each store, and each session at most once in the queue, so that a backlog cannot grow beyond the
number of sessions. While a session waits there its frames grow: when they are PRESSURE times too many, a save of it
returns only after the checkpoint was made, or has failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from swisper_ctx._core import Snapshot, StoredBlocks, token
from swisper_ctx.context import FoldMark, Position
from swisper_ctx.errors import ContextError
from swisper_ctx.log import Block, Checkpoint, Etag, Frame, Head, Projection, StoredSession
from swisper_ctx.stores.projection import session_copy

log = logging.getLogger("swisper_ctx.store")

SEGMENT = 64 * 1024
FRAMES = 128
PRESSURE = 4


def due(position: Position, snapshot: Snapshot, times: int = 1) -> bool:
    """Whether the frames since the last head outweigh so many times what a checkpoint would write.

    The threshold differs by up to a quarter between sessions: many that grow in step would all be due at once.
    """
    mark = position.mark
    if mark is None or (mark.total - mark.folded <= SEGMENT and mark.frames <= FRAMES):
        return False
    limit = max(SEGMENT, snapshot.unstored_size) * mark.spread * times
    return mark.size > limit or mark.frames > FRAMES * limit / SEGMENT


class Job(NamedTuple):
    """A state that is to become a checkpoint; `total` is the mark's sum of bytes up to it."""

    position: Position
    snapshot: Snapshot
    etag: Etag
    total: int


class Checkpointer:
    """The checkpoints of one store."""

    def __init__(
        self,
        write: Callable[[Checkpoint], Awaitable[bool]],
        read: Callable[[str], Awaitable[StoredSession | None]],
        *,
        shows_copies: bool = False,
    ) -> None:
        self._write, self._read, self._shows_copies = write, read, shows_copies
        self.jobs: dict[str, Job] = {}
        """Those that wait, by their session."""
        self._pressed: dict[str, list[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def consider(self, position: Position, snapshot: Snapshot, etag: Etag) -> None:
        """Queue a checkpoint of this state if it is due; a state that waits there already gives way to it."""
        if due(position, snapshot) and position.mark is not None and not self._is_closed:
            self.jobs[position.session_id] = Job(position, snapshot, etag, position.mark.total)
            if not self._is_running():
                self._task = asyncio.ensure_future(self._run())

    async def relieve(self, position: Position) -> None:
        """Wait, if the frames of this session are far too many, until its checkpoint was made or has failed."""
        if self._is_running() and position.session_id in self.jobs and due(position, position.snapshot, PRESSURE):
            attempted = asyncio.get_running_loop().create_future()
            self._pressed.setdefault(position.session_id, []).append(attempted)
            await attempted

    async def aclose(self) -> None:
        """Finish the checkpoint that is being written and forget the others: whoever loads them next makes them."""
        self._is_closed = True
        self.jobs.clear()
        for session_id in list(self._pressed):
            self._release(session_id)
        if self._task is not None and not self._task.get_loop().is_closed():
            await asyncio.wait([self._task])

    async def settle(self) -> None:
        """Wait until no checkpoint is queued or being written."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def _is_running(self) -> bool:
        return self._task is not None and not (self._task.done() or self._task.get_loop().is_closed())

    def _release(self, session_id: str) -> None:
        for attempted in self._pressed.pop(session_id, ()):
            with suppress(RuntimeError):  # the loop of the caller is closed
                if not attempted.done():
                    attempted.set_result(None)

    async def _run(self) -> None:
        while self.jobs:
            session_id = next(iter(self.jobs))
            job = self.jobs.pop(session_id)
            try:
                # Turns that came while the last checkpoint was being written have asked again too early.
                if due(job.position, job.snapshot):
                    await self.attempt(job)
            finally:
                self._release(session_id)

    async def attempt(self, job: Job) -> None:
        """Write one checkpoint; one that fails is told in the log, and made later."""
        session_id, mark = job.position.session_id, job.position.mark
        try:
            await self.make(job)
            return
        except ContextError as error:
            log.warning("no checkpoint of session %s for now: %s", session_id, type(error).__name__)
        except Exception:
            log.exception("no checkpoint of session %s", session_id)
        if mark is not None:
            mark.postpone()

    async def make(self, job: Job) -> bool:
        """Write one checkpoint; False if another one came first, or the event loop is about to end."""
        position, mark = job.position, job.position.mark
        if mark is None or job.etag.version < mark.base:
            return False
        # Of one moment: another checkpoint may move the mark while the parts are made.
        stamp, expected, before = token(), mark.stamp, mark.blocks
        loop = asyncio.get_running_loop()
        try:
            made = loop.run_in_executor(None, parts, job, stamp, before)
        except RuntimeError:  # the threads have been shut down
            return False
        body, added, dropped, used = await made
        blocks = tuple(Block(*block) for block in added)
        head = Head(job.etag.version, stamp, body)
        copy = Projection(session_copy(position.user_id, job.snapshot)) if self._shows_copies else None
        checkpoint = Checkpoint(position.session_id, expected, head, blocks, tuple(dropped), copy)
        written = await self._write(checkpoint)
        if written:
            mark.moved(stamp, used, job.total, job.etag.version)
        else:
            # Of now: it may be saved again before the answer is here.
            etag = position.etag
            stored = await self._read(position.session_id)
            # Only where this context stands in that log: the id may belong to another session by now.
            is_ours = stored is not None and leads_past(stored, etag)
            found = marked(stored.head, stored.frames, block_ids(stored)) if stored is not None and is_ours else None
            if found is None:
                position.mark = None
            else:
                mark.become(found)
        return written


def parts(
    job: Job, stamp: bytes, blocks: bytes | StoredBlocks
) -> tuple[bytes, list[tuple[bytes, str, int, int, bytes]], list[bytes], bytes]:
    """What the checkpoint writes. Compresses for about 0.1 ms each 64 kB, without the interpreter lock."""
    position = job.position
    return job.snapshot.checkpoint(
        position.session_id,
        position.user_id,
        position.epoch,
        position.created_at or 0,
        job.etag,
        stamp,
        blocks,
    )


def leads_past(stored: StoredSession, etag: Etag | None) -> bool:
    """Whether a session is at this etag, or was; False also where its frame has been folded."""
    passed = ((frame.version, frame.token) for frame in stored.frames)
    return stored.etag == etag or any(frame == etag for frame in passed)


def block_ids(stored: StoredSession) -> bytes:
    """The ids of all its blocks, one behind the other."""
    return b"".join(block.block_id for block in stored.blocks)


def marked(head: Head | None, frames: Iterable[Frame], blocks: bytes | StoredBlocks) -> FoldMark | None:
    """Where the newest head of a session stands, with the frames after it and the blocks of a whole read."""
    if head is None:
        return None
    mark = FoldMark(head.stamp, blocks, head.base)
    for frame in frames:
        mark.grew(frame.version, len(frame.body or b""))
    return mark
