"""`swisper-ctx show`: what there is in a session, without its content unless that is asked for."""

from __future__ import annotations

from typing import Any

import click

from swisper_ctx._core import plain
from swisper_ctx.cli.output import Cell, Output, compact, json_option, when
from swisper_ctx.cli.reading import SessionCommand, open_session, read_session
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.context import METADATA, moment, serialize_context
from swisper_ctx.log import StoredSession
from swisper_ctx.stores.base import SessionStore

HISTORY = "conversation_history"


@click.command("show", cls=SessionCommand, short_help="Show what there is in a session.")
@click.argument("session")
@store_option
@click.option("--version", type=click.IntRange(min=1), help="Show it as it was at this version, if that is kept.")
@click.option("--reveal", is_flag=True, help="Show the content of fields and messages as well.")
@json_option
def show(session: str, store: str, version: int | None, reveal: bool, as_json: bool) -> None:
    """Show the fields of SESSION and their sizes, and its messages with role, time and length."""
    output = Output(as_json)
    perform(store, lambda opened: show_session(opened, output, session, version, reveal))


async def show_session(store: SessionStore, output: Output, session_id: str, version: int | None, reveal: bool) -> bool:
    """Print one session."""
    stored = await read_session(store, session_id, version)
    content = serialize_context(open_session(stored))
    fields = {name: described(value, reveal) for name, value in content.items() if name not in METADATA}
    messages = [summary(message, reveal) for message in content[HISTORY]]
    # The messages stand by themselves.
    fields[HISTORY].pop("value", None)
    if output.as_json:
        output.object(identity(stored) | {"fields": fields, "messages": messages})
    else:
        show_identity(output, stored)
        show_fields(output, fields, reveal)
        show_messages(output, messages, reveal)
    return True


def described(value: Any, reveal: bool) -> dict[str, Any]:
    """The kind and the size of a field: bytes as JSON, and how many values a list or dict has."""
    result = {"type": type(value).__name__, "bytes": len(compact(value).encode())}
    if isinstance(value, list | dict):
        result["count"] = len(value)
    return result | {"value": value} if reveal else result


def summary(message: dict[str, Any], reveal: bool) -> dict[str, Any]:
    """What is told of a message: the length of its content is in characters, or in parts if it has such."""
    content = message.get("content")
    length = len(content) if isinstance(content, str | list) else 0
    result = {"role": message.get("role"), "timestamp": message.get("timestamp"), "length": length}
    return result | {"content": content} if reveal else result


def identity(stored: StoredSession) -> dict[str, Any]:
    """Whose session it is, and of when."""
    times = {name: plain(moment(getattr(stored, name))) for name in ("created_at", "updated_at", "expires_at")}
    return {"session_id": stored.session_id, "user_id": stored.user_id, "version": stored.etag.version, **times}


def show_identity(output: Output, stored: StoredSession) -> None:
    """Whose session it is, and of when, as text."""
    output.line(f"session  {stored.session_id}", "bold")
    output.line(f"user     {stored.user_id}")
    output.line(f"version  {stored.etag.version}")
    for name in ("created", "updated", "expires"):
        output.line(f"{name}  {when(getattr(stored, f'{name}_at'))}")


def show_fields(output: Output, fields: dict[str, dict[str, Any]], reveal: bool) -> None:
    """The table of the fields."""
    output.line()
    rows: list[list[Cell]] = [
        [name, field["type"], field.get("count"), field["bytes"]] for name, field in fields.items()
    ]
    if reveal:
        for row, field in zip(rows, fields.values(), strict=True):
            row.append(compact(field["value"]) if "value" in field else "as below")
    output.table(["field", "type", "count", "bytes", *["value"][:reveal]], rows)


def show_messages(output: Output, messages: list[dict[str, Any]], reveal: bool) -> None:
    """The table of the messages."""
    output.line()
    if not messages:
        output.line("no messages")
        return
    rows: list[list[Cell]] = [
        [number, str(message["role"] or "-"), str(message["timestamp"] or "-"), message["length"]]
        for number, message in enumerate(messages, start=1)
    ]
    if reveal:
        for row, message in zip(rows, messages, strict=True):
            content = message["content"]
            row.append(content if isinstance(content, str) else compact(content))
    output.table(["message", "role", "time", "length", *["content"][:reveal]], rows)
