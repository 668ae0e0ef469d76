"""A TCP proxy that does to a connection what networks do: `await proxy.switch(Delay(0.2))`."""

from __future__ import annotations

import asyncio
import contextlib
import random
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.servers.process import free_port

CHUNK = 65_536


@dataclass(frozen=True)
class Pass:
    """Everything is passed on."""


@dataclass(frozen=True)
class Refuse:
    """Nobody listens on the port, and what was connected is reset."""


@dataclass(frozen=True)
class BlackHole:
    """Connections are accepted and nothing is passed on. What was held is, with the next mode."""


@dataclass(frozen=True)
class HoldReplies:
    """Requests reach the server; what it says is held until the next mode."""


@dataclass(frozen=True)
class Delay:
    """Each chunk of a reply comes so much later."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """A connection is closed once it has replied so many bytes; at 0, when the server has answered the first time."""

    after: int


@dataclass(frozen=True)
class Garbage:
    """Replies are random bytes of the same length."""

    seed: int = 0


Mode = Pass | Refuse | BlackHole | HoldReplies | Delay | Cut | Garbage


class FaultProxy:
    """Stands before the server of a URL, at `proxy.url`; the mode applies to connections that are open too.

    Attributes:
        connections: how many were accepted.
        requested: bytes passed on to the server.
        replied: bytes passed on from the server, or put in their place.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None, "the URL of a server has its host"
        assert parts.port is not None, "the URL of a server has its port"
        self._server = (parts.hostname, parts.port)
        self.port = free_port()
        user = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self.port}" if user else self.address))
        self.mode: Mode = Pass()
        self.connections = self.requested = self.replied = 0
        self._switched = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._links)

    async def switch(self, mode: Mode) -> None:
        """From now on, for open connections as for new ones."""
        self.mode = mode
        for link in self._links.values():
            link.replied = 0
        self._switched.set()
        self._switched = asyncio.Event()
        if isinstance(mode, Refuse):
            self._stop_listening()
            await self.drop()
        elif self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def drop(self) -> None:
        """Resets the connections that are open; new ones are accepted as the mode says."""
        for task, link in self._links.items():
            link.reset()
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        link = _Link(self, writer)
        if isinstance(self.mode, Refuse):  # it was accepted before, and begins only now
            link.reset()
            return
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._links[task] = link
        try:
            await link.run(reader, self._server)
        except asyncio.CancelledError:
            pass  # the end of a task that belongs to nobody but this proxy
        finally:
            del self._links[task]

    async def passing(self, *holding: type[Mode]) -> Mode:
        """The mode, once it is none of these."""
        while isinstance(self.mode, holding):
            await self._switched.wait()
        return self.mode

    async def __aenter__(self) -> Self:
        await self.switch(self.mode)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.switch(Refuse())


class _Link:
    """One connection and its counterpart at the server."""

    def __init__(self, proxy: FaultProxy, client: StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server: StreamWriter | None = None
        self.replied = 0

    async def run(self, requests: StreamReader, server: tuple[str, int]) -> None:
        try:
            replies, self._server = await asyncio.open_connection(*server)
            pumps = [
                asyncio.ensure_future(self._pass_requests(requests, self._server)),
                asyncio.ensure_future(self._pass_replies(replies)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            self.reset()
        finally:
            await self._close()

    async def _pass_requests(self, requests: StreamReader, server: StreamWriter) -> None:
        while chunk := await requests.read(CHUNK):
            await self._proxy.passing(BlackHole)
            self._proxy.requested += len(chunk)
            server.write(chunk)
            await server.drain()

    async def _pass_replies(self, replies: StreamReader) -> None:
        while chunk := await replies.read(CHUNK):
            mode = await self._proxy.passing(BlackHole, HoldReplies)
            match mode:
                case Delay(seconds):
                    await asyncio.sleep(seconds)
                case Cut(after):
                    chunk = chunk[: max(0, after - self.replied)]
                case Garbage(seed):
                    chunk = random.Random(f"{seed} {self.replied}").randbytes(len(chunk))
            self.replied += len(chunk)
            self._proxy.replied += len(chunk)
            self._client.write(chunk)
            await self._client.drain()
            if isinstance(mode, Cut) and self.replied >= mode.after:
                return

    def reset(self) -> None:
        for writer in self._writers():
            writer.transport.abort()

    async def _close(self) -> None:
        for writer in self._writers():
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _writers(self) -> list[StreamWriter]:
        return [self._client] if self._server is None else [self._client, self._server]
