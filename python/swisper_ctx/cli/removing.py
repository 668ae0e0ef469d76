"""Commands that take away: cleanup, delete, evict."""

from __future__ import annotations

import click

from swisper_ctx.cli.output import Output, json_option, plural
from swisper_ctx.cli.reading import SessionCommand
from swisper_ctx.cli.store_option import cache_option, perform, store_option
from swisper_ctx.errors import SessionNotFoundError
from swisper_ctx.stores.base import SessionStore


@click.command("cleanup", short_help="Delete the sessions that have expired.")
@store_option
@cache_option
@json_option
def cleanup(store: str, cache: str | None, as_json: bool) -> None:
    """Delete the sessions that have expired. Others may write meanwhile, and clean up too."""
    output = Output(as_json)
    perform(store, lambda opened: delete_expired(opened, output), cache)


async def delete_expired(store: SessionStore, output: Output) -> bool:
    """Delete them and say how many."""
    deleted = await store.cleanup_expired_sessions()
    if output.as_json:
        output.object({"deleted": deleted})
    else:
        output.line(f"{plural(deleted, 'expired session')} deleted")
    return True


@click.command("delete", cls=SessionCommand, short_help="Delete a session with everything it has.")
@click.argument("session")
@store_option
@cache_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(session: str, store: str, cache: str | None, yes: bool, as_json: bool) -> None:
    """Delete SESSION with everything it has, also what recoveries have set aside. It cannot be brought back."""
    output = Output(as_json)
    perform(store, lambda opened: delete_one(opened, output, session, yes), cache)


async def delete_one(store: SessionStore, output: Output, session_id: str, yes: bool) -> bool:
    """Delete it, if that is wanted."""
    if not yes:
        click.confirm(f"Delete session {session_id} with everything it has?", abort=True, err=True)
    if not await store.delete_session(session_id):
        raise SessionNotFoundError(f"no session {session_id}")
    if output.as_json:
        output.object({"session_id": session_id, "deleted": True})
    else:
        output.line(f"session {session_id} deleted")
    return True


@click.command("evict", cls=SessionCommand, short_help="Let caches forget a session.")
@click.argument("session")
@store_option
@cache_option
@json_option
def evict(session: str, store: str, cache: str | None, as_json: bool) -> None:
    """Let the cache in front of the store forget SESSION, which stays in the store."""
    output = Output(as_json)
    perform(store, lambda opened: evict_one(opened, output, session, cache is not None), cache)


async def evict_one(store: SessionStore, output: Output, session_id: str, has_cache: bool) -> bool:
    """Forget it, where something could remember it."""
    await store._deleted([session_id])
    if output.as_json:
        output.object({"session_id": session_id, "has_cache": has_cache})
    elif has_cache:
        output.line(f"session {session_id}: the cache holds nothing of it any more")
    else:
        output.line("no cache is named: there is nothing to evict")
    return True
