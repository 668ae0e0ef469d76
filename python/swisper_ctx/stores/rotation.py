"""Sealing anew what a store keeps: under the first key of a keyring, or for the first time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence

from swisper_ctx.errors import DecryptionError
from swisper_ctx.keys import Keyring
from swisper_ctx.log import StoredBody
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.encrypted import MAGIC

BATCH = 32 * 1024
"""So many bytes are replaced at once: turns wait as long as that takes."""
PAUSE = 0.02
"""In seconds, after each batch while others use the store."""
ATTEMPTS = 5

PLAIN, UNKNOWN = "plaintext", "no key"
"""What a body may be under, other than the number of a key."""

Under = int | str


class Pace:
    """As fast as the store goes while nobody else writes into it; else a pause after each batch.

    A batch that took much longer than the fastest one had to wait for somebody. The disk alone delays one now and
    then, so two of the last 16 are needed.
    """

    def __init__(self) -> None:
        self._fastest = float("inf")
        self._waited: deque[bool] = deque(maxlen=16)

    def pause(self, seconds: float) -> float:
        """How long to pause after a batch that took so long."""
        self._fastest = min(self._fastest, seconds)
        self._waited.append(seconds > 2 * self._fastest + 0.0005)
        return PAUSE if sum(self._waited) > 1 else 0


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
    store: SessionStore, keyring: Keyring, session_id: str, *, plaintext: bool = False, pace: Pace | None = None
) -> Counter[Under]:
    """Put every body of a session under the first key; with `plaintext`, also what was never sealed.

    How many were replaced, and what is left under which key. A body that others replace or purge meanwhile is left to
    the next attempt; what has been done stays done. `pace` is for all sessions of one store. Raises StoreError as the
    store does.
    """
    pace = pace or Pace()
    for _ in range(ATTEMPTS):
        bodies = [(stored, under(keyring, stored.body)) for stored in await store.bodies(session_id)]
        due = [stored for stored, found in bodies if (plaintext if found == PLAIN else found not in (0, UNKNOWN))]
        if not due:
            return Counter(found for _, found in bodies)
        for batch in batches(due):
            start = time.perf_counter()
            await store.replace(session_id, [(stored, sealed_anew(keyring, stored.body)) for stored in batch])
            await asyncio.sleep(pace.pause(time.perf_counter() - start))
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
