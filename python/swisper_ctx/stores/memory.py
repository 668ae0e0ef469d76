"""The session log in plain dicts and tuples: what every other store is tested against."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from swisper_ctx.errors import StoreError, VersionUnavailableError
from swisper_ctx.log import (
    GRACE_TIME,
    GRACE_VERSIONS,
    RETRY_WINDOW,
    Block,
    Change,
    Checkpoint,
    CommitResult,
    Etag,
    Frame,
    Head,
    KeptBlock,
    Remains,
    Restoration,
    SessionInfo,
    SessionPage,
    StoredBody,
    StoredSession,
    check_limit,
)
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.clock import Clock, Failpoint, no_failpoint, system_clock
from swisper_ctx.stores.committer import Answered
from swisper_ctx.stores.recovery import quarantine_ids

REFUSED = CommitResult(None)


class _HeadRow(NamedTuple):
    head: Head
    written_at: int


class _BlockRow(NamedTuple):
    block: Block
    used_from: int
    dropped_at: int | None
    """The base of the first head that does without it."""


class _Session(NamedTuple):
    key: int
    user_id: str
    etag: Etag
    epoch: int
    messages: int
    created_at: int
    updated_at: int
    expires_at: int | None
    heads: tuple[_HeadRow, ...]
    blocks: tuple[_BlockRow, ...]
    frames: list[Frame]
    """Without a gap. It grows with each commit, and is replaced when a checkpoint purges it."""
    change_ids: set[str]
    """Of those frames."""

    def frames_after(self, version: int) -> list[Frame]:
        """Those with a higher version."""
        return self.frames[max(version + 1 - self.frames[0].version, 0) :]


class MemorySessionStore(SessionStore):
    """Sessions in the memory of this process, for tests and trials: nothing outlives it.

    No method awaits anything, so each is one step to every other task of the event loop. With `keep_versions` no
    version is ever purged.
    """

    def __init__(
        self, *, keep_versions: bool = False, clock: Clock = system_clock, failpoint: Failpoint = no_failpoint
    ) -> None:
        super().__init__(clock=clock, failpoint=failpoint)
        self._keep_versions = keep_versions
        self._sessions: dict[str, _Session] = {}
        self._created = 0
        self._closed = False

    @classmethod
    def from_url(cls, url: str, **options: Any) -> MemorySessionStore:
        """A new and empty store; `memory://` has no place to name."""
        if url != "memory://":
            raise StoreError("the URL of a memory store is memory://, with nothing after it")
        return cls(**options)

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        self._check_open()
        alive = {id_: self._alive(id_) for id_ in session_ids}
        return {id_: session.etag for id_, session in alive.items() if session is not None}

    async def read(
        self, session_id: str, *, after: Etag | None = None, tail: int | None = None
    ) -> StoredSession | None:
        self._check_open()
        now = self._alive(session_id)
        if now is None:
            return None
        head = now.heads[-1].head if after is None else None
        blocks = _last(_in_use(now), tail) if head else ()
        frames = now.frames_after(head.base if head else after.version if after else 0)
        times = now.created_at, now.updated_at, now.expires_at
        return StoredSession(session_id, now.user_id, now.etag, now.epoch, *times, head, blocks, tuple(frames))

    async def read_version(self, session_id: str, version: int) -> StoredSession | None:
        self._check_open()
        now = self._alive(session_id)
        if now is None:
            return None
        heads = [row.head for row in now.heads if row.head.base <= version]
        if not heads or not 1 <= version <= now.etag.version:
            raise VersionUnavailableError(version, max(now.heads[0].head.base, 1), now.etag.version)
        head, last = heads[-1], now.frames_after(version - 1)[0]
        frames = now.frames_after(head.base)[: version - head.base]
        times = now.created_at, last.time, now.expires_at
        about = session_id, now.user_id, Etag(version, last.token), now.epoch, *times
        return StoredSession(*about, head, tuple(_used_at(now, head.base)), tuple(frames))

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        self._check_open()
        now = self._alive(session_id)
        return tuple(row.block for row in now.blocks if row.block.block_id in block_ids) if now else ()

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        self._check_open()
        now = self._alive(session_id)
        return tuple(now.frames_after(after)[:limit]) if now else ()

    async def holds(self, session_id: str, change_id: str) -> bool:
        self._check_open()
        now = self._alive(session_id)
        return now is not None and change_id in now.change_ids

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        return self._commit(changes)

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        # In a later step, as that of any store: a caller that saves in a loop is to let others go on.
        asyncio.get_running_loop().call_soon(answered, self._commit(changes), None)

    def _commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        self._check_open()
        self._failpoint("commit.begin")
        time = self._clock()
        committed, staged = CommitResult(time), list[tuple[Change, _Session]]()
        results = []
        for change in changes:
            before = self._alive(change.session_id, time)
            try:
                after = self._create(before, change, time) if change.expected is None else _append(before, change, time)
            except StoreError as error:
                results.append(CommitResult(None, error))
                continue
            if after is None:
                results.append(REFUSED)
            else:
                results.append(committed)
                staged.append((change, after))
        self._failpoint("commit.applied")
        for change, after in staged:
            if change.expected is None and change.session_id in self._sessions:
                self._erase(_with_quarantine(change.session_id))
            self._sessions[change.session_id] = after
            after.frames.append(Frame(*change.etag, change.change_id, time, change.frame))
            if change.change_id is not None:
                after.change_ids.add(change.change_id)
        self._failpoint("commit.done")
        return results

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        self._check_open()
        self._failpoint("checkpoint.begin")
        now = self._alive(checkpoint.session_id)
        if now is None or now.heads[-1].head.stamp != checkpoint.expected_stamp:
            return False
        time = self._clock()
        after = _moved(now, checkpoint, time)
        if not self._keep_versions:
            after = _purged(after, time)
        self._failpoint("checkpoint.applied")
        self._sessions[checkpoint.session_id] = after
        self._failpoint("checkpoint.done")
        return True

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        self._check_open()
        self._failpoint("delete.begin")
        time = self._clock()
        gone = {id_ for id_ in session_ids if id_ in self._sessions}
        if expired:
            gone = {id_ for id_ in gone if _has_expired(self._sessions[id_], time)}
            gone = {id_ for each in gone for id_ in _with_quarantine(each) if id_ in self._sessions}
        self._failpoint("delete.applied")
        self._erase(gone)
        self._failpoint("delete.done")
        return len(gone)

    async def remains(self, session_id: str) -> Remains | None:
        self._check_open()
        now = self._alive(session_id)
        if now is None:
            return None
        heads = tuple(row.head for row in now.heads)
        blocks = tuple(KeptBlock(*row) for row in now.blocks)
        about = session_id, now.user_id, now.etag, now.epoch, now.created_at
        return Remains(*about, heads, blocks, tuple(now.frames), ())

    async def restore(self, restoration: Restoration) -> bool:
        self._check_open()
        self._failpoint("restore.begin")
        now = self._alive(restoration.session_id)
        if now is None or now.etag != restoration.expected or restoration.quarantine_id in self._sessions:
            return False
        time, etag = self._clock(), restoration.etag
        after = now._replace(
            etag=etag,
            epoch=restoration.epoch,
            messages=restoration.messages,
            updated_at=time,
            heads=(_HeadRow(restoration.head, time),),
            blocks=tuple(_BlockRow(block, restoration.head.base, None) for block in restoration.blocks),
            frames=[*restoration.frames, Frame(*etag, None, time, None)],
            change_ids={frame.change_id for frame in restoration.frames if frame.change_id is not None},
        )
        self._failpoint("restore.applied")
        self._created += 1
        self._sessions |= {restoration.session_id: after, restoration.quarantine_id: now._replace(key=self._created)}
        self._failpoint("restore.done")
        return True

    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        check_limit(limit)
        self._check_open()
        time, before = self._clock(), _key(cursor)
        found = [
            (id_, session)
            for id_, session in sorted(self._sessions.items(), key=lambda item: -item[1].key)
            if (before is None or session.key < before)
            and (user_id is None or session.user_id == user_id)
            and (not expired or _has_expired(session, time))
        ]
        page = tuple(_info(id_, session) for id_, session in found[:limit])
        return SessionPage(page, str(found[limit - 1][1].key) if len(found) > limit else None)

    async def bodies(self, session_id: str) -> tuple[StoredBody, ...]:
        self._check_open()
        now = self._sessions.get(session_id)
        return tuple(_bodies(now)) if now else ()

    async def replace(self, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]]) -> int:
        self._check_open()
        self._failpoint("replace.begin")
        now = self._sessions.get(session_id)
        if now is None:
            return 0
        new = {old: body for old, body in bodies if old in set(_bodies(now))}
        self._failpoint("replace.applied")
        self._sessions[session_id] = _replaced(now, new)
        self._failpoint("replace.done")
        return len(new)

    async def _close(self) -> None:
        self._closed = True

    def _alive(self, session_id: str, time: int | None = None) -> _Session | None:
        """A session that has not expired."""
        found = self._sessions.get(session_id)
        if found is None or _has_expired(found, self._clock() if time is None else time):
            return None
        return found

    def _erase(self, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            self._sessions.pop(session_id, None)

    def _create(self, before: _Session | None, change: Change, time: int) -> _Session | None:
        if change.head is None:
            raise StoreError("a change that creates a session needs its first head")
        if before is not None:
            return None
        self._created += 1
        heads = (_HeadRow(change.head, time),)
        row = (change.user_id, change.etag, change.epoch, change.messages or 0, time, time, change.expiry())
        return _Session(self._created, *row, heads, (), [], set())

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("this memory store is closed")


def _append(before: _Session | None, change: Change, time: int) -> _Session | None:
    if before is None or before.etag != change.expected:
        return None
    if change.change_id is not None and change.change_id in before.change_ids:
        return None
    return _Session(
        before.key,
        before.user_id,
        change.etag,
        before.epoch,
        before.messages if change.messages is None else change.messages,
        before.created_at,
        time,
        change.expiry(before.expires_at),
        before.heads,
        before.blocks,
        before.frames,
        before.change_ids,
    )


def _in_use(session: _Session) -> list[Block]:
    return _used_at(session, session.heads[-1].head.base)


def _used_at(session: _Session, base: int) -> list[Block]:
    """The blocks of the head with that base."""
    begun = (row for row in session.blocks if row.used_from <= base)
    used = (row.block for row in begun if row.dropped_at is None or row.dropped_at > base)
    return sorted(used, key=lambda block: (block.field, block.position))


def _last(blocks: Sequence[Block], tail: int | None) -> tuple[Block, ...]:
    """Without the bodies of blocks that have, after them, `tail` records or more of their list."""
    if tail is None:
        return tuple(blocks)
    after: dict[str, int] = {}
    found = []
    for block in reversed(blocks):
        is_wanted = block.records == 0 or after.setdefault(block.field, 0) < tail
        found.append(block if is_wanted else block._replace(body=None))
        after[block.field] = after.get(block.field, 0) + block.records
    return tuple(reversed(found))


def _moved(now: _Session, checkpoint: Checkpoint, time: int) -> _Session:
    """With the new head; one of the same base gives way to it, with the blocks that only it used."""
    base, last, version = checkpoint.head.base, now.heads[-1].head.base, now.etag.version
    if not last <= base <= version:
        raise StoreError(f"a head at {base} is not between the last one ({last}) and now ({version})")
    if not all(isinstance(block.body, bytes) for block in checkpoint.added):
        raise StoreError("a checkpoint adds a block without its body")
    if not set(checkpoint.dropped) <= {block.block_id for block in _in_use(now)}:
        raise StoreError("a checkpoint drops a block that is not in use")
    older = tuple(row for row in now.heads if row.head.base < base)
    dropped = (row._replace(dropped_at=base) if row.block.block_id in checkpoint.dropped else row for row in now.blocks)
    kept = tuple(row for row in dropped if row.dropped_at is None or row.used_from < row.dropped_at)
    added = tuple(_BlockRow(block, base, None) for block in checkpoint.added)
    after = now._replace(heads=(*older, _HeadRow(checkpoint.head, time)), blocks=kept + added)
    if not _are_distinct(row.block.block_id for row in after.blocks):
        raise StoreError("a checkpoint adds a block under the id of another")
    if not _are_distinct((block.field, block.position) for block in _in_use(after)):
        raise StoreError("a checkpoint adds a block in the place of another")
    return after


def _are_distinct(values: Iterable[object]) -> bool:
    every = list(values)
    return len(set(every)) == len(every)


def _purged(now: _Session, time: int) -> _Session:
    """Without what the grace period no longer protects: see GRACE_VERSIONS and GRACE_TIME.

    The newest head that is past it becomes the oldest one kept. Patches up to its base go at once, their frames
    stay for RETRY_WINDOW.
    """
    version = now.etag.version
    past = [
        row.head.base
        for row in now.heads
        if row.head.base <= version - GRACE_VERSIONS and row.written_at <= time - GRACE_TIME
    ]
    if not past:
        return now
    frames = list(_remembered(now.frames, past[-1], time))
    return now._replace(
        heads=tuple(row for row in now.heads if row.head.base >= past[-1]),
        blocks=tuple(row for row in now.blocks if row.dropped_at is None or row.dropped_at > past[-1]),
        frames=frames,
        change_ids={frame.change_id for frame in frames if frame.change_id is not None},
    )


def _remembered(frames: Iterable[Frame], bound: int, time: int) -> Iterable[Frame]:
    for frame in frames:
        if frame.version > bound:
            yield frame
        elif frame.version == bound or frame.time > time - RETRY_WINDOW:
            yield frame._replace(body=None)


def _bodies(session: _Session) -> Iterable[StoredBody]:
    for head, _ in session.heads:
        yield StoredBody("head", head.stamp, head.body)
    for row in session.blocks:
        if isinstance(row.block.body, bytes):
            yield StoredBody("block", row.block.block_id, row.block.body)
    for frame in session.frames:
        if frame.body is not None:
            yield StoredBody("frame", frame.version, frame.body)


def _replaced(session: _Session, new: dict[StoredBody, bytes]) -> _Session:
    heads, blocks, frames = list(session.heads), list(session.blocks), list(session.frames)
    for at, (head, time) in enumerate(heads):
        body = new.get(StoredBody("head", head.stamp, head.body), head.body)
        heads[at] = _HeadRow(head._replace(body=body), time)
    for at, row in enumerate(blocks):
        if isinstance(row.block.body, bytes):
            found = new.get(StoredBody("block", row.block.block_id, row.block.body), row.block.body)
            blocks[at] = row._replace(block=row.block._replace(body=found))
    for at, frame in enumerate(frames):
        if frame.body is not None:
            frames[at] = frame._replace(body=new.get(StoredBody("frame", frame.version, frame.body), frame.body))
    return session._replace(heads=tuple(heads), blocks=tuple(blocks), frames=frames)


def _with_quarantine(session_id: str) -> list[str]:
    return [session_id, *quarantine_ids(session_id)]


def _key(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isdecimal():
        raise StoreError("this cursor comes from elsewhere")
    return int(cursor)


def _has_expired(session: _Session, time: int) -> bool:
    return session.expires_at is not None and session.expires_at <= time


def _info(session_id: str, session: _Session) -> SessionInfo:
    times = session.created_at, session.updated_at, session.expires_at
    return SessionInfo(session_id, session.user_id, session.etag.version, session.messages, *times)
