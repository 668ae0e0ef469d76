"""`swisper-ctx export`: a whole session as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from swisper_ctx.cli.output import json_option, plural, printable
from swisper_ctx.cli.reading import SessionCommand, open_session, read_session
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.context import serialize_context
from swisper_ctx.stores.base import SessionStore


@click.command("export", cls=SessionCommand, short_help="Write a session as JSON.")
@click.argument("session")
@store_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file, which only you can read if it is new, instead of the standard output.",
)
@json_option
def export(session: str, store: str, output: Path | None, as_json: bool) -> None:
    """Write SESSION as one JSON document, indented unless --json is given.

    It is the whole content, what was said included.
    """
    perform(store, lambda opened: export_session(opened, session, output, None if as_json else 2))


async def export_session(store: SessionStore, session_id: str, path: Path | None, indent: int | None) -> bool:
    """Write the JSON of one session."""
    document = serialize_context(open_session(await read_session(store, session_id)))
    if path is None:
        # Escaped, it passes through any encoding, and a terminal acts on none of it.
        click.echo(json.dumps(document, indent=indent))
        return True
    size = write_private(path, json.dumps(document, indent=indent, ensure_ascii=False) + "\n")
    click.echo(f"{plural(size, 'byte')} written to {printable(str(path))}", file=sys.stderr)
    return True


def write_private(path: Path, text: str) -> int:
    """Write a file that, if it is new, nobody else can read; how many bytes there are."""
    data = text.encode()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise click.FileError(printable(str(path)), error.strerror) from None
    return len(data)
