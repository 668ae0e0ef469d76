"""Records that are appended to sessions nobody has loaded."""

from __future__ import annotations

from typing import cast

import pytest

from swisper_ctx._core import Message, PipelineExecution, RecordList
from swisper_ctx.context import SwisperContext, serialize_context
from swisper_ctx.errors import StoreError
from swisper_ctx.fields import field
from swisper_ctx.stores.base import SessionStore


class Agent(SwisperContext):
    """With a list that sessions of before do not have."""

    tool_runs: RecordList[PipelineExecution] = field(default_factory=lambda: RecordList(PipelineExecution))


class AppendContract:
    """Records that are appended to sessions nobody has loaded."""

    async def test_a_record_is_the_first_of_a_list_that_the_session_does_not_have(self, store: SessionStore) -> None:
        await store.save_session(SwisperContext(session_id="s", user_id="u", product_query="q"))
        for name in ("first", "second"):
            await store.append_record("s", "tool_runs", PipelineExecution(name), context_class=Agent)
            await store.append_record("s", "pipeline_executions", PipelineExecution(name), context_class=Agent)
        agent = await store.load_session("s", context_class=Agent)
        assert agent is not None
        for runs in (agent.tool_runs, agent.pipeline_executions):
            assert [run.pipeline_name for run in runs] == ["first", "second"]
        assert agent.product_query == "q"
        agent.tool_runs.append(PipelineExecution("third"))
        await store.save_session(agent)

    @pytest.mark.parametrize("name", ["tool_runs", "metadata", "hard_constraints", "no/such", "session_id"])
    async def test_a_field_that_is_no_list_of_records_takes_none(self, store: SessionStore, name: str) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        await store.save_session(context)
        with pytest.raises(StoreError, match=f"{name} is no list of records of SwisperContext"):
            await store.append_record("s", name, PipelineExecution("p"))
        loaded = await store.load_session("s")
        assert loaded is not None
        assert serialize_context(loaded) == serialize_context(context)

    async def test_a_list_takes_no_record_of_another_class(self, store: SessionStore) -> None:
        context = SwisperContext(session_id="s", user_id="u")
        await store.save_session(context)
        with pytest.raises(TypeError):
            await store.append_record("s", "conversation_history", PipelineExecution("p"))
        with pytest.raises(TypeError):
            await store.append_record("s", "pipeline_executions", cast(PipelineExecution, Message("user", "hi")))
        loaded = await store.load_session("s")
        assert loaded is not None
        assert serialize_context(loaded) == serialize_context(context)
