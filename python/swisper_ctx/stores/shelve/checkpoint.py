"""Moving the head of a log, purging what the grace period no longer protects, and deleting sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from swisper_ctx.errors import StoreError
from swisper_ctx.log import GRACE_TIME, GRACE_VERSIONS, RETRY_WINDOW, Checkpoint
from swisper_ctx.stores.clock import Failpoint
from swisper_ctx.stores.recovery import quarantine_ids
from swisper_ctx.stores.shelve.file import SessionFile
from swisper_ctx.stores.shelve.rows import (
    BlockRow,
    HeadRow,
    Log,
    get_frame,
    get_log,
    part_of_block,
    part_of_head,
    parts_of,
    put_frame,
    put_log,
)
from swisper_ctx.stores.shelve.shelf import BytesShelf, key_of


def write_checkpoint(
    file: SessionFile, checkpoint: Checkpoint, keep_versions: bool, time: int, failpoint: Failpoint
) -> bool:
    """The new head and its blocks, if the one it was made from is still the newest. Purges the session as well."""
    failpoint("checkpoint.begin")
    session_id, shelf = checkpoint.session_id, file.shelf
    row = file.alive(session_id, time)
    if row is None:
        return False
    with file.writing():
        before = get_log(shelf, session_id)
        if before.heads[-1].stamp != checkpoint.expected_stamp:
            return False
        after = _moved(before, checkpoint, row.etag.version, time)
        if not keep_versions:
            after = _purged(shelf, session_id, after, row.etag.version, time)
    failpoint("checkpoint.applied")
    with file.writing():
        _put_bodies(shelf, checkpoint)
        put_log(shelf, session_id, after)
        with shelf.deleting():
            _remove(shelf, session_id, before, after)
    failpoint("checkpoint.done")
    return True


def _moved(log: Log, checkpoint: Checkpoint, version: int, time: int) -> Log:
    """With the new head; one of the same base gives way to it, with the blocks that only it used."""
    (base, stamp, _), last = checkpoint.head, log.heads[-1].base
    if not last <= base <= version:
        raise StoreError(f"a head at {base} is not between the last one ({last}) and now ({version})")
    if not set(checkpoint.dropped) <= {block.block_id for block in log.blocks if block.dropped_at is None}:
        raise StoreError("a checkpoint drops a block that is not in use")
    older = tuple(head for head in log.heads if head.base < base)
    dropped = (row._replace(dropped_at=base) if row.block_id in checkpoint.dropped else row for row in log.blocks)
    kept = tuple(row for row in dropped if row.dropped_at is None or row.used_from < row.dropped_at)
    added = tuple(BlockRow(*block[:4], base, None) for block in checkpoint.added)
    _check_distinct(kept + added)
    return log._replace(heads=(*older, HeadRow(base, stamp, time)), blocks=kept + added)


def _check_distinct(blocks: Collection[BlockRow]) -> None:
    if len({block.block_id for block in blocks}) < len(blocks):
        raise StoreError("a checkpoint adds a block under the id of another")
    places = [(block.field, block.position) for block in blocks if block.dropped_at is None]
    if len(set(places)) < len(places):
        raise StoreError("a checkpoint adds a block in the place of another")


def _purge_bound(log: Log, version: int, time: int) -> int | None:
    """The base of the newest head that is past the grace period, which becomes the oldest one kept."""
    replaced, before = version - GRACE_VERSIONS, time - GRACE_TIME
    old = [head.base for head in log.heads if head.base <= replaced and head.written_at <= before]
    return old[-1] if old else None


def _purged(shelf: BytesShelf, session_id: str, log: Log, version: int, time: int) -> Log:
    """Without what the grace period no longer protects. Patches go at once, their frames stay for RETRY_WINDOW."""
    bound, first = _purge_bound(log, version, time), log.first
    if bound is None:
        return log
    while first < bound and get_frame(shelf, session_id, first).time <= time - RETRY_WINDOW:
        first += 1
    heads = tuple(head for head in log.heads if head.base >= bound)
    blocks = tuple(block for block in log.blocks if block.dropped_at is None or block.dropped_at > bound)
    return Log(heads, blocks, first, max(log.stripped, bound))


def _put_bodies(shelf: BytesShelf, checkpoint: Checkpoint) -> None:
    for block in checkpoint.added:
        if not isinstance(block.body, bytes):
            raise StoreError("a checkpoint adds a block without its body")
        shelf[key_of(checkpoint.session_id, part_of_block(block.block_id))] = block.body
    shelf[key_of(checkpoint.session_id, part_of_head(checkpoint.head.stamp))] = checkpoint.head.body


def _remove(shelf: BytesShelf, session_id: str, before: Log, after: Log) -> None:
    """What the new log no longer names."""
    heads = {head.stamp for head in before.heads} - {head.stamp for head in after.heads}
    blocks = {block.block_id for block in before.blocks} - {block.block_id for block in after.blocks}
    _discard(shelf, session_id, map(part_of_head, heads))
    _discard(shelf, session_id, map(part_of_block, blocks))
    for version in range(before.first, after.first):
        _discard(shelf, session_id, parts_of(get_frame(shelf, session_id, version)))
    for version in range(max(before.stripped + 1, after.first), after.stripped + 1):
        put_frame(shelf, session_id, get_frame(shelf, session_id, version)._replace(body=None))


def _discard(shelf: BytesShelf, session_id: str, parts: Iterable[str]) -> None:
    for part in parts:
        if (key := key_of(session_id, part)) in shelf:
            del shelf[key]


def delete_sessions(
    file: SessionFile, session_ids: Collection[str], expired_at: int | None, failpoint: Failpoint
) -> int:
    """Those that exist, and have expired at a moment if one is given; how many they were.

    One that is damaged counts, unless only expired ones are asked for: when it ends, nobody can tell.
    """
    failpoint("delete.begin")
    asked = set(session_ids)
    if expired_at is not None:
        asked = {session_id for session_id in session_ids if _has_expired(file, session_id, expired_at)}
        asked.update(set_aside for session_id in list(asked) for set_aside in quarantine_ids(session_id))
    gone = {session_id for session_id in asked if session_id in file.rows or session_id in file.damaged}
    failpoint("delete.applied")
    if gone:
        with file.writing():
            file.erase(gone)
    failpoint("delete.done")
    return len(gone)


def _has_expired(file: SessionFile, session_id: str, time: int) -> bool:
    row = file.rows.get(session_id)
    return row is not None and row.has_expired(time)
