"""A service as an application writes it: sessions over HTTP, answers streamed, what came saved whoever goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from swisper_ctx import Message, PipelineSessionManager, RecordList, SwisperContext, field


class ShopContext(SwisperContext):
    cart: list[str] = field(default_factory=list)


def create_app(sessions: PipelineSessionManager[ShopContext], *, piece: str = "word ") -> FastAPI:
    """The service over one store; its model says `piece` without end."""
    app = FastAPI()

    async def loaded(session_id: str) -> ShopContext:
        context = await sessions.load_session_context(session_id)
        if context is None:
            raise HTTPException(404)
        return context

    @app.post("/sessions")
    async def create(user_id: str) -> ShopContext:
        return await sessions.create_session(user_id=user_id)

    @app.post("/import")
    async def take_over(context: Annotated[ShopContext, Body()]) -> ShopContext:
        await sessions.save(context)
        return context

    @app.get("/sessions/{session_id}")
    async def show(session_id: str) -> ShopContext:
        return await loaded(session_id)

    @app.get("/sessions/{session_id}/messages")
    async def messages(session_id: str) -> RecordList[Message]:
        return (await loaded(session_id)).conversation_history

    @app.post("/sessions/{session_id}/messages")
    async def say(session_id: str, message: Annotated[Message, Body()]) -> Message:
        async with sessions.session(session_id) as context:
            context.conversation_history.append(message)
        return message

    @app.post("/sessions/{session_id}/batch")
    async def say_all(session_id: str, new: RecordList[Message]) -> int:
        async with sessions.session(session_id) as context:
            context.conversation_history.extend(new)
            return len(context.conversation_history)

    @app.post("/sessions/{session_id}/answer")
    async def answer(session_id: str, words: int = 3) -> StreamingResponse:
        context = await loaded(session_id)
        return StreamingResponse(stream(context, words), media_type="text/plain")

    async def stream(context: ShopContext, words: int) -> AsyncGenerator[str]:
        try:
            with context.draft("assistant") as draft:
                for _ in range(words):
                    draft.write(piece)
                    yield piece
                    await asyncio.sleep(0.001)
        finally:
            # Handed over before its first await: a client that has gone away cannot stop it.
            await sessions.save(context)

    return app
