from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
import redis.asyncio
import redis.exceptions
from tests.servers.proxy import BlackHole, Cut, Delay, FaultProxy, Garbage, HoldReplies, Mode, Pass, Refuse

SHORT = 0.05
LONG = 10.0


class Client:
    """A connection to the echo server through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def echo(self, said: bytes) -> bytes:
        self.writer.write(said)
        await self.writer.drain()
        return await asyncio.wait_for(self.reader.readexactly(len(said)), LONG)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Echo:
    """A server that says what it hears, and keeps it."""

    def __init__(self) -> None:
        self.heard = b""
        self.connections: list[asyncio.Task[None] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(4_096):
                self.heard += chunk
                writer.write(chunk)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def disconnected(self) -> None:
        """Returns when nobody is connected any more."""
        async with asyncio.timeout(LONG):
            await asyncio.gather(*filter(None, self.connections))


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with FaultProxy(f"tcp://127.0.0.1:{port}") as proxy:
        yield proxy
    server.close()
    await echo.disconnected()


async def connected(proxy: FaultProxy) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", proxy.port))


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    client = await connected(proxy)
    yield client
    await client.close()


async def test_bytes_pass_and_are_counted(proxy: FaultProxy, client: Client) -> None:
    said = bytes(range(256)) * 4_000
    assert await client.echo(said) == said
    assert (proxy.requested, proxy.replied) == (len(said), len(said))
    assert (proxy.connections, proxy.open_connections) == (1, 1)


async def test_a_client_that_leaves_is_gone_at_the_server_too(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    await client.echo(b"hello")
    await client.close()
    await echo.disconnected()


async def test_refused(proxy: FaultProxy, client: Client) -> None:
    await client.echo(b"hello")
    await proxy.switch(Refuse())
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.echo(b"hello")
    with pytest.raises(ConnectionRefusedError):
        await connected(proxy)
    await proxy.switch(Pass())
    again = await connected(proxy)
    assert await again.echo(b"hello") == b"hello"
    await again.close()


@pytest.mark.parametrize(("mode", "heard"), [(BlackHole(), b""), (HoldReplies(), b"hello")])
async def test_held_until_the_mode_changes(
    proxy: FaultProxy, client: Client, echo: Echo, mode: Mode, heard: bytes
) -> None:
    await proxy.switch(mode)
    reply = asyncio.create_task(client.echo(b"hello"))
    await asyncio.sleep(SHORT)
    assert not reply.done()
    assert echo.heard == heard
    assert proxy.replied == 0
    await proxy.switch(Pass())
    assert await reply == b"hello"


async def test_a_black_hole_accepts(proxy: FaultProxy) -> None:
    await proxy.switch(BlackHole())
    client = await connected(proxy)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.echo(b"hello"), SHORT)
    await client.close()


async def test_a_reply_comes_later(proxy: FaultProxy, client: Client) -> None:
    await proxy.switch(Delay(SHORT))
    began = time.monotonic()
    assert await client.echo(b"hello") == b"hello"
    assert time.monotonic() - began >= SHORT


@pytest.mark.parametrize("after", [0, 3, 9])
async def test_cut_in_the_middle_of_a_reply(proxy: FaultProxy, client: Client, echo: Echo, after: int) -> None:
    await client.echo(b"before")
    await proxy.switch(Cut(after))
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await client.echo(b"0123456789")
    assert caught.value.partial == b"0123456789"[:after]
    assert echo.heard == b"before0123456789"


async def test_cut_exactly_behind_a_reply(proxy: FaultProxy, client: Client) -> None:
    await proxy.switch(Cut(10))
    assert await client.echo(b"0123456789") == b"0123456789"
    assert await asyncio.wait_for(client.reader.read(), LONG) == b""


async def test_garbage(proxy: FaultProxy, client: Client) -> None:
    await proxy.switch(Garbage())
    said = bytes(100)
    assert await client.echo(said) != said
    await proxy.switch(Pass())
    assert await client.echo(said) == said


async def test_a_server_that_is_not_there(proxy: FaultProxy) -> None:
    async with FaultProxy(f"tcp://127.0.0.1:{proxy.port}") as outer:
        await proxy.switch(Refuse())
        client = await connected(outer)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.echo(b"hello")
        await client.close()


REDIS_FAULTS = [
    (Refuse(), redis.exceptions.ConnectionError),
    (BlackHole(), redis.exceptions.TimeoutError),
    (HoldReplies(), redis.exceptions.TimeoutError),
    (Delay(1.0), redis.exceptions.TimeoutError),
    (Cut(100), redis.exceptions.ConnectionError),
    (Garbage(), redis.exceptions.RedisError),
]


@pytest.mark.servers
@pytest.mark.parametrize(("mode", "error"), REDIS_FAULTS)
async def test_redis_behind_it(redis_url: str, mode: Mode, error: type[Exception]) -> None:
    async with FaultProxy(redis_url) as proxy:
        client = redis.asyncio.Redis.from_url(proxy.url, socket_timeout=0.3, retry=None)
        async with client:
            await client.set("name", b"x" * 1_000)
            await proxy.switch(mode)
            with pytest.raises(error):
                await client.get("name")
            await proxy.switch(Pass())
            assert await client.get("name") == b"x" * 1_000


POSTGRES_FAULTS = [
    (Refuse(), (OSError, asyncpg.InterfaceError)),
    (BlackHole(), TimeoutError),
    (HoldReplies(), TimeoutError),
    (Delay(1.0), TimeoutError),
    (Cut(100), asyncpg.PostgresConnectionError),
    (Garbage(), (asyncpg.InternalClientError, asyncpg.PostgresError, TimeoutError, OSError)),
]


@pytest.mark.servers
@pytest.mark.parametrize(("mode", "error"), POSTGRES_FAULTS)
async def test_postgres_behind_it(postgres_url: str, mode: Mode, error: type[Exception]) -> None:
    async with FaultProxy(postgres_url) as proxy:
        connection = await asyncpg.connect(proxy.url, timeout=LONG)
        assert await connection.fetchval("SELECT current_schema()") != "public"
        await proxy.switch(mode)
        with pytest.raises(error):
            await connection.fetchval("SELECT repeat('x', 1000)", timeout=0.3)
        connection.terminate()
        await proxy.switch(Pass())
        again = await asyncpg.connect(proxy.url, timeout=LONG)
        assert await again.fetchval("SELECT repeat('x', 1000)") == "x" * 1_000
        await again.close()
