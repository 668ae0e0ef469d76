"""The click group behind `swisper-ctx`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import click

from swisper_ctx.cli.checkpoint import checkpoint
from swisper_ctx.cli.conversations import Source, SourceError, load_source
from swisper_ctx.cli.demo import run_demo
from swisper_ctx.cli.diff import diff
from swisper_ctx.cli.doctor import doctor
from swisper_ctx.cli.export import export
from swisper_ctx.cli.fork import fork
from swisper_ctx.cli.history import history
from swisper_ctx.cli.keys import encrypt, keygen, rotate
from swisper_ctx.cli.listing import sessions
from swisper_ctx.cli.migrate import migrate
from swisper_ctx.cli.output import printable
from swisper_ctx.cli.recover import recover
from swisper_ctx.cli.removing import cleanup, delete, evict
from swisper_ctx.cli.show import show
from swisper_ctx.cli.stats import stats
from swisper_ctx.cli.verify import verify
from swisper_ctx.errors import ContextError

SQLITE = "sqlite:///"
SERVERS = ("postgresql://", "postgres://")


def demo_store(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Path | str | None:
    """The file that the store is kept in, given bare or as `sqlite:///path`, or the URL of a PostgreSQL."""
    if value is None:
        return None
    if value.startswith(SERVERS):
        return value
    text = unquote(value.removeprefix(SQLITE)) if value.startswith(SQLITE) else value
    if "://" in text or not text:
        raise click.BadParameter("give the path of an SQLite file, sqlite:///path, or postgresql://user@host/database")
    path = Path(text).absolute()
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no directory {path.parent}")
    return path


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """What an AI assistant remembers between two turns, kept safe."""


@commands.command(short_help="Replay real conversations, crash, recover.")
@click.option("--users", type=click.IntRange(min=1), help="How many users (default: all; 256 on a server).")
@click.option(
    "--store",
    metavar="URL",
    callback=demo_store,
    help="The SQLite file to use (default: a temporary one), or postgresql://user@host/database.",
)
@click.option("--cache", metavar="URL", help="A Redis in front of PostgreSQL, as redis://host:6379/0.")
def demo(users: int | None, store: Path | str | None, cache: str | None) -> None:
    """Replay real conversations into SQLite, kill the writer halfway, recover, and show what a turn cost.

    On a PostgreSQL, many users replay them at the same time instead, and it is shown how fast that goes, how long loads
    and saves take, and what each turn writes. The sessions expire after an hour.

    The conversations come from the directory or file that SWISPER_DATA names, else from ../shared/data, else from a
    sample in the package. The exit code is 1 if anything stored differs from them.
    """
    if cache is not None and not isinstance(store, str):
        raise click.UsageError("--cache needs --store postgresql://...")
    try:
        source = load_source(None if isinstance(store, str) else users)
    except SourceError as problem:
        raise click.ClickException(str(problem)) from problem
    if not (load_server(source, store, cache, users) if isinstance(store, str) else run_demo(source, store)):
        raise SystemExit(1)


def load_server(source: Source, url: str, cache: str | None, users: int | None) -> bool:
    """Many users at once on a server; whether all is well."""
    try:
        load = import_module("swisper_ctx.cli.load")
        good: bool = load.run_load(source, url, cache, users or load.USERS)
    except ImportError as error:
        raise click.ClickException(f"install swisper_ctx[postgres,redis]: {error.name} is missing") from error
    except (ContextError, OSError) as error:
        raise click.ClickException(printable(f"{type(error).__name__}: {error}")) from None
    return good


LOOKING = (sessions, show, history, diff, export, verify, stats, doctor)
WRITING = (migrate, checkpoint, fork, recover, cleanup, evict, delete)
KEYS = (keygen, rotate, encrypt)

for command in (*LOOKING, *WRITING, *KEYS):
    commands.add_command(command)
