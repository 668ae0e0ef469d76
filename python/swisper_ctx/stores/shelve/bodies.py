"""The bodies that are kept of a session, and putting others in their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swisper_ctx.log import StoredBody
from swisper_ctx.stores.clock import Failpoint
from swisper_ctx.stores.shelve.file import SessionFile
from swisper_ctx.stores.shelve.rows import get_frame, get_log, part_of_block, part_of_head, put_frame
from swisper_ctx.stores.shelve.shelf import key_of


def read_bodies(file: SessionFile, session_id: str) -> tuple[StoredBody, ...]:
    """Of every head, block and frame."""
    return tuple(_bodies(file, session_id)) if file.row(session_id) is not None else ()


def _bodies(file: SessionFile, session_id: str) -> Iterator[StoredBody]:
    row, log = file.row(session_id), get_log(file.shelf, session_id)
    for head in log.heads:
        yield StoredBody("head", head.stamp, file.shelf.required(key_of(session_id, part_of_head(head.stamp))))
    for block in log.blocks:
        part = part_of_block(block.block_id)
        yield StoredBody("block", block.block_id, file.shelf.required(key_of(session_id, part)))
    for version in range(log.first, row.etag.version + 1 if row else 0):
        body = get_frame(file.shelf, session_id, version).body
        if body is not None:
            yield StoredBody("frame", version, body)


def replace_bodies(
    file: SessionFile, session_id: str, bodies: Sequence[tuple[StoredBody, bytes]], failpoint: Failpoint
) -> int:
    """Those that are still what they were; how many they are."""
    failpoint("replace.begin")
    kept = set(read_bodies(file, session_id))
    with file.writing():
        due = [(old, new) for old, new in bodies if old in kept]
        for old, new in due:
            _replace(file, session_id, old, new)
        file.shelf.sync()
    failpoint("replace.done")
    return len(due)


def _replace(file: SessionFile, session_id: str, old: StoredBody, new: bytes) -> None:
    if isinstance(old.key, int):
        put_frame(file.shelf, session_id, get_frame(file.shelf, session_id, old.key)._replace(body=new))
        return
    part = part_of_head(old.key) if old.kind == "head" else part_of_block(old.key)
    file.shelf[key_of(session_id, part)] = new
