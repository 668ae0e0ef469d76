"""`swisper-ctx history`: the versions of a session, and what each changed."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from swisper_ctx._core import plain
from swisper_ctx.cli.output import Output, compact, json_option, plural, when
from swisper_ctx.cli.reading import SessionCommand
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.context import moment
from swisper_ctx.errors import CorruptSessionError, SessionNotFoundError
from swisper_ctx.log import Etag
from swisper_ctx.stores.history import patch_text

if TYPE_CHECKING:
    from swisper_ctx.log import Frame
    from swisper_ctx.stores.base import SessionStore

Operation = dict[str, Any]


@click.command("history", cls=SessionCommand, short_help="List the versions of a session and their changes.")
@click.argument("session")
@store_option
@click.option("--reveal", is_flag=True, help="Show the values of the operations as well.")
@json_option
def history(session: str, store: str, reveal: bool, as_json: bool) -> None:
    """List the versions of SESSION that are kept, oldest first, and the operations of each by name and path."""
    output = Output(as_json)
    perform(store, lambda opened: show_history(opened, output, session, reveal))


async def show_history(store: SessionStore, output: Output, session_id: str, reveal: bool) -> bool:
    """Print each version; whether all could be read."""
    # Not by `store.history`, which ends at the first version that is damaged.
    stored = await store.read(session_id, after=Etag(0, b""))
    if stored is None:
        raise SessionNotFoundError(f"no session {session_id}")
    good = True
    for frame in stored.frames:
        version = described(session_id, stored.epoch, frame, reveal)
        good &= "damaged" not in version
        if output.as_json:
            output.object(version)
        else:
            show_version(output, frame, version, reveal)
    return good


def described(session_id: str, epoch: int, frame: Frame, reveal: bool) -> dict[str, Any]:
    """One version as JSON types; its operations are null when its patch is no longer kept."""
    result: dict[str, Any] = {
        "version": frame.version,
        "time": plain(moment(frame.time)),
        "change_id": frame.change_id,
        "bytes": None if frame.body is None else len(frame.body),
        "operations": None,
    }
    try:
        text = patch_text(session_id, epoch, frame)
    except CorruptSessionError as error:
        return result | {"damaged": str(error)}
    if text is not None:
        operations: list[Operation] = json.loads(text)
        result["operations"] = operations if reveal else [without_value(operation) for operation in operations]
    return result


def without_value(operation: Operation) -> Operation:
    """The operation by name and path."""
    return {key: operation[key] for key in ("op", "path", "from") if key in operation}


def show_version(output: Output, frame: Frame, version: dict[str, Any], reveal: bool) -> None:
    """One version as lines of text."""
    size = "patch no longer kept" if frame.body is None else plural(len(frame.body), "byte")
    change = "" if frame.change_id is None else f"  change_id {frame.change_id}"
    output.line(f"version {frame.version}  {when(frame.time)}  {size}{change}", "bold")
    if "damaged" in version:
        output.line(f"  damaged: {version['damaged']}", "red")
    for text, repeated in groupby(worded(operation, reveal) for operation in version["operations"] or ()):
        count = len(list(repeated))
        output.line(f"  {text}" + (f"  ({count} times)" if count > 1 else ""))


def worded(operation: Operation, reveal: bool) -> str:
    """An operation in words: its name, its path, and its value if that is to be shown."""
    source = f"{operation['from']} to " if "from" in operation else ""
    value = f" {compact(operation['value'])}" if reveal and "value" in operation else ""
    return f"{operation['op']} {source}{operation['path'] or '(everything)'}{value}"
