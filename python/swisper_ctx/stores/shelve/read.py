"""Reading sessions. A turn of the store's thread is a moment: nothing is written while these run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import islice

from swisper_ctx.errors import StoreError, VersionUnavailableError
from swisper_ctx.log import Block, Etag, Frame, SessionInfo, SessionPage, StoredSession
from swisper_ctx.stores.shelve.file import SessionFile
from swisper_ctx.stores.shelve.rows import BlockRow, Row, get_block, get_frame, get_head, get_log


def read_etags(file: SessionFile, now: int, session_ids: Collection[str]) -> dict[str, Etag]:
    """The etags of those that exist."""
    return {session_id: row.etag for session_id in session_ids if (row := file.alive(session_id, now)) is not None}


def read_session(
    file: SessionFile, now: int, session_id: str, after: Etag | None, tail: int | None
) -> StoredSession | None:
    """One session: whole, with at least the last `tail` records of each list, or the frames after an etag."""
    row = file.alive(session_id, now)
    if row is None:
        return None
    head, blocks = None, list[BlockRow]()
    version = after.version if after else 0
    if after is None:
        log = get_log(file.shelf, session_id)
        head, version = get_head(file.shelf, session_id, log.heads[-1]), log.heads[-1].base
        blocks = [block for block in log.blocks if block.dropped_at is None]
    parts = _parts(file, session_id, blocks, tail)
    frames = read_frames(file, now, session_id, version, None)
    times = row.created_at, row.updated_at, row.expires_at
    return StoredSession(session_id, row.user_id, row.etag, row.epoch, *times, head, parts, frames)


def read_version(file: SessionFile, now: int, session_id: str, version: int) -> StoredSession | None:
    """One session as it was at a version."""
    row = file.alive(session_id, now)
    if row is None:
        return None
    log = get_log(file.shelf, session_id)
    heads = [head for head in log.heads if head.base <= version]
    if not heads or not 1 <= version <= row.etag.version:
        raise VersionUnavailableError(version, max(log.heads[0].base, 1), row.etag.version)
    base = heads[-1].base
    blocks = [b for b in log.blocks if b.used_from <= base and (b.dropped_at is None or b.dropped_at > base)]
    parts = _parts(file, session_id, blocks, None)
    frames = tuple(get_frame(file.shelf, session_id, number) for number in range(base + 1, version + 1))
    last = frames[-1] if frames else get_frame(file.shelf, session_id, version)
    about = session_id, row.user_id, Etag(version, last.token), row.epoch, row.created_at, last.time, row.expires_at
    return StoredSession(*about, get_head(file.shelf, session_id, heads[-1]), parts, frames)


def _parts(file: SessionFile, session_id: str, blocks: list[BlockRow], tail: int | None) -> tuple[Block, ...]:
    """In the order of fields and positions; those with `tail` records of their list after them without a body."""
    after, found = Counter[str](), list[Block]()
    for row in sorted(blocks, key=lambda block: (block.field, block.position), reverse=True):
        is_wanted = tail is None or row.records == 0 or after[row.field] < tail
        found.append(get_block(file.shelf, session_id, row) if is_wanted else Block(*row[:4], None))
        after[row.field] += row.records
    return tuple(found[::-1])


def read_blocks(file: SessionFile, now: int, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
    """Those that are still kept."""
    if file.alive(session_id, now) is None:
        return ()
    rows = [row for row in get_log(file.shelf, session_id).blocks if row.block_id in block_ids]
    return tuple(get_block(file.shelf, session_id, row) for row in rows)


def read_frames(file: SessionFile, now: int, session_id: str, after: int, limit: int | None) -> tuple[Frame, ...]:
    """The frames above a version, oldest first."""
    row = file.alive(session_id, now)
    if row is None or after >= row.etag.version:
        return ()
    first = max(after + 1, get_log(file.shelf, session_id).first)
    versions = range(first, row.etag.version + 1)[:limit]
    return tuple(get_frame(file.shelf, session_id, version) for version in versions)


def list_sessions(
    file: SessionFile, user_id: str | None, expired_at: int | None, cursor: str | None, limit: int
) -> SessionPage:
    """A page of sessions, newest first: of one user, if given; expired at a moment, if given."""
    before = _key(cursor)
    matching = (
        (session_id, row)
        for session_id, row in reversed(file.rows.items())
        if (before is None or row.key < before)
        and (user_id is None or row.user_id == user_id)
        and (expired_at is None or row.has_expired(expired_at))
    )
    found = list(islice(matching, limit + 1))
    page = tuple(_info(session_id, row) for session_id, row in found[:limit])
    return SessionPage(page, str(found[limit - 1][1].key) if len(found) > limit else None)


def _key(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isdecimal():
        raise StoreError("this cursor comes from elsewhere")
    return int(cursor)


def _info(session_id: str, row: Row) -> SessionInfo:
    times = row.created_at, row.updated_at, row.expires_at
    return SessionInfo(session_id, row.user_id, row.etag.version, row.messages, *times)
