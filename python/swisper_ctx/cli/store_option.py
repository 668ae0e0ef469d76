"""Finding the store that a command works on: `--store URL`, or the environment variable SWISPER_STORE.

SWISPER_KEYS has the keys of an encrypted one: no option, since every user of a machine can read the arguments of a
process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, unquote

import click

from swisper_ctx.cli.output import printable
from swisper_ctx.errors import ContextError, StoreError
from swisper_ctx.keys import Keys, named_keys
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.registry import open_cache, open_store

Work = Callable[[SessionStore], Awaitable[bool]]
"""What a command does with the store; whether all was well."""

FILES = {"sqlite": ("",), "shelve": ("", ".db", ".dat")}
"""Stores in files, and what their driver may append to the name."""


def existing_store(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """The URL of a store that exists, as far as that can be seen without opening it: opening would create the file."""
    if "://" not in value:
        if not value.endswith(".db"):
            raise click.BadParameter("give a URL, as sqlite:///sessions.db, or the path of a file that ends in .db")
        value = f"sqlite:///{quote(str(Path(value).absolute()))}"
    scheme, _, rest = value.partition("://")
    if scheme == "memory":
        raise click.BadParameter("a store in memory is empty in each new process")
    if scheme in FILES and not has_content(rest.partition("/")[2], FILES[scheme]):
        raise click.BadParameter(f"there are no sessions in {printable(unquote(rest.partition('/')[2])) or 'no file'}")
    return value


def has_content(quoted: str, suffixes: tuple[str, ...]) -> bool:
    """Whether one of the files can be seen and is not empty."""
    files = [Path(unquote(quoted) + suffix) for suffix in suffixes]
    try:
        return any(file.is_file() and file.stat().st_size > 0 for file in files)
    except OSError:  # a name that is too long, a directory that is closed to us
        return False


store_option = click.option(
    "--store",
    envvar="SWISPER_STORE",
    show_envvar=True,
    required=True,
    metavar="URL",
    callback=existing_store,
    help="The store, as postgresql://user@host/database, sqlite:///sessions.db or the path of a file that ends in .db.",
)


def keys_at_hand() -> Keys | None:
    """What SWISPER_KEYS means; None if it is not set."""
    value = os.environ.get("SWISPER_KEYS", "")
    return named_keys(value) if value else None


cache_option = click.option(
    "--cache",
    envvar="SWISPER_CACHE",
    show_envvar=True,
    metavar="URL",
    help="The Redis in front of it, as redis://host:6379/0, which is to forget what changes.",
)


def opened_store(url: str, cache: str | None = None) -> SessionStore:
    """The store of a URL, with a cache if one is named, encrypted if there are keys. Raises UsageError."""
    try:
        store, keys = open_store(url), keys_at_hand()
        if cache is not None:
            # Who asks for a session to be forgotten is to be told where it was not.
            store = open_cache(cache, store, strict=True)
        return store if keys is None else EncryptedSessionStore(keys, store)
    except (StoreError, ValueError) as error:
        raise click.UsageError(printable(str(error))) from None


def perform(url: str, work: Work, cache: str | None = None) -> None:
    """Do the work of a command on its store; errors of this package end it with one line."""
    # Integers of any size are exact in a context; Python refuses to print those of more than 4300 digits.
    sys.set_int_max_str_digits(0)
    store = opened_store(url, cache)
    try:
        good = asyncio.run(_closing(store, work))
    except ContextError as error:
        raise click.ClickException(printable(f"{type(error).__name__}: {error}")) from None
    if not good:
        raise SystemExit(1)


async def _closing(store: SessionStore, work: Work) -> bool:
    try:
        return await work(store)
    finally:
        await store.aclose()
