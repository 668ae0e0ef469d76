"""`swisper-ctx recover`: let a damaged session go on from its last good state."""

from __future__ import annotations

from typing import Any

import click

from swisper_ctx.cli.output import Output, json_option, plural
from swisper_ctx.cli.reading import SessionCommand
from swisper_ctx.cli.store_option import cache_option, perform, store_option
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.recovery import RecoveryReport


@click.command("recover", cls=SessionCommand, short_help="Let a damaged session go on from its last good state.")
@click.argument("session")
@store_option
@cache_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--force", is_flag=True, help="Go on where much cannot be opened, or no head be read: keys may be missing."
)
@json_option
def recover(session: str, store: str, cache: str | None, dry_run: bool, force: bool, as_json: bool) -> None:
    """Find what is damaged in SESSION, and let it go on from its last good state.

    Nothing is deleted: what was there is kept as another session, whose id is printed, until SESSION is deleted or
    expires; given that id, the session goes on from what is kept. The exit code is 1 if anything was lost, or would be.
    """
    output = Output(as_json)
    perform(store, lambda opened: recover_session(opened, output, session, dry_run, force), cache)


async def recover_session(store: SessionStore, output: Output, session_id: str, dry_run: bool, force: bool) -> bool:
    """Recover it and print the report; whether nothing was lost."""
    report = await store.recover(session_id, dry_run, force=force)
    if output.as_json:
        output.object(as_object(report))
    else:
        show_report(output, report)
    return is_lossless(report)


def is_lossless(report: RecoveryReport) -> bool:
    """Whether the last state is the one that was to be there."""
    return report.complete and not report.lost_versions


def as_object(report: RecoveryReport) -> dict[str, Any]:
    """The report as JSON types."""
    return report._asdict() | {"lost_versions": list(report.lost_versions), "bad_blocks": list(report.bad_blocks)}


def show_report(output: Output, report: RecoveryReport) -> None:
    """The report as lines of text."""
    if not report.bad_blocks:
        output.line(f"session {report.session_id}: nothing is damaged", "green")
        return
    for problem in report.bad_blocks:
        output.line(f"damaged: {problem}", "red")
    output.line(f"last good version: {report.version} of {report.newest}")
    if report.lost_versions:
        first, last = report.lost_versions[0], report.lost_versions[-1]
        output.line(f"lost: version {first}" + (f" to {last}" if last > first else ""), "red")
    if report.lost_records:
        output.line(f"lost: {plural(report.lost_records, 'record')} of lists", "red")
    if is_lossless(report):
        output.line("older checkpoints and versions lead past the damage: the last state lacks nothing")
    elif not report.complete:
        output.line("the state at that version may lack what stood in the damaged places", "red")
    if report.quarantine_id is None:
        output.line("nothing was written: without --dry-run the session goes on from there")
    else:
        output.line(f"session {report.session_id} goes on at version {report.restored}")
        output.line(f"what was there is kept as session {report.quarantine_id}")
