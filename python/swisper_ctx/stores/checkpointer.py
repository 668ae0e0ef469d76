"""Checkpoints in the background: the frames of a session are folded into blocks when they have become many.

One at a time in each store, and each session at most once in the queue, so that a backlog cannot grow beyond the
number of sessions; a session that waits only has some more frames.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from swisper_ctx._core import Snapshot, token
from swisper_ctx.context import FoldMark, Position
from swisper_ctx.errors import ContextError
from swisper_ctx.log import Block, Checkpoint, Etag, Head, StoredSession

log = logging.getLogger("swisper_ctx.store")

SEGMENT = 64 * 1024
FRAMES = 128


def due(position: Position, snapshot: Snapshot) -> bool:
    """Whether the frames since the last head outweigh what a checkpoint would write.

    The threshold differs by up to a quarter between sessions: many that grow in step would all be due at once.
    """
    mark = position.mark
    if mark is None or (mark.total - mark.folded <= SEGMENT and mark.frames <= FRAMES):
        return False
    limit = max(SEGMENT, snapshot.unstored_size) * mark.spread
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
    ) -> None:
        self._write, self._read = write, read
        self._jobs: dict[str, Job] = {}
        self._task: asyncio.Task[None] | None = None

    def consider(self, position: Position, snapshot: Snapshot, etag: Etag) -> None:
        """Queue a checkpoint of this state if it is due; a state that waits there already gives way to it."""
        if position.mark is not None and due(position, snapshot):
            self._jobs[position.session_id] = Job(position, snapshot, etag, position.mark.total)
            if self._task is None or self._task.done():
                self._task = asyncio.ensure_future(self._run())

    async def aclose(self) -> None:
        """Finish the checkpoint that is being written and forget the others: whoever loads them next makes them."""
        self._jobs.clear()
        if self._task is not None and not self._task.get_loop().is_closed():
            await asyncio.wait([self._task])

    async def settle(self) -> None:
        """Wait until no checkpoint is queued or being written."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._jobs:
            session_id = next(iter(self._jobs))
            job = self._jobs.pop(session_id)
            try:
                # Turns that came while the last checkpoint was being written have asked again too early.
                if due(job.position, job.snapshot):
                    await self.make(job)
            except ContextError as error:
                log.warning("no checkpoint of session %s for now: %s", session_id, type(error).__name__)
            except Exception:
                log.exception("no checkpoint of session %s", session_id)

    async def make(self, job: Job) -> bool:
        """Write one checkpoint; False if another one came first."""
        position, mark = job.position, job.position.mark
        if mark is None:
            return False
        stamp = token()
        loop = asyncio.get_running_loop()
        head, added, dropped = await loop.run_in_executor(None, parts, job, stamp, list(mark.blocks))
        blocks = tuple(Block(*block) for block in added)
        checkpoint = Checkpoint(
            position.session_id, mark.stamp, Head(job.etag.version, stamp, head), blocks, tuple(dropped)
        )
        written = await self._write(checkpoint)
        if written:
            gone = set(dropped)
            kept = [block for block in mark.blocks if block not in gone]
            mark.moved(stamp, [*kept, *(block.block_id for block in blocks)], job.total, job.etag.version)
        else:
            stored = await self._read(position.session_id)
            # Only for the state that this context stands at: the id may belong to another session by now.
            is_current = stored is not None and stored.etag == position.etag
            position.mark = marked(stored) if stored is not None and is_current else None
        return written


def parts(
    job: Job, stamp: bytes, blocks: list[bytes]
) -> tuple[bytes, list[tuple[bytes, str, int, int, bytes]], list[bytes]]:
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


def marked(stored: StoredSession) -> FoldMark | None:
    """Where the newest head of a session stands, from a whole read."""
    if stored.head is None:
        return None
    mark = FoldMark(stored.head.stamp, [block.block_id for block in stored.blocks], stored.head.base)
    for frame in stored.frames:
        mark.grew(frame.version, len(frame.body or b""))
    return mark
