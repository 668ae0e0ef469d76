"""`swisper-ctx keygen`, `rotate`, `encrypt`: new keys, and sealing what a store holds under them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from swisper_ctx.cli.output import Output, json_option, plural, printable
from swisper_ctx.cli.reading import session_ids
from swisper_ctx.cli.store_option import cache_option, perform, store_option
from swisper_ctx.errors import ContextError, StoreError
from swisper_ctx.keys import KeyFile, new_key
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.stores.rotation import PLAIN, UNKNOWN, Under, left, seal_anew


@click.command("keygen", short_help="Make a new key.")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
def keygen(file: Path | None) -> None:
    """Print a new key, or write it into FILE above those that it has: the first key encrypts, all decrypt.

    A new FILE may be read by its owner alone. SWISPER_KEYS names it for the other commands.
    """
    if file is None:
        click.echo(new_key())
        return
    try:
        KeyFile(file).put_first(new_key())
        count = len(KeyFile(file).keys())
    except (StoreError, OSError) as error:
        raise click.ClickException(printable(str(error))) from None
    click.echo(f"{plural(count, 'key')} in {printable(str(file))}, the first is new", err=True)


@click.command("rotate", short_help="Seal everything under the first key.")
@store_option
@cache_option
@json_option
def rotate(store: str, cache: str | None, as_json: bool) -> None:
    """Put everything that is stored under the first key of SWISPER_KEYS, beside live turns.

    First give the keys, old and new, to every process that uses the store. One that was interrupted is run again and
    goes on. The exit code is 1 if anything is left under another key.
    """
    output = Output(as_json)
    perform(store, lambda opened: seal_all(opened, output), cache)


@click.command("encrypt", short_help="Seal a store that is not encrypted.")
@store_option
@cache_option
@click.option("--resume", is_flag=True, help="Go on where it was interrupted: all that stands in the clear is genuine.")
@json_option
def encrypt(store: str, cache: str | None, resume: bool, as_json: bool) -> None:
    """Seal everything that is stored under the first key of SWISPER_KEYS, also what was never sealed.

    Stop the processes that use the store without keys before: they cannot read what is sealed. What stands in the clear
    in a store that is sealed already may be forged, and sealing it would make it genuine: that takes --resume. The exit
    code is 1 if anything is left.
    """
    output = Output(as_json)
    perform(store, lambda opened: encrypt_all(opened, output, resume), cache)


async def encrypt_all(store: SessionStore, output: Output, resume: bool) -> bool:
    """Seal a store that is in the clear altogether, or `resume`; whether all is under the first key."""
    keyring, held = encrypted(store).keyring(), Counter[Under]()
    if not resume:
        for session_id in await session_ids(store, None):
            held += await left(encrypted(store).store, keyring, session_id)
    if held[PLAIN] and set(held) != {PLAIN}:
        what = f"{plural(held[PLAIN], 'part')} in the clear beside {held.total() - held[PLAIN]} that are sealed"
        raise click.ClickException(f"{what}: whoever wrote them had no key. --resume trusts them all")
    return await seal_all(store, output, plaintext=True)


def encrypted(store: SessionStore) -> EncryptedSessionStore:
    """The store, if keys were given."""
    if not isinstance(store, EncryptedSessionStore):
        raise click.UsageError("SWISPER_KEYS must name the keys, or a key file")
    return store


async def seal_all(store: SessionStore, output: Output, *, plaintext: bool = False) -> bool:
    """Seal every session anew and tell what is left under each key; whether all is under the first."""
    keyring, remaining, failed = encrypted(store).keyring(), Counter[Under](), list[str]()
    ids = await session_ids(store, None)
    with output.working("sessions", len(ids)) as advance:
        for session_id in ids:
            try:
                remaining += await seal_anew(encrypted(store).store, keyring, session_id, plaintext=plaintext)
            except ContextError as error:
                failed.append(f"session {session_id}: {error}")
            advance()
    show_left(output, len(ids), remaining, len(keyring), failed)
    return not failed and set(remaining) <= {0}


def show_left(output: Output, sessions: int, remaining: Counter[Under], keys: int, failed: list[str]) -> None:
    """How much is under which key now."""
    counts = {f"key {number + 1}": remaining[number] for number in range(keys)}
    counts |= {name: remaining[name] for name in (PLAIN, UNKNOWN) if remaining[name]}
    if output.as_json:
        output.object({"sessions": sessions, "left": counts, "failed": failed})
        return
    output.table(["under", "stored parts"], list(counts.items()))
    for problem in failed:
        output.line(f"failed: {problem}", "red")
    done = not failed and set(remaining) <= {0}
    verdict = "everything is under key 1" if done else "not everything is under key 1"
    output.line(f"{plural(sessions, 'session')}, {verdict}", "green" if done else "red")
