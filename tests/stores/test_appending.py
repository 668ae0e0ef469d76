"""Records that are appended to a session while others go on saving it."""

from __future__ import annotations

import time

from swisper_ctx import PipelineExecution, SwisperContext
from swisper_ctx._core import Snapshot
from swisper_ctx.stores.loaded import Loaded
from swisper_ctx.stores.memory import MemorySessionStore

BURST = 0.05


class Busy(MemorySessionStore):
    """For a while somebody else saves whenever an append has read what the session is."""

    other: SwisperContext
    until = 0.0

    async def _loaded(self, session_id: str, declared: Snapshot, tail: int | None, strict: bool) -> Loaded | None:
        loaded = await super()._loaded(session_id, declared, tail, strict)
        if time.monotonic() < self.until:
            self.other.metadata["saves"] = self.other.version
            await self.save_session(self.other)
        return loaded


async def test_a_record_waits_for_a_burst_of_saves_to_end() -> None:
    store = Busy()
    store.other = context = SwisperContext(user_id="u")
    await store.save_session(context)
    store.until = time.monotonic() + BURST
    execution = PipelineExecution(pipeline_name="p")
    await store.append_record(context.session_id, "pipeline_executions", execution)
    loaded = await store.load_session(context.session_id)
    assert loaded is not None
    assert loaded.metadata["saves"] > 1
    assert len(loaded.pipeline_executions) == 1
