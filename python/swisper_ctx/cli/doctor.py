"""`swisper-ctx doctor`: how a store is, and what to do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import click

from swisper_ctx._core import plain
from swisper_ctx.cli.output import Output, json_option, plural, when
from swisper_ctx.cli.reading import every_session
from swisper_ctx.cli.store_option import FILES, perform, store_option
from swisper_ctx.context import moment
from swisper_ctx.errors import ContextError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.recovery import is_quarantine

LARGE_WAL = 64 * 1024 * 1024
SKEW = 5_000_000
"""So many microseconds may a change lie ahead of the store's clock before it is told."""


class Health(NamedTuple):
    """What was found."""

    store: str
    schema: int | None
    """The version of the tables; None where there are none."""
    file_bytes: int | None
    wal_bytes: int | None
    sessions: int
    expired: int
    quarantined: int
    unreadable: int
    clock_ahead: int
    """How far the last change lies ahead of the store's clock, in microseconds; 0 if it does not."""
    oldest_frame: int | None


@click.command("doctor", short_help="Say how a store is, and what to do about it.")
@store_option
@json_option
def doctor(store: str, as_json: bool) -> None:
    """Look at the store, its schema, clock, sizes, oldest frames and expired sessions, and say what to do.

    Blocks are not opened: that is `verify`. The exit code is 1 if there is something to do. Nothing is changed.
    """
    output = Output(as_json)
    perform(store, lambda opened: show_health(opened, output, store))


async def show_health(store: SessionStore, output: Output, url: str) -> bool:
    """Examine and print; whether nothing is to be done."""
    health = await examine(store, url)
    todo = list(advice(health))
    if output.as_json:
        output.object(as_object(health) | {"to_do": todo})
        return not todo
    times = {"clock_ahead": f"{health.clock_ahead / 1e6:.0f} s", "oldest_frame": when(health.oldest_frame)}
    values = health._asdict() | times
    for name, value in values.items():
        shown = "-" if value is None else f"{value:,}" if isinstance(value, int) else value
        output.line(f"{name.replace('_', ' '):<14}{shown}")
    for each in todo:
        output.line(f"to do: {each}", "yellow")
    if not todo:
        output.line("nothing to do; whether the content is sound, swisper-ctx verify tells", "green")
    return not todo


async def examine(store: SessionStore, url: str) -> Health:
    """Look at everything but content."""
    now, last, oldest = store._clock(), 0, list[int]()
    sessions = expired = quarantined = unreadable = 0
    async for session in every_session(store):
        sessions += 1
        last = max(last, session.updated_at)
        if session.expires_at is not None and session.expires_at <= now:
            expired += 1
        elif is_quarantine(session.session_id):
            quarantined += 1
        else:
            try:
                await store.read(session.session_id, tail=0)
                oldest += [frame.time for frame in await store.frames(session.session_id, limit=1)]
            except ContextError:
                unreadable += 1
    ahead = last - now if last - now > SKEW else 0
    counts = sessions, expired, quarantined, unreadable
    return Health(*place(store, url), *counts, ahead, min(oldest, default=None))


def place(store: SessionStore, url: str) -> tuple[str, int | None, int | None, int | None]:
    """The kind of the store, the version of its schema, the bytes of its file and of the WAL beside it."""
    scheme, _, rest = url.partition("://")
    name = unquote(rest.partition("/")[2])
    sizes = [size for suffix in FILES.get(scheme, ()) if (size := size_of(name + suffix)) is not None]
    version, wal = (schema_of(name), size_of(f"{name}-wal") or 0) if scheme == "sqlite" else (None, None)
    return type(store).__name__, version, sum(sizes) if sizes else None, wal


def schema_of(name: str) -> int | None:
    """The version that stands in an SQLite file, None if it cannot be read."""
    uri = f"{Path(name).absolute().as_uri()}?mode=ro"
    with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as file:
        version: int = file.execute("PRAGMA user_version").fetchone()[0]
        return version
    return None


def size_of(name: str) -> int | None:
    """The bytes of a file, None if there is none."""
    try:
        return Path(name).stat().st_size
    except OSError:
        return None


def advice(health: Health) -> Iterator[str]:
    """What to do."""
    if health.expired:
        yield f"{plural(health.expired, 'session')} expired and still there: swisper-ctx cleanup"
    if health.unreadable:
        yield f"{plural(health.unreadable, 'session')} cannot be read: swisper-ctx verify, then recover"
    if health.quarantined:
        yield f"{plural(health.quarantined, 'session')} in quarantine: look into them, then delete them"
    if health.clock_ahead:
        seconds = health.clock_ahead / 1e6
        yield f"the last change lies {seconds:.0f} s ahead of the clock here: set the clocks of all writers by NTP"
    if health.wal_bytes is not None and health.wal_bytes > LARGE_WAL:
        yield f"the WAL has {health.wal_bytes:,} bytes: some process keeps a read open, end it"


def as_object(health: Health) -> dict[str, Any]:
    """What was found as JSON types."""
    return health._asdict() | {"oldest_frame": plain(moment(health.oldest_frame))}
