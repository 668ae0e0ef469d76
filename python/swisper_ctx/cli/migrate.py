"""`swisper-ctx migrate`: the tables of a PostgreSQL database."""

from __future__ import annotations

import click

from swisper_ctx.cli.output import Output, json_option, plural, printable
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.encrypted import EncryptedSessionStore


@click.command("migrate", short_help="Create or update the tables of a PostgreSQL store.")
@store_option
@json_option
def migrate(store: str, as_json: bool) -> None:
    """Create the tables of the store, or bring those of an older version of this library up to date.

    Sessions of a table `sessions` that was there before, whole in `context_data`, are taken over. It may be repeated,
    and run beside other processes of this version. The exit code is 1 if a session was not taken over.
    """
    output = Output(as_json)
    perform(store, lambda opened: migrate_store(opened, output))


async def migrate_store(store: SessionStore, output: Output) -> bool:
    """Migrate and say what was done; whether every session was taken over."""
    under = store.store if isinstance(store, EncryptedSessionStore) else store
    migrate = getattr(under, "migrate", None)
    if migrate is None:
        raise click.UsageError("this store makes its tables by itself: there is nothing to migrate")
    done = await migrate()
    if output.as_json:
        output.object({"steps": done.steps, "adopted": done.adopted, "refused": list(done.refused)})
        return not done.refused
    output.line(f"{plural(done.steps, 'step')} of the schema, {plural(done.adopted, 'session')} taken over")
    for session_id in done.refused:
        output.line(f"left alone, no context of a user: {printable(session_id)}", "yellow")
    return not done.refused
