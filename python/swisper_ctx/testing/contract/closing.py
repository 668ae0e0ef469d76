"""What is left of a store that was closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from swisper_ctx._core import PipelineExecution
from swisper_ctx.context import SwisperContext
from swisper_ctx.errors import StoreError
from swisper_ctx.log import Checkpoint
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import creation, grow, new_head


class ClosingContract:
    """What is left of a store that was closed."""

    async def test_a_closed_store_does_nothing_more(self, store: SessionStore) -> None:
        await grow(store, "s", 2)
        await store.aclose()
        await store.aclose()
        for operation in (
            store.etags(["s"]),
            store.read("s"),
            store.read_version("s", 1),
            store.blocks("s", [bytes(16)]),
            store.frames("s"),
            store.commit([creation("t")]),
            store.checkpoint(Checkpoint("s", bytes(16), new_head(), (), ())),
            store.delete(["s"]),
            store.sessions(),
            store.bodies("s"),
            store.replace("s", []),
        ):
            with pytest.raises(StoreError, match="closed"):
                await operation

    @pytest.mark.parametrize("writers", [1, 2, 8])
    async def test_closing_ends_while_others_go_on_saving(self, store: SessionStore, writers: int) -> None:
        """Two write to each session, so that merges are under way: what was acknowledged is there, and nothing else."""
        last: dict[str, dict[str, Any]] = {}
        stored: dict[str, dict[str, Any]] = {}
        close = store._close

        async def look_and_close() -> None:
            store._close = close  # type: ignore[method-assign]
            for session_id in last:
                stored[session_id] = dict((await loaded(store, session_id)).soft_preferences)
            await close()

        store._close = look_and_close  # type: ignore[method-assign]
        for number in range(0, writers, 2):
            await store.save_session(SwisperContext(session_id=f"s{number // 2}", user_id="u"))
            last[f"s{number // 2}"] = {}
        tasks = [asyncio.create_task(save_for_ever(store, last, number)) for number in range(writers)]
        try:
            await asyncio.sleep(0.1)
            await asyncio.wait_for(store.aclose(), 10)
            done, pending = await asyncio.wait(tasks, timeout=10)
        finally:
            for task in tasks:
                task.cancel()
        assert not pending
        assert {repr(task.exception()) for task in done} == {"StoreError('this store is closed')"}
        assert stored == last

    async def test_a_closed_store_leaves_the_edits_in_the_context(self, store: SessionStore) -> None:
        context = SwisperContext(user_id="u")
        await store.save_session(context)
        await store.aclose()
        context.soft_preferences["n"] = 1
        record = PipelineExecution("search")
        for operation in (
            store.save_session(context),
            store.save_session(SwisperContext(user_id="u")),
            store.save_record(context, "pipeline_executions", record),
            store.append_record(context.session_id, "pipeline_executions", record),
            store.refresh(context),
        ):
            with pytest.raises(StoreError, match="closed"):
                await operation
        assert context.soft_preferences == {"n": 1}
        assert not context._position.saves
        assert not context.pipeline_executions


async def loaded(store: SessionStore, session_id: str) -> SwisperContext:
    """A session that must be there."""
    context = await store.load_session(session_id, strict=True)
    assert context is not None
    return context


async def save_for_ever(store: SessionStore, last: dict[str, dict[str, Any]], number: int) -> None:
    """Save turn after turn; `last` says what was acknowledged of each session."""
    session_id, turn = f"s{number // 2}", 0
    context = await loaded(store, session_id)
    while True:
        turn += 1
        context.soft_preferences[str(number)] = turn
        await store.save_session(context)
        last[session_id][str(number)] = turn
