"""What of a damaged session is good, and how the session goes on from there.

Nothing is deleted: all that is kept of the session, good and bad, goes under a quarantine id as it is, and the session
is written anew under its own, in a new epoch. The state is that of the highest version that heads, blocks and frames
lead to. Where a block cannot be read and no older head leads past it, the state is without what stood there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from swisper_ctx._core import Snapshot, check_block, salvage, token
from swisper_ctx.context import SwisperContext
from swisper_ctx.errors import (
    ConflictError,
    ContextError,
    CorruptSessionError,
    DecryptionError,
    SessionNotFoundError,
    StoreError,
)
from swisper_ctx.keys import is_token
from swisper_ctx.log import Block, Etag, Frame, Head, KeptBlock, Remains, Restoration
from swisper_ctx.stores.history import patch_text

if TYPE_CHECKING:
    from swisper_ctx.stores.base import SessionStore

QUARANTINES = 8
"""So many times a session may be recovered before it is deleted."""

MARK = re.compile(r"~quarantine-[1-8]\Z")
WRONG_KIND = "a value of the wrong kind is stored"


class RecoveryReport(NamedTuple):
    """What a recovery found, and did unless it was a dry run."""

    session_id: str
    newest: int
    """The version that the session had."""
    version: int
    """The last good one: that of the state from which the session goes on."""
    lost_versions: range
    lost_records: int
    """How many records of lists stood in blocks that cannot be read."""
    complete: bool
    """Whether the state is all that its version was; False also where too much is gone for anybody to tell."""
    bad_blocks: tuple[str, ...]
    """Heads, blocks and frames that are damaged or missing, by name, and what is wrong; none: nothing was done."""
    quarantine_id: str | None = None
    """The id under which all that was there is kept; None if nothing was written."""
    restored: int | None = None
    """The version under which the session goes on."""


async def recover(store: SessionStore, session_id: str, dry_run: bool, force: bool) -> RecoveryReport:
    """See `SessionStore.recover`."""
    remains = await store.remains(session_id)
    if remains is None:
        raise SessionNotFoundError(f"no session {session_id}")
    check_keys(remains, force)
    origin = origin_of(session_id)
    report, snapshot, owners = await asyncio.to_thread(
        examined, remains._replace(session_id=origin), SwisperContext._unopened
    )
    check_owner(remains, owners, is_taken=force or not store.opens_sealed)
    if dry_run or not (report.bad_blocks or is_quarantine(session_id)):
        return report
    # What is taken out of quarantine replaces the session as it is now.
    now = await store.remains(origin) if is_quarantine(session_id) else remains
    if now is None or now.user_id != remains.user_id:
        raise SessionNotFoundError(f"no session {origin}")
    change = await asyncio.to_thread(restoration, now, snapshot, report.version)
    return await restored(store, report, change)


async def restored(store: SessionStore, report: RecoveryReport, change: Restoration) -> RecoveryReport:
    """Write the session anew, and what it has been under the first quarantine id that is free."""
    session_id = change.session_id
    for quarantine_id in quarantine_ids(session_id):
        if await store.restore(change._replace(quarantine_id=quarantine_id)):
            await store._deleted([session_id])
            return report._replace(quarantine_id=quarantine_id, restored=change.etag.version)
        etag = (await store.etags([session_id])).get(session_id)
        if etag != change.expected:
            raise ConflictError("saved", expected=change.expected, actual=etag)
    raise StoreError(f"session {session_id} was recovered too often: delete it, or what is in quarantine")


def check_keys(remains: Remains, force: bool) -> None:
    """Raise DecryptionError where it is keys that are missing, as far as that can be told."""
    sealed = sum(map(is_token, (head.body for head in remains.heads)))
    sealed += sum(is_token(kept.block.body) for kept in remains.blocks)
    sealed += sum(map(is_token, (frame.body for frame in remains.frames)))
    if sealed:
        problem = "it is sealed: open the store with its keys"
    elif remains.unopened > 1 and not force:
        problem = f"no key opens {remains.unopened} bodies: give all keys of the store, or force=True if it is damage"
    else:
        return
    raise DecryptionError(problem, session_id=remains.session_id, block="everything")


def check_owner(remains: Remains, owners: frozenset[str], is_taken: bool) -> None:
    """Raise CorruptSessionError if the heads name another user than the row, which nothing authenticates.

    Where no head can be read, what the row says `is_taken`, or not.
    """
    if owners - {remains.user_id}:
        problem = "its row names another user than its heads: put that right in the store first"
    elif not owners and not is_taken:
        problem = "no head tells whose it is: force=True gives it to the user whom its row names"
    else:
        return
    raise CorruptSessionError(problem, session_id=remains.session_id)


class Finding(NamedTuple):
    """The report, the state it speaks of, and the users whom the heads name that can be read."""

    report: RecoveryReport
    snapshot: Snapshot
    owners: frozenset[str]


class Candidate(NamedTuple):
    """The state that one head, its blocks and the frames after it lead to."""

    version: int
    complete: bool
    lost_records: int
    snapshot: Snapshot
    owner: str | None
    """The user whom the head names, if it can be read."""
    stopped: str | None
    """Why it leads no further."""


def quarantine_ids(session_id: str) -> list[str]:
    """The ids under which damaged states of a session may be kept."""
    return [f"{session_id}~quarantine-{number}" for number in range(1, QUARANTINES + 1)]


def is_quarantine(session_id: str) -> bool:
    """Whether it is the id of damaged bytes that a recovery has set aside."""
    return MARK.search(session_id) is not None


def origin_of(session_id: str) -> str:
    """The session that a quarantine id belongs to, or else the session itself."""
    return MARK.sub("", session_id)


def check_new(session_id: str) -> None:
    """Raise StoreError for the id of what a recovery sets aside: it would be deleted with another session."""
    if is_quarantine(session_id):
        raise StoreError("no new session has an id that ends as those of quarantine do: choose another")


def examined(remains: Remains, empty: Snapshot) -> Finding:
    """What is bad, and the best state that is left; `empty` knows the fields that are lists of records."""
    heads = {head.base: head for head in remains.heads}
    sound, problems = checked_blocks(remains)
    found = {base: candidate(remains, empty, base, heads.get(base), sound) for base in bases(remains)}
    problems = [*remains.problems, *problems, *bad_frames(remains), *bad_heads(remains, empty, sound, found)]
    best = max(found.values(), key=lambda each: (each.version, each.complete))
    newest = remains.etag.version
    lost = range(best.version + 1, newest + 1)
    about = remains.session_id, newest, best.version, lost, best.lost_records, best.complete
    owners = frozenset(each.owner for each in found.values() if each.owner is not None)
    return Finding(RecoveryReport(*about, tuple(dict.fromkeys(problems))), best.snapshot, owners)


def bases(remains: Remains) -> list[int]:
    """The versions that heads stand for, those of lost heads included, newest first."""
    return sorted({head.base for head in remains.heads} | {0, newest_base(remains)}, reverse=True)


def newest_base(remains: Remains) -> int:
    """That of the last head whose traces the blocks bear; 0 if they bear none."""
    used = [kept.used_from for kept in remains.blocks]
    dropped = [kept.dropped_at for kept in remains.blocks if kept.dropped_at is not None]
    return max([*used, *dropped], default=0)


def used_at(blocks: Iterable[KeptBlock], base: int) -> tuple[Block, ...]:
    """The blocks of the head with that base."""
    begun = (kept for kept in blocks if kept.used_from <= base)
    return tuple(kept.block for kept in begun if kept.dropped_at is None or kept.dropped_at > base)


def as_bytes(body: Any) -> bytes:
    """The body, or nothing where SQLite holds a value of another kind."""
    return body if isinstance(body, bytes) else b""


def candidate(remains: Remains, empty: Snapshot, base: int, head: Head | None, blocks: list[KeptBlock]) -> Candidate:
    """What that head leads to."""
    used = used_at(blocks, base)
    snapshot, version, bad, owner, complete, stopped = salvage(
        empty,
        remains.session_id,
        remains.user_id,
        remains.epoch,
        (base, as_bytes(head.body) if head else b""),
        used,
        list(frames_after(remains, base)),
    )
    read = {block.block_id for block in used}.difference(bad)
    lost = sum(block.records for block in used_at(remains.blocks, base) if block.block_id not in read)
    return Candidate(version, complete, lost, snapshot, owner, stopped)


def frames_after(remains: Remains, base: int) -> Iterator[tuple[int, bytes]]:
    """Those that follow, up to the first that is missing or has no patch."""
    version = base
    for frame in remains.frames:
        if frame.version <= base:
            continue
        version += 1
        if frame.version != version or not isinstance(frame.body, bytes):
            return
        yield version, frame.body


def checked_blocks(remains: Remains) -> tuple[list[KeptBlock], list[str]]:
    """Those that are what a block is, though perhaps damaged, and what is wrong with any."""
    kept, problems = list[KeptBlock](), list[str]()
    for each in remains.blocks:
        block = each.block
        try:
            check_block(remains.session_id, remains.epoch, block)
        except ContextError as error:
            problems.append(str(error))
        except (TypeError, ValueError, OverflowError):
            problems.append(f"block at position {block.position} of session {remains.session_id}: {WRONG_KIND}")
            continue
        kept.append(each)
    return kept, problems


def bad_frames(remains: Remains) -> Iterator[str]:
    """The frames that are missing or cannot be read."""
    session_id = remains.session_id
    frames = {frame.version: frame for frame in remains.frames}
    # That of the oldest head stays.
    first = min([*frames, *(max(head.base, 1) for head in remains.heads), remains.etag.version])
    for version in range(first, remains.etag.version + 1):
        frame = frames.get(version)
        if frame is None:
            yield f"frame {version} of session {session_id}: it is missing"
        elif (problem := bad_frame(remains, frame)) is not None:
            yield problem


def bad_frame(remains: Remains, frame: Frame) -> str | None:
    """What is wrong with it."""
    try:
        patch_text(remains.session_id, remains.epoch, frame)
    except ContextError as error:
        return str(error)
    if frame.version == remains.etag.version and frame.token != remains.etag.token:
        return f"frame {frame.version} of session {remains.session_id}: it is not that of the session's etag"
    return None


def bad_heads(
    remains: Remains, empty: Snapshot, blocks: list[KeptBlock], found: Mapping[int, Candidate]
) -> Iterator[str]:
    """The heads that cannot be read, or whose blocks are not all there, and states that the frames do not lead to."""
    session_id, about = remains.session_id, (remains.session_id, remains.user_id, remains.epoch)
    tokens = {frame.version: frame.token for frame in remains.frames} | {0: bytes(16)}
    if not remains.heads:
        yield f"session {session_id}: it has no head"
    elif remains.heads[-1].base < newest_base(remains):
        yield f"head {newest_base(remains)} of session {session_id}: it is missing"
    for head in remains.heads:
        etag = Etag(head.base, tokens.get(head.base, b""))
        state = found[head.base]
        try:
            # Where its frame is missing, which is told already, nobody knows the token that it should have.
            if etag.token:
                used, at = used_at(blocks, head.base), (head.base, head.body)
                _, stored = empty.open(*about, remains.created_at, etag, at, used, [])
                stored.check(session_id)
        except ContextError as error:
            yield str(error)
        except (TypeError, ValueError, OverflowError):
            yield f"head {head.base} of session {session_id}: {WRONG_KIND}"
        else:
            if not state.complete and not etag.token:
                yield f"head {head.base} of session {session_id}: it is damaged, or blocks of it are missing"
            elif state.stopped is not None:
                yield state.stopped.replace(":", f" of session {session_id}:", 1)


def restoration(remains: Remains, snapshot: Snapshot, version: int) -> Restoration:
    """The session written anew, with blocks of its own, one version and one epoch further; to no quarantine id yet."""
    etag, epoch, stamp = Etag(remains.etag.version + 1, token()), remains.epoch + 1, token()
    about = remains.session_id, remains.user_id, epoch, remains.created_at
    body, added, _, _ = snapshot.checkpoint(*about, etag, stamp, b"")
    messages = snapshot.count("conversation_history")
    blocks = tuple(Block(*block) for block in added)
    head = Head(etag.version, stamp, body)
    frames = tuple(kept_frames(remains, version))
    return Restoration(remains.session_id, "", remains.etag, etag, epoch, messages, head, blocks, frames)


def kept_frames(remains: Remains, version: int) -> Iterator[Frame]:
    """The frames without their patches. Up to that version they tell what is written; those after it name nothing."""
    frames, time = {frame.version: frame for frame in remains.frames if is_typed(frame)}, 0
    newest = remains.etag.version
    for each in range(min(frames, default=newest + 1), newest + 1):
        frame = frames.get(each)
        time = time if frame is None else frame.time
        if frame is not None and each <= version:
            yield frame._replace(body=None)
        else:
            yield Frame(each, token(), None, time, None)


def is_typed(frame: Frame) -> bool:
    """Whether its row is of a frame: SQLite keeps values of any type in any column."""
    kinds = bytes, str | None, int
    return all(isinstance(value, kind) for value, kind in zip(frame[1:4], kinds, strict=True))
