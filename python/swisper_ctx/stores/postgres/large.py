"""A large frame on its way to the server, in pieces between which the event loop goes on.

As one parameter of a statement it would be copied three times there before any of it is sent: 16 MiB take 25 ms. So it
goes by COPY, in the transaction that has moved the session: refused, nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from struct import pack
from typing import Any

import asyncpg

from swisper_ctx.log import Change
from swisper_ctx.stores.postgres.connection import LOCK_TIMEOUT, Connection, Connections, terminate
from swisper_ctx.stores.postgres.errors import DRIVER_ERRORS
from swisper_ctx.stores.postgres.statements import MOVE_ONE, values_of

LARGE = 1024 * 1024
"""Of so many bytes a frame is in pieces."""
PIECE = 128 * 1024
PAUSE = 0.001
"""After each piece, in seconds, while groups are waiting: it takes as long to send one."""

LIMITS = f"""
    SET LOCAL lock_timeout = {LOCK_TIMEOUT};
    SET LOCAL tcp_keepalives_idle = 10; SET LOCAL tcp_keepalives_interval = 5; SET LOCAL tcp_keepalives_count = 3
"""
"""A server that waits for the next piece holds the session's row, and only its network tells that none will come."""

COLUMNS = ("session_id", "version", "time", "token", "body")
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Of COPY's binary format: https://www.postgresql.org/docs/current/sql-copy.html."""


def is_large(change: Change) -> bool:
    """Whether it goes in pieces."""
    is_plain = change.expected is not None and change.change_id is None and change.projection is None
    return is_plain and len(change.frame) >= LARGE


def are_large(changes: Sequence[Change]) -> bool:
    """Whether this is a group of one that would keep a connection for long on which others go."""
    return len(changes) == 1 and is_large(changes[0])


async def append_large(connections: Connections, connection: Connection, change: Change, now: int | None) -> int | None:
    """When it was written; None if it was refused. While groups wait, it leaves them more of the event loop."""
    transaction = connection.transaction(isolation="read_committed")
    await transaction.start()
    try:
        await connection.execute(LIMITS)
        time: int | None = await connection.fetchval(MOVE_ONE, *values_of(change), now)
        if time is not None:
            await _copy(connections, connection, change, time)
    except BaseException:
        # Of a connection that is lost, the first error tells more than that nothing can be rolled back there.
        with suppress(*DRIVER_ERRORS):
            await transaction.rollback()
        raise
    await transaction.commit()
    return time


async def _copy(connections: Connections, connection: Connection, change: Change, time: int) -> None:
    """The driver waits for room in its socket without end, even when the connection is gone: so somebody looks."""
    pieces, seconds = _row(change, time, connections.are_writers_busy), connections.seconds_for(len(change.frame))
    copying: asyncio.Future[Any] = asyncio.ensure_future(
        connection.copy_to_table("context_frames", source=pieces, columns=COLUMNS, format="binary", timeout=seconds)
    )
    copying.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # of one that was given up, too
    lost = asyncio.get_running_loop().create_future()

    def tell(_: Connection) -> None:
        if not lost.done():
            lost.set_result(None)

    connection.add_termination_listener(tell)
    try:
        await asyncio.wait([copying, lost], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if copying.done():
            copying.result()
        elif lost.done():
            raise asyncpg.ConnectionDoesNotExistError("it was lost between the pieces of a frame")
        else:
            raise TimeoutError
    finally:
        connection.remove_termination_listener(tell)
        if not copying.done():
            terminate(connection)
            copying.cancel()


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
