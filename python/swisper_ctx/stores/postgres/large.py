"""A large frame on its way to the server, in pieces between which the event loop goes on.

As one parameter of a statement it would be copied three times there before any of it is sent: 16 MiB take 25 ms. So it
goes by COPY, in the transaction that has moved the session: refused, nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from struct import pack

from swisper_ctx.log import Change
from swisper_ctx.stores.postgres.connection import LOCK_TIMEOUT, Connection
from swisper_ctx.stores.postgres.statements import MOVE_ONE, values_of

LARGE = 1024 * 1024
"""Of so many bytes a frame is in pieces."""
PIECE = 128 * 1024
PAUSE = 0.001
"""After each piece, in seconds, while groups are waiting: it takes as long to send one."""

COLUMNS = ("session_id", "version", "time", "token", "body")
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Of COPY's binary format: https://www.postgresql.org/docs/current/sql-copy.html."""


def is_large(change: Change) -> bool:
    """Whether it goes in pieces."""
    return change.expected is not None and len(change.frame) >= LARGE


def are_large(changes: Sequence[Change]) -> bool:
    """Whether this is a group of one that would keep a connection for long on which others go."""
    return len(changes) == 1 and is_large(changes[0])


async def append_large(
    connection: Connection, change: Change, now: int | None, is_busy: Callable[[], bool]
) -> int | None:
    """When it was written; None if it was refused. While others are busy, it leaves them more of the event loop."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
        time: int | None = await connection.fetchval(MOVE_ONE, *values_of(change), now)
        if time is not None:
            pieces = _row(change, time, is_busy)
            await connection.copy_to_table("context_frames", source=pieces, columns=COLUMNS, format="binary")
    return time


async def _row(change: Change, time: int, is_busy: Callable[[], bool]) -> AsyncIterator[bytes]:
    frame, (version, token) = change.frame, change.etag
    fields = change.session_id.encode(), pack("!i", version), pack("!q", time), token
    yield HEADER + pack("!h", len(COLUMNS)) + b"".join(pack("!i", len(field)) + field for field in fields)
    yield pack("!i", len(frame))
    for start in range(0, len(frame), PIECE):
        # The driver writes on for as long as the socket takes it, which on one machine is nearly all.
        await asyncio.sleep(PAUSE if is_busy() else 0)
        yield frame[start : start + PIECE]
    yield pack("!h", -1)
