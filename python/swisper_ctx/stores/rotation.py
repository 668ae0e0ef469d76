"""Sealing anew what a store keeps: under the first key of a keyring, or for the first time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

from swisper_ctx.errors import DecryptionError
from swisper_ctx.keys import Keyring
from swisper_ctx.log import StoredBody
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.encrypted import MAGIC

BATCH = 32 * 1024
"""So many bytes are replaced at once: turns wait as long as that takes."""
PAUSE = 0.05
"""In seconds, after each batch while others write into the store."""
ATTEMPTS = 5

PLAIN, UNKNOWN = "plaintext", "no key"
"""What a body may be under, other than the number of a key."""

Under = int | str


def under(keyring: Keyring, body: bytes) -> Under:
    """Which key a body is sealed under, from 0; PLAIN or UNKNOWN."""
    if body[:4] == MAGIC:
        return PLAIN
    number = keyring.number(body)
    return UNKNOWN if number is None else number


async def left(store: SessionStore, keyring: Keyring, session_id: str) -> Counter[Under]:
    """How many bodies of a session are under which key."""
    return Counter(under(keyring, stored.body) for stored in await store.bodies(session_id))


async def seal_anew(
    store: SessionStore, keyring: Keyring, session_id: str, *, plaintext: bool = False
) -> Counter[Under]:
    """Put every body of a session under the first key; with `plaintext`, also what was never sealed.

    How many were replaced, and what is left under which key. A body that others replace or purge meanwhile is left to
    the next attempt; what has been done stays done. Raises StoreError as the store does.
    """
    for _ in range(ATTEMPTS):
        bodies = [(stored, under(keyring, stored.body)) for stored in await store.bodies(session_id)]
        due = [stored for stored, found in bodies if (plaintext if found == PLAIN else found not in (0, UNKNOWN))]
        if not due:
            return Counter(found for _, found in bodies)
        for batch in batches(due):
            await store.replace(session_id, [(stored, sealed_anew(keyring, stored.body)) for stored in batch])
            await asyncio.sleep(PAUSE if await store.has_other_writers() else 0)
    return await left(store, keyring, session_id)


def sealed_anew(keyring: Keyring, token: bytes) -> bytes:
    """The same content under the first key."""
    body = token if token[:4] == MAGIC else keyring.open(token)
    if body is None:
        raise DecryptionError("no key opens it", keys=len(keyring))
    return keyring.seal(body)


def batches(bodies: Sequence[StoredBody]) -> Iterator[list[StoredBody]]:
    """Some at a time, of BATCH bytes or a single one."""
    batch, size = list[StoredBody](), 0
    for stored in bodies:
        if batch and size + len(stored.body) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(stored)
        size += len(stored.body)
    if batch:
        yield batch
