"""`swisper-ctx stats`: how much there is in a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import click

from swisper_ctx._core import plain
from swisper_ctx.cli.output import Output, json_option, when
from swisper_ctx.cli.reading import every_session
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.context import moment
from swisper_ctx.errors import ContextError
from swisper_ctx.log import Frame, SessionInfo, StoredSession
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.recovery import is_quarantine

TIMES = ("oldest", "newest", "last_change")


@click.command("stats", short_help="Count what there is in a store.")
@store_option
@json_option
def stats(store: str, as_json: bool) -> None:
    """Count sessions, users, messages, versions, frames, blocks and bytes.

    Frames are the versions that are kept; blocks are those of the newest checkpoints. Bytes are those of both, not
    of the file around them. What recoveries have set aside is not counted. The exit code is 1 if a session cannot be
    read.
    """
    output = Output(as_json)
    perform(store, lambda opened: show_stats(opened, output))


@dataclass
class Totals:
    """What was counted."""

    sessions: int = 0
    users: int = 0
    messages: int = 0
    versions: int = 0
    frames: int = 0
    frame_bytes: int = 0
    blocks: int = 0
    block_bytes: int = 0
    unreadable: int = 0
    oldest: int | None = None
    newest: int | None = None
    last_change: int | None = None
    _users: set[str] = field(default_factory=set)

    def add(self, session: SessionInfo) -> None:
        """Count what the listing tells of a session."""
        self._users.add(session.user_id)
        self.sessions, self.users = self.sessions + 1, len(self._users)
        self.messages += session.messages
        self.versions += session.version
        self.oldest = min(session.created_at, self.oldest or session.created_at)
        self.newest = max(session.created_at, self.newest or session.created_at)
        self.last_change = max(session.updated_at, self.last_change or session.updated_at)

    def add_log(self, stored: StoredSession, frames: tuple[Frame, ...]) -> None:
        """Count what is stored of a session."""
        self.frames += len(frames)
        self.frame_bytes += sum(len(frame.body or b"") for frame in frames)
        self.blocks += len(stored.blocks)
        self.block_bytes += sum(len(block.body or b"") for block in stored.blocks)

    def counts(self) -> dict[str, int]:
        """The numbers by their names."""
        return {name: value for name, value in vars(self).items() if name not in TIMES and not name.startswith("_")}

    def times(self) -> dict[str, int | None]:
        """When the oldest and the newest session were created, and any was last changed."""
        return {name: getattr(self, name) for name in TIMES}


async def show_stats(store: SessionStore, output: Output) -> bool:
    """Count and print; whether every session could be read."""
    sessions = [session async for session in every_session(store) if not is_quarantine(session.session_id)]
    totals = Totals()
    with output.working("sessions", len(sessions)) as advance:
        for session in sessions:
            await count(store, session, totals)
            advance()
    if output.as_json:
        times: dict[str, Any] = {name: plain(moment(time)) for name, time in totals.times().items()}
        output.object(totals.counts() | times)
        return not totals.unreadable
    rows = [(name, f"{number:,}") for name, number in totals.counts().items()]
    rows += [(name, when(time)) for name, time in totals.times().items()]
    for name, text in rows:
        output.line(f"{name.replace('_', ' '):<12}  {text}")
    return not totals.unreadable


async def count(store: SessionStore, session: SessionInfo, totals: Totals) -> None:
    """Count one session, unless it was deleted meanwhile."""
    try:
        stored = await store.read(session.session_id)
        frames = await store.frames(session.session_id)
    except ContextError:
        totals.add(session)
        totals.unreadable += 1
        return
    if stored is not None:
        totals.add(session)
        totals.add_log(stored, frames)
