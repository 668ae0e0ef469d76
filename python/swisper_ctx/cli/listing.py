"""`swisper-ctx sessions`: which sessions there are."""

from __future__ import annotations

from typing import Any

import click

from swisper_ctx._core import plain
from swisper_ctx.cli.output import Cell, Output, json_option, when
from swisper_ctx.cli.reading import every_session
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.context import moment
from swisper_ctx.log import SessionInfo
from swisper_ctx.stores.base import SessionStore

HEADINGS = ("session", "user", "version", "messages", "created", "updated", "expires")


@click.command("sessions")
@store_option
@click.option("--user", metavar="USER", help="Only the sessions of this user.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@json_option
def sessions(store: str, user: str | None, limit: int, as_json: bool) -> None:
    """List the sessions, newest first."""
    output = Output(as_json)
    perform(store, lambda opened: list_sessions(opened, output, user, limit))


async def list_sessions(store: SessionStore, output: Output, user: str | None, limit: int) -> bool:
    """Print up to `limit` sessions, and whether there are more."""
    rows: list[SessionInfo] = []
    more = False
    async for session in every_session(store, user):
        if more := len(rows) == limit:
            break
        rows.append(session)
    if output.as_json:
        for session in rows:
            output.object(session_object(session))
    elif not rows:
        output.line("no sessions")
    else:
        output.table(HEADINGS, [session_row(session) for session in rows])
        if more:
            output.line(f"and more: these are the newest {limit}, --limit shows others")
    return True


def session_row(session: SessionInfo) -> tuple[Cell, ...]:
    """One line of the table."""
    times = (session.created_at, session.updated_at, session.expires_at)
    return (session.session_id, session.user_id, session.version, session.messages, *map(when, times))


def session_object(session: SessionInfo) -> dict[str, Any]:
    """One session as JSON types, its times as RFC 3339 text."""
    result = session._asdict()
    return result | {name: plain(moment(result[name])) for name in ("created_at", "updated_at", "expires_at")}
