"""What a hand-written session layer usually calls runs as it is written."""

from __future__ import annotations

import pytest

from swisper_ctx import (
    Message,
    PerformanceCache,
    PipelineSessionManager,
    SessionCache,
    SwisperContext,
    serialize_context,
)
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore


@pytest.fixture
def session_store() -> SessionStore:
    return MemorySessionStore()


async def test_as_written(session_store: SessionStore) -> None:
    m = PipelineSessionManager(session_store)
    ctx = SwisperContext(user_id="u-17", session_id="s-1")
    msg = Message(role="user", content="A quiet fridge")
    ctx.conversation_history.append(msg)
    await session_store.save_session(ctx)
    sid = ctx.session_id

    name = "product_search"
    await m.save_pipeline_execution(sid, name, {"status": "completed", "result": {"found": 3}, "duration_ms": 12.5})
    loaded = await m.load_session_context(sid)
    assert loaded is not None
    assert loaded.pipeline_executions[0].result == {"found": 3}
    assert loaded.pipeline_executions[0].pipeline_name == "product_search"

    assert serialize_context(ctx)["conversation_history"][0]["role"] == "user"
    assert serialize_context(loaded)["conversation_history"][0]["role"] == "user"
    assert msg.to_dict()["content"] == "A quiet fridge"
    assert loaded.conversation_history[0].to_dict() == msg.to_dict()

    assert await m.load_session_context("no such session") is None
    assert await m.cleanup_expired_sessions() == 0


async def test_a_cache_as_written() -> None:
    cache = SessionCache()
    m = PipelineSessionManager(cache)
    sid = (await m.create_session(user_id="u-17")).session_id
    context = await cache.get_session(sid)
    assert context is not None
    assert context.user_id == "u-17"
    assert await cache.get_session("no such session") is None


async def test_a_performance_cache_needs_no_arguments(session_store: SessionStore) -> None:
    cache = PerformanceCache()
    m = PipelineSessionManager(session_store, performance=cache)
    ctx = await m.create_session(user_id="u-17")
    async with m.pipeline(ctx, "product_search") as run:
        run.result = {"found": 3}
    assert cache.stats()["product_search"].runs == 1
