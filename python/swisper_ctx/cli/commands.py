"""The click group behind `swisper-ctx`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import click

from swisper_ctx.cli.checkpoint import checkpoint
from swisper_ctx.cli.conversations import SourceError, load_source
from swisper_ctx.cli.demo import run_demo
from swisper_ctx.cli.diff import diff
from swisper_ctx.cli.doctor import doctor
from swisper_ctx.cli.export import export
from swisper_ctx.cli.fork import fork
from swisper_ctx.cli.history import history
from swisper_ctx.cli.keys import encrypt, keygen, rotate
from swisper_ctx.cli.listing import sessions
from swisper_ctx.cli.migrate import migrate
from swisper_ctx.cli.recover import recover
from swisper_ctx.cli.removing import cleanup, delete, evict
from swisper_ctx.cli.show import show
from swisper_ctx.cli.stats import stats
from swisper_ctx.cli.verify import verify

SQLITE = "sqlite:///"


def store_path(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Path | None:
    """The file that the store is kept in, given bare or as `sqlite:///path`; any other kind of store is refused."""
    if value is None:
        return None
    text = unquote(value.removeprefix(SQLITE)) if value.startswith(SQLITE) else value
    if "://" in text or not text:
        raise click.BadParameter("the demo writes an SQLite file: give its path, or sqlite:///path")
    path = Path(text).absolute()
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no directory {path.parent}")
    return path


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """What an AI assistant remembers between two turns, kept safe."""


@commands.command(short_help="Replay real conversations, crash, recover.")
@click.option("--users", type=click.IntRange(min=1), help="How many users, longest conversations first (default: all).")
@click.option("--store", metavar="URL", callback=store_path, help="The SQLite file to use (default: a temporary one).")
def demo(users: int | None, store: Path | None) -> None:
    """Replay real conversations into SQLite, kill the writer halfway, recover, and show what a turn cost.

    The conversations come from the directory or file that SWISPER_DATA names, else from ../shared/data, else from a
    sample in the package. The exit code is 1 if anything stored differs from them.
    """
    try:
        source = load_source(users)
    except SourceError as problem:
        raise click.ClickException(str(problem)) from problem
    if not run_demo(source, store):
        raise SystemExit(1)


LOOKING = (sessions, show, history, diff, export, verify, stats, doctor)
WRITING = (migrate, checkpoint, fork, recover, cleanup, evict, delete)
KEYS = (keygen, rotate, encrypt)

for command in (*LOOKING, *WRITING, *KEYS):
    commands.add_command(command)
