"""Connections to one Redis, and what is sent over them: each call bounded in time and never tried again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hiredis import pack_command
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ClusterCrossSlotError, MovedError, NoScriptError, RedisError, ResponseError

from swisper_ctx.stores.redis.patience import Patience
from swisper_ctx.stores.redis.scripts import Script

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

CONNECTIONS = 8
"""At most so many are open; who finds all in use waits, within the time of the call."""

Value = bytes | str | int
Values = Sequence[Value]
Command = tuple[Value, ...]


class BusyError(Exception):
    """All connections were in use for as long as a call may take: it says nothing of Redis."""


class ClusterFoundError(Exception):
    """What was taken for a Redis is a node of a cluster: see `cluster.py`."""


class WrongKeyError(Exception):
    """Under this key is something that was not put there by us."""


class Link:
    """The connections of one event loop of one process."""

    def __init__(self, url: str, seconds: float) -> None:
        self.loop, self.process = asyncio.get_running_loop(), os.getpid()
        self._url, self._seconds = url, seconds
        # RESP2 has no messages that nobody asked for. The pool is here for what it makes of the URL.
        self._pool: Any = ConnectionPool.from_url(url, protocol=2, socket_timeout=None, socket_connect_timeout=seconds)
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[AbstractConnection] = []

    @property
    def is_here(self) -> bool:
        """Whether it belongs to the running event loop, and to this process."""
        return self.process == os.getpid() and self.loop is asyncio.get_running_loop()

    async def call(self, *commands: Command) -> list[Any]:
        """The answers to some commands that are sent together; an answer may be a ResponseError.

        Raises TimeoutError, BusyError, WrongKeyError, ClusterFoundError, and what the driver raises.
        """
        await self._take()
        try:
            async with Patience(self._seconds):
                return await self._converse(commands)
        finally:
            self._free.release()

    async def run(self, script: Script, common: Values, entries: Sequence[tuple[bytes, Values]]) -> Any:
        """The answer of a script to some keys, each with its values; it is sent in full where it is not known."""
        keys = [key for key, _ in entries]
        values = [*common, *(value for _, values in entries for value in values)]
        (answer,) = await self.call(("EVALSHA", script.sha, len(keys), *keys, *values))
        if isinstance(answer, NoScriptError):
            (answer,) = await self.call(("EVAL", script.text, len(keys), *keys, *values))
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def hang_up(self, nowait: bool = True) -> None:
        """Close the connections that are not in use, and wait for that or not."""
        while self._idle:
            with suppress(RedisError):
                await self._idle.pop().disconnect(nowait=nowait)

    async def _take(self) -> None:
        """A connection may be used after this, and must be released."""
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with Patience(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise BusyError from None

    async def _converse(self, commands: Sequence[Command]) -> list[Any]:
        connection = await self._connection()
        try:
            # As the driver packs them, in C: a group of 64 takes 20 us and not 150.
            packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]
            await connection.send_packed_command(packed, check_health=False)
            answers = [await _answer(connection) for _ in commands]
        except BaseException:
            # Its next answer would be that to this call.
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return answers

    async def _connection(self) -> AbstractConnection:
        while self._idle:
            connection = self._idle.pop()
            if not is_cut(connection):
                return connection
            await connection.disconnect(nowait=True)
        made: AbstractConnection = self._pool.make_connection()
        return made


def is_cut(connection: AbstractConnection) -> bool:
    """Whether the other side has closed it, as servers and proxies do with idle ones."""
    reader = connection._reader
    return reader is None or reader.at_eof()


async def every(link: Link, *commands: Command) -> list[Any]:
    """The answers to some commands. Raises the first of them that is an error."""
    answers = await link.call(*commands)
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


async def first(link: Link, *command: Value) -> Any:
    """The answer to one command. Raises it if it is an error."""
    (answer,) = await every(link, command)
    return answer


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return told(error)


def told(error: ResponseError) -> ResponseError:
    """An answer that is an error. Raises it if it is one of those that say nothing of Redis."""
    if str(error).startswith("WRONGTYPE"):
        raise WrongKeyError from None
    # Before redis-py 6 only connections of a cluster know these by their classes.
    if isinstance(error, MovedError | ClusterCrossSlotError) or str(error).startswith(("MOVED ", "CROSSSLOT ")):
        raise ClusterFoundError from None
    return error
