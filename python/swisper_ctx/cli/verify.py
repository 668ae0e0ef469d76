"""`swisper-ctx verify`: whether everything that is stored can be read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import click

from swisper_ctx._core import RecordList, check_block
from swisper_ctx.cli.output import Output, json_option, plural
from swisper_ctx.cli.reading import WRONG_KIND, SessionCommand, open_session, session_ids
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.context import SwisperContext
from swisper_ctx.errors import ContextError, SessionNotFoundError, VersionUnavailableError
from swisper_ctx.log import Block, Frame, StoredSession
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.history import patch_text


@click.command("verify", cls=SessionCommand, short_help="Check everything that is stored.")
@click.argument("session", required=False)
@store_option
@json_option
def verify(session: str | None, store: str, as_json: bool) -> None:
    """Open every block and every version kept of SESSION, or of all sessions, and name those that are damaged.

    Blocks of older checkpoints are opened too, and each by itself: one that is damaged hides no other.

    The exit code is 1 if anything is. Nothing is changed.
    """
    output = Output(as_json)
    perform(store, lambda opened: verify_sessions(opened, output, session))


async def verify_sessions(store: SessionStore, output: Output, session_id: str | None) -> bool:
    """Check the sessions and print what is damaged; whether nothing is."""
    ids = await session_ids(store, session_id)
    found: dict[str, list[str]] = {}
    with output.working("sessions", len(ids)) as advance:
        for each in ids:
            # Found once, it may be that a recovery came between two reads; damage is found again.
            problems = await problems_of(store, each) and await problems_of(store, each)
            if problems is not None:
                found[each] = problems
            elif session_id is not None:
                raise SessionNotFoundError(f"no session {each}")
            advance()
    show_verdict(output, found)
    return not any(found.values())


async def problems_of(store: SessionStore, session_id: str) -> list[str] | None:
    """What is damaged in one session; None if there is none of that id, or no longer."""
    try:
        stored = await store.read(session_id)
        frames = await store.frames(session_id)
    except ContextError as error:
        return [str(error)]
    if stored is None:
        return None
    problems = [*missing_versions(session_id, frames), *damaged_frames(session_id, stored.epoch, frames)]
    problems += damaged_blocks(stored, stored.blocks)
    try:
        problems += damaged_fields(open_session(stored))
    except ContextError as error:
        problems.append(str(error))
    problems += [problem async for problem in damaged_before(store, stored)]
    return list(dict.fromkeys(problems))


async def damaged_before(store: SessionStore, stored: StoredSession) -> AsyncIterator[str]:
    """What is damaged of the older heads that are kept, and of the blocks that only they use."""
    seen = {block.block_id for block in stored.blocks}
    while stored.head is not None and stored.head.base > 1:
        try:
            before = await store.read_version(stored.session_id, stored.head.base - 1)
        except VersionUnavailableError:
            return
        except ContextError as error:
            yield str(error)
            return
        if before is None:
            return
        try:
            touch_lists(open_session(before))
        except ContextError as error:
            yield str(error)
        for problem in damaged_blocks(before, [block for block in before.blocks if block.block_id not in seen]):
            yield problem
        seen.update(block.block_id for block in before.blocks)
        stored = before


def damaged_blocks(stored: StoredSession, blocks: Iterable[Block]) -> Iterator[str]:
    """The blocks that cannot be opened, each by itself: one that is damaged hides no other."""
    for block in blocks:
        try:
            check_block(stored.session_id, stored.epoch, block)
        except ContextError as error:
            yield str(error)
        except (TypeError, ValueError, OverflowError):
            yield f"block at position {block.position} of session {stored.session_id}: {WRONG_KIND}"


def missing_versions(session_id: str, frames: Sequence[Frame]) -> Iterator[str]:
    """The gaps in the log: old versions go one after the other, and never from the middle."""
    for before, after in pairwise(frames):
        if after.version != before.version + 1:
            yield f"frame {before.version + 1} of session {session_id}: it is missing"


def damaged_frames(session_id: str, epoch: int, frames: Sequence[Frame]) -> Iterator[str]:
    """The versions whose patch cannot be read."""
    for frame in frames:
        try:
            patch_text(session_id, epoch, frame)
        except ContextError as error:
            yield str(error)


def damaged_fields(context: SwisperContext) -> Iterator[str]:
    """The fields that cannot be read, and each segment of record lists."""
    snapshot = context._position.snapshot
    for name in snapshot.names:
        try:
            value = snapshot.get(name)
        except ContextError as error:
            yield str(error)
        else:
            if isinstance(value, RecordList):
                yield from damaged_segments(value)


def touch_lists(context: SwisperContext) -> None:
    """Have the rows of its blocks looked at."""
    snapshot = context._position.snapshot
    for name in snapshot.names:
        if snapshot.count(name):
            snapshot.get(name)[0]


def damaged_segments(records: RecordList[Any]) -> Iterator[str]:
    """Each segment that cannot be opened: every record is touched, since one that fails does not tell of the next."""
    for index in range(len(records)):
        try:
            records[index]
        except ContextError as error:
            yield str(error)


def show_verdict(output: Output, found: dict[str, list[str]]) -> None:
    """Each damaged place by name, and how many sessions have such."""
    if output.as_json:
        for session_id, problems in found.items():
            output.object({"session_id": session_id, "damaged": bool(problems), "problems": problems})
        return
    for problems in found.values():
        for problem in problems:
            output.line(f"damaged: {problem}", "red")
    damaged = sum(map(bool, found.values()))
    output.line(f"{plural(len(found), 'session')} checked, {damaged or 'none'} damaged", "red" if damaged else "green")
