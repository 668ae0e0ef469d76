"""The sessions that a command works on: one by its id, or all. Nothing is written by reading them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import click

from swisper_ctx import SwisperContext
from swisper_ctx.errors import CorruptSessionError, SessionNotFoundError
from swisper_ctx.log import SessionInfo, StoredSession
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.loaded import opened
from swisper_ctx.stores.recovery import is_quarantine

PAGE = 500
# SQLite keeps values of any type in any column.
WRONG_KIND = "a value of the wrong kind is stored"
NEW_ID = re.compile(r"-[\w-]{21}", re.ASCII)


class SessionCommand(click.Command):
    """A command with a SESSION, which may begin with a dash: one of 64 new session ids does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" not in args:
            ids = [arg for arg in args if NEW_ID.fullmatch(arg)]
            args = [arg for arg in args if arg not in ids] + ["--", *ids]
        return super().parse_args(ctx, args)


async def every_session(store: SessionStore, user_id: str | None = None) -> AsyncIterator[SessionInfo]:
    """The sessions, newest first."""
    cursor: str | None = None
    while True:
        page = await store.sessions(user_id=user_id, cursor=cursor, limit=PAGE)
        for session in page.sessions:
            yield session
        cursor = page.cursor
        if cursor is None:
            return


async def session_ids(store: SessionStore, session_id: str | None) -> list[str]:
    """That session, or all there are; those in quarantine are known to be damaged, and left out."""
    if session_id is not None:
        return [session_id]
    every = [session.session_id async for session in every_session(store)]
    return [each for each in every if not is_quarantine(each)]


async def read_session(store: SessionStore, session_id: str, version: int | None = None) -> StoredSession:
    """One session as it is stored, or was at a version. Raises SessionNotFoundError, VersionUnavailableError."""
    stored = await (store.read(session_id) if version is None else store.read_version(session_id, version))
    if stored is None:
        raise SessionNotFoundError(f"no session {session_id}")
    return stored


def open_session(stored: StoredSession) -> SwisperContext:
    """The context of a session. Raises CorruptSessionError."""
    # Not by `load_session`: that makes a checkpoint where one is due, and looking should leave a store as it is.
    try:
        return opened(stored, SwisperContext)
    except (TypeError, ValueError, OverflowError) as error:
        raise CorruptSessionError(WRONG_KIND, session_id=stored.session_id) from error
