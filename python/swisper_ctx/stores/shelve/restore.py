"""Reading what is left of a damaged session, and writing it anew while that is kept under another id."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from swisper_ctx.errors import CorruptSessionError
from swisper_ctx.log import Frame, KeptBlock, Remains, Restoration, plain_body
from swisper_ctx.stores.clock import Failpoint
from swisper_ctx.stores.shelve.file import SessionFile
from swisper_ctx.stores.shelve.rows import (
    LOG,
    BlockRow,
    HeadRow,
    Log,
    get_block,
    get_frame,
    get_head,
    get_log,
    part_of_block,
    part_of_frame,
    part_of_head,
    parts_of,
    put_log,
    put_named_frame,
)
from swisper_ctx.stores.shelve.shelf import SESSION, BytesShelf, key_of

T = TypeVar("T")
R = TypeVar("R")

NO_LOG = Log((), (), 1, 0)


def read_remains(file: SessionFile, now: int, session_id: str) -> Remains | None:
    """All that is kept of a session, sound or not."""
    row = file.alive(session_id, now)
    if row is None:
        return None
    problems: list[str] = []
    shelf = file.shelf
    (log,) = _found([session_id], lambda name: get_log(shelf, name), problems) or [NO_LOG]
    heads = _found(log.heads, lambda head: get_head(shelf, session_id, head), problems)
    blocks = _found(log.blocks, lambda block: KeptBlock(get_block(shelf, session_id, block), *block[4:]), problems)
    versions = range(log.first, row.etag.version + 1)
    frames = _found(versions, lambda version: get_frame(shelf, session_id, version), problems)
    about = session_id, row.user_id, row.etag, row.epoch, row.created_at
    return Remains(*about, tuple(heads), tuple(blocks), tuple(frames), tuple(problems))


def _found(places: Iterable[T], read: Callable[[T], R], problems: list[str]) -> list[R]:
    found = []
    for place in places:
        try:
            found.append(read(place))
        except CorruptSessionError as error:
            problems.append(str(error))
    return found


def restore_session(file: SessionFile, restoration: Restoration, time: int, failpoint: Failpoint) -> bool:
    """False if the session has moved on, or something is kept under the other id already."""
    failpoint("restore.begin")
    session_id, quarantine_id, expected, etag, epoch, messages, head, blocks, frames = restoration
    shelf, now = file.shelf, file.alive(session_id, time)
    if now is None or now.etag != expected or quarantine_id in file.rows:
        return False
    after = now._replace(etag=etag, epoch=epoch, messages=messages, updated_at=time)
    failpoint("restore.applied")
    with file.writing():
        # The copy first: what dies halfway leaves the damaged session where it was, and a copy that recovery replaces.
        before = shelf.parts(session_id)
        shelf.copy(session_id, quarantine_id)
        file.created += 1
        file.put(quarantine_id, now._replace(key=file.created))
        _put_anew(shelf, restoration, time)
        file.put(session_id, after)
        kept = {part_of_block(block.block_id) for block in blocks}
        kept |= {part_of_head(head.stamp), part_of_frame(etag.version), LOG, SESSION}
        kept |= {part for frame in frames for part in parts_of(frame)}
        with shelf.deleting():
            for part in set(before) - kept:
                del shelf[key_of(session_id, part)]
    failpoint("restore.done")
    return True


def _put_anew(shelf: BytesShelf, restoration: Restoration, time: int) -> None:
    session_id, _, _, etag, _, _, head, blocks, frames = restoration
    for block in blocks:
        shelf[key_of(session_id, part_of_block(block.block_id))] = plain_body(block.body)
    shelf[key_of(session_id, part_of_head(head.stamp))] = head.body
    for frame in (*frames, Frame(*etag, None, time, None)):
        put_named_frame(shelf, session_id, frame)
    rows = tuple(BlockRow(*block[:4], head.base, None) for block in blocks)
    first = etag.version - len(frames)
    put_log(shelf, session_id, Log((HeadRow(head.base, head.stamp, time),), rows, first, etag.version))
