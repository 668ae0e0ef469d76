"""`swisper-ctx checkpoint`: fold the versions since the last checkpoint now, not when the next turn comes."""

from __future__ import annotations

from typing import Any

import click

from swisper_ctx.cli.output import Output, json_option, plural
from swisper_ctx.cli.reading import SessionCommand, open_session, read_session, session_ids
from swisper_ctx.cli.store_option import perform, store_option
from swisper_ctx.errors import ContextError, SessionNotFoundError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.checkpointer import Checkpointer, Job, due


@click.command("checkpoint", cls=SessionCommand, short_help="Fold the versions of sessions now.")
@click.argument("session", required=False)
@store_option
@json_option
def checkpoint(session: str | None, store: str, as_json: bool) -> None:
    """Make the checkpoint of SESSION, or of all sessions that are due for one.

    The exit code is 1 if one could not be made.
    """
    output = Output(as_json)
    if session is not None:
        perform(store, lambda opened: make_one(opened, output, session))
    else:
        perform(store, lambda opened: make_due(opened, output))


async def make_one(store: SessionStore, output: Output, session_id: str) -> bool:
    """Make the checkpoint of one session, due or not."""
    show(output, await fold(store, session_id, only_due=False))
    return True


async def make_due(store: SessionStore, output: Output) -> bool:
    """Make those that are due; whether none failed."""
    ids = await session_ids(store, None)
    results: list[dict[str, Any]] = []
    with output.working("sessions", len(ids)) as advance:
        for session_id in ids:
            try:
                results.append(await fold(store, session_id, only_due=True))
            except SessionNotFoundError:
                pass  # deleted since it was listed
            except ContextError as error:
                results.append({"session_id": session_id, "failed": str(error)})
            advance()
    made = [result for result in results if result.get("written") or "failed" in result]
    for result in made:
        show(output, result)
    failed = sum("failed" in result for result in made)
    if not output.as_json:
        done = f"{plural(len(made) - failed, 'checkpoint')} made, {failed} failed" if made else "none due"
        output.line(f"{plural(len(ids), 'session')}, {done}")
    return not failed


async def fold(store: SessionStore, session_id: str, *, only_due: bool) -> dict[str, Any]:
    """Make one checkpoint, if there is anything to fold; what became of it."""
    stored = await read_session(store, session_id)
    position = open_session(stored)._position
    mark = position.mark
    frames = mark.frames if mark else 0
    result = {"session_id": session_id, "version": stored.etag.version, "frames": frames, "written": False}
    if mark is None or not frames or (only_due and not due(position, position.snapshot)):
        return result
    job = Job(position, position.snapshot, stored.etag, mark.total)
    return result | {"written": await Checkpointer(store.checkpoint, store.read).make(job)}


def show(output: Output, result: dict[str, Any]) -> None:
    """What became of one checkpoint."""
    if output.as_json:
        output.object(result)
    elif "failed" in result:
        output.line(f"failed: {result['failed']}", "red")
    elif result["written"]:
        folded = plural(result["frames"], "version")
        output.line(f"session {result['session_id']}: checkpoint at version {result['version']}, {folded} folded")
    elif result["frames"]:
        output.line(f"session {result['session_id']}: somebody else made a checkpoint at the same time")
    else:
        output.line(f"session {result['session_id']}: nothing to fold since the last checkpoint")
