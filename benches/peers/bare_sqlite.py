"""The least that durable turns in groups need: rows made in advance, one queue, one thread, plain statements."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from swisper_ctx.stores.sqlite.connection import connect

MOVE = """
    UPDATE sessions SET version = ?, token = ?, messages = ?, updated_at = ?
    WHERE session_id = ? AND version = ? AND token = ?
"""
ADD = """
    INSERT INTO frames (session, version, token, change_id, time, body)
    VALUES ((SELECT key FROM sessions WHERE session_id = ?), ?, ?, NULL, ?, ?)
"""
SESSIONS = "SELECT session_id, version, token, messages FROM sessions ORDER BY session_id"
LAST_FRAME = "SELECT body FROM frames ORDER BY id DESC LIMIT 1"


class BareSession:
    """What the next turn of a session is made of."""

    def __init__(self, session_id: str, version: int, token: bytes, messages: int, frame: bytes) -> None:
        self.session_id, self.version, self.token, self.messages = session_id, version, token, messages
        self.frame = frame
        """The bytes of every turn."""

    def next(self, now: int) -> tuple[tuple[object, ...], tuple[object, ...]]:
        """The values of both statements."""
        before = self.session_id, self.version, self.token
        self.version, self.messages = self.version + 1, self.messages + 2
        self.token = self.version.to_bytes(16, "little")
        move = self.version, self.token, self.messages, now, *before
        return move, (self.session_id, self.version, self.token, now, self.frame)


def sessions_of(path: Path) -> list[BareSession]:
    """The sessions in a file; every turn of theirs will have the bytes of the last one there."""
    with closing(sqlite3.connect(path)) as connection:
        (frame,) = connection.execute(LAST_FRAME).fetchone()
        rows = connection.execute(SESSIONS).fetchall()
    return [BareSession(id_, version, token, messages, frame) for id_, version, token, messages in rows]


Waiting = tuple[BareSession, asyncio.Future[None]]


class BareWriter:
    """Forms groups as the committer of the stores does: what arrives while one is written is the next."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Waiting] = []
        self._in_flight = False
        self._groups: SimpleQueue[list[Waiting] | None] = SimpleQueue()
        self._thread = Thread(target=self._serve, args=(path,))
        self._thread.start()

    async def write(self, session: BareSession) -> None:
        future = self._loop.create_future()
        self._waiting.append((session, future))
        if not self._in_flight:
            self._in_flight = True
            self._loop.call_soon(self._send)
        await future

    async def close(self) -> None:
        self._groups.put(None)
        self._thread.join()

    def _send(self) -> None:
        group, self._waiting = self._waiting, []
        self._in_flight = bool(group)
        if group:
            self._groups.put(group)

    def _serve(self, path: Path) -> None:
        connection = connect(str(path), time.monotonic() + 5)
        while (group := self._groups.get()) is not None:
            error = None
            try:
                write_group(connection, [session for session, _ in group])
            except Exception as problem:  # noqa: BLE001 - the caller's
                error = problem
            self._loop.call_soon_threadsafe(partial(self._settle, group, error))
        connection.close()

    def _settle(self, group: Sequence[Waiting], error: Exception | None) -> None:
        for _, future in group:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        self._send()


def write_group(connection: sqlite3.Connection, sessions: Sequence[BareSession]) -> None:
    now = time.time_ns() // 1000
    rows = [session.next(now) for session in sessions]
    connection.execute("BEGIN IMMEDIATE")
    moved = connection.executemany(MOVE, [move for move, _ in rows]).rowcount
    assert moved == len(sessions)
    connection.executemany(ADD, [frame for _, frame in rows])
    connection.execute("COMMIT")
