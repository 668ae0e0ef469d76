"""A FastAPI service with a client of its own, over a real connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from tests.fastapi_app import ShopContext, create_app

from swisper_ctx import Message, PipelineSessionManager, serialize_context

Sessions = PipelineSessionManager[ShopContext]


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[Sessions]:
    async with PipelineSessionManager.open(f"sqlite:///{tmp_path}/s.db", ShopContext) as opened:
        yield opened


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[tuple[str, int]]:
    """The service on a port of the loopback interface."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=10))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def client(sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served(create_app(sessions)) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=30, trust_env=False) as opened,
    ):
        yield opened


async def created(client: httpx.AsyncClient) -> str:
    answer = await client.post("/sessions", params={"user_id": "u"})
    assert answer.status_code == 200
    return str(answer.json()["session_id"])


async def partial(sessions: Sessions, session_id: str) -> Message:
    """The last message, when it has come."""
    for _ in range(1000):
        context = await sessions.load_session_context(session_id)
        assert context is not None
        if context.conversation_history:
            return context.conversation_history[-1]
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was saved")


async def test_a_conversation_over_http(client: httpx.AsyncClient, sessions: Sessions) -> None:
    session_id = await created(client)
    answer = await client.post(
        f"/sessions/{session_id}/messages",
        json={"role": "user", "content": "Zürich 🧊", "own": 10**22, "timestamp": "2026-01-02T03:04:05+01:00"},
    )
    said = answer.json()
    assert (answer.status_code, said["content"], said["own"]) == (200, "Zürich 🧊", 10**22)
    assert said["timestamp"] == "2026-01-02T02:04:05Z"
    answer = await client.post(f"/sessions/{session_id}/answer")
    assert answer.text == "word word word "
    context = await sessions.load_session_context(session_id)
    assert context is not None
    assert context.chat() == [
        {"role": "user", "content": "Zürich 🧊"},
        {"role": "assistant", "content": "word word word "},
    ]
    assert context.conversation_history[1].metadata is None
    assert (await client.get(f"/sessions/{session_id}/messages")).json() == context.conversation_history.to_dicts()
    assert (await client.get(f"/sessions/{session_id}")).json() == serialize_context(context)


async def test_lists_and_contexts_are_taken_from_the_body(client: httpx.AsyncClient, sessions: Sessions) -> None:
    session_id = await created(client)
    answer = await client.post(f"/sessions/{session_id}/batch", json=[{"role": "user"}, {"role": "assistant"}])
    assert answer.json() == 2
    document = {**(await client.get(f"/sessions/{session_id}")).json(), "session_id": "copy", "cart": ["milk"], "x": 1}
    answer = await client.post("/import", json=document)
    assert answer.status_code == 200
    copy = await sessions.load_session_context("copy")
    assert copy is not None
    assert (copy.cart, len(copy.conversation_history), serialize_context(copy)["x"]) == (["milk"], 2, 1)


async def test_what_does_not_fit_is_answered_with_422(client: httpx.AsyncClient) -> None:
    session_id = await created(client)
    for path, body, place in [
        ("messages", {"content": "hi"}, ["body", "role"]),
        ("messages", {"role": 1}, ["body", "role"]),
        ("messages", {"role": "user", "timestamp": "2026-01-02T03:04:05"}, ["body", "timestamp"]),
        ("batch", [{"role": "user"}, {"role": "user", "tool_calls": {}}], ["body", 1, "tool_calls"]),
    ]:
        answer = await client.post(f"/sessions/{session_id}/{path}", json=body)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, place)
    answer = await client.post("/import", json={"cart": [1]})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "cart", 0])
    answer = await client.post("/import", json={"data_retention_policy": "7y"})
    assert (answer.status_code, "data_retention_policy" in answer.json()["detail"][0]["msg"]) == (422, True)


async def test_the_openapi_document_shows_the_fields(client: httpx.AsyncClient) -> None:
    schemas: dict[str, Any] = (await client.get("/openapi.json")).json()["components"]["schemas"]
    message, context = schemas["Message"], schemas["ShopContext"]
    assert message["required"] == ["role"]
    assert message["properties"]["role"]["type"] == "string"
    assert context["properties"]["conversation_history"]["items"] == {"$ref": "#/components/schemas/Message"}
    assert context["properties"]["cart"]["items"] == {"type": "string"}


async def test_a_client_that_leaves_in_mid_stream_loses_nothing_that_came(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    session_id = await created(client)
    async with client.stream("POST", f"/sessions/{session_id}/answer", params={"words": 1_000_000}) as answer:
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            if len(text) >= 50:
                break
    message = await partial(sessions, session_id)
    assert message.metadata == {"partial": True}
    assert isinstance(message.content, str)
    assert message.content.startswith(text)
    assert set(message.content.split()) == {"word"}


async def test_nor_does_one_that_stops_reading_before_it_leaves(sessions: Sessions) -> None:
    """The server waits to send, outside of the generator: the event loop is what closes that."""
    async with served(create_app(sessions, piece="x" * 100_000)) as (host, port):
        base = f"http://{host}:{port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            session_id = await created(client)
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        request = f"POST /sessions/{session_id}/answer?words=1000000 HTTP/1.1\r\nHost: {host}\r\n\r\n"
        writer.write(request.encode())
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.5)  # until the buffers between the two are full
        writer.transport.abort()
        message = await partial(sessions, session_id)
    assert message.metadata == {"partial": True}
    assert isinstance(message.content, str)
    assert len(message.content) >= 100_000
