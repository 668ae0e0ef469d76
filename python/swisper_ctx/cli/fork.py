"""`swisper-ctx fork`: a session of its own that begins where another one is, or was."""

from __future__ import annotations

import click

from swisper_ctx.cli.output import Output, json_option
from swisper_ctx.cli.reading import SessionCommand
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.stores.base import SessionStore

DAY = 86_400_000_000


@click.command("fork", cls=SessionCommand, short_help="Begin a new session where another one is, or was.")
@click.argument("session")
@store_option
@click.option("--version", type=click.IntRange(min=1), help="Begin at this version, if that is kept.")
@click.option("--id", "new_id", metavar="ID", help="The id of the new session (default: a random one).")
@json_option
def fork(session: str, store: str, version: int | None, new_id: str | None, as_json: bool) -> None:
    """Make a new session of the same user with the content of SESSION, and print its id.

    It expires as its retention policy says, after 24 hours without a save if that leaves it open.
    """
    output = Output(as_json)
    perform(store, lambda opened: make_fork(opened, output, session, version, new_id))


async def make_fork(
    store: SessionStore, output: Output, session_id: str, version: int | None, new_id: str | None
) -> bool:
    """Make it, and say which it is."""
    made = await store.fork(session_id, version=version, new_session_id=new_id, ttl=DAY)
    parent = made._position.snapshot.get("forked_from")
    if output.as_json:
        output.object({"session_id": made.session_id, "forked_from": parent})
    else:
        output.line(f"session {made.session_id}: a fork of session {session_id} at version {parent['version']}")
    return True
