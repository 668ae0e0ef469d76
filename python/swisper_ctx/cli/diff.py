"""`swisper-ctx diff`: what differs between two versions of a session."""

from __future__ import annotations

from itertools import groupby

import click

from swisper_ctx._core import diff as compare
from swisper_ctx.cli.history import without_value, worded
from swisper_ctx.cli.output import Output, json_option, plural
from swisper_ctx.cli.reading import open_session, read_session
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.stores.base import SessionStore


@click.command("diff", short_help="Show what differs between two versions of a session.")
@click.argument("session")
@click.argument("v1", type=click.IntRange(min=1))
@click.argument("v2", type=click.IntRange(min=1))
@store_option
@click.option("--reveal", is_flag=True, help="Show the values as well.")
@json_option
def diff(session: str, v1: int, v2: int, store: str, reveal: bool, as_json: bool) -> None:
    """Show what turns version V1 of SESSION into version V2, by name and path; V1 may be the later one.

    With --json --reveal it is a JSON Patch (RFC 6902), one operation a line.
    """
    output = Output(as_json)
    perform(store, lambda opened: show_diff(opened, output, session, (v1, v2), reveal))


async def show_diff(
    store: SessionStore, output: Output, session_id: str, versions: tuple[int, int], reveal: bool
) -> bool:
    """Print the operations."""
    before, after = [open_session(await read_session(store, session_id, version)) for version in versions]
    found = list(compare(before, after))
    if output.as_json:
        for operation in found:
            output.object(operation if reveal else without_value(operation))
        return True
    output.line(f"version {versions[0]} to {versions[1]}: {plural(len(found), 'difference')}", "bold")
    for text, repeated in groupby(worded(operation, reveal) for operation in found):
        count = len(list(repeated))
        output.line(f"  {text}" + (f"  ({count} times)" if count > 1 else ""))
    return True
