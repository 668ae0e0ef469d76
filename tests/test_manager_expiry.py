"""A manager that keeps sessions for ever, and sessions that had an end before."""

from __future__ import annotations

import pytest

from swisper_ctx import PipelineSessionManager, SwisperContext
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing import ManualClock
from swisper_ctx.testing.clock import DAY, MINUTE, START

Sessions = PipelineSessionManager[SwisperContext]


async def goes_on(sessions: Sessions, context: SwisperContext, how: str) -> None:
    """Write something of a session, in one of the ways that a manager has."""
    if how == "save":
        context.product_query = "goes on"
        await sessions.save(context)
    elif how == "update":
        await sessions.update(context.session_id, lambda found: found.metadata.update(more=1))
    elif how == "record":
        await sessions.save_pipeline_execution(context.session_id, "search", {})
    else:
        with pytest.raises(ValueError, match="x"):
            async with sessions.pipeline(context, "search"):
                raise ValueError("x")


async def end_of(sessions: Sessions, session_id: str) -> int | None:
    page = await sessions.sessions()
    return next(line.expires_at for line in page.sessions if line.session_id == session_id)


@pytest.mark.parametrize("how", ["save", "update", "record", "failed run"])
async def test_the_end_that_another_manager_gave_a_session_is_taken_away(how: str) -> None:
    clock = ManualClock()
    store = MemorySessionStore(clock=clock)
    for_ever = PipelineSessionManager(store, expires_in=None)
    context = await PipelineSessionManager(store).create_session(user_id="u", session_id="s")
    await for_ever.save(context)
    assert await end_of(for_ever, "s") == START + DAY, "nothing was written"
    await goes_on(for_ever, context, how)
    assert await end_of(for_ever, "s") is None
    clock.advance(2 * DAY)
    assert await for_ever.cleanup_expired_sessions() == 0
    assert await for_ever.load_session_context("s") is not None


async def test_a_policy_that_is_taken_back_leaves_no_end() -> None:
    for_ever = PipelineSessionManager(MemorySessionStore(clock=ManualClock()), expires_in=None)
    context = await for_ever.create_session(user_id="u", session_id="s", data_retention_policy="1d:idle")
    assert await end_of(for_ever, "s") == START + DAY
    context.data_retention_policy = "session"
    await for_ever.save(context)
    assert await end_of(for_ever, "s") is None
    fork = await for_ever.fork("s")
    assert await end_of(for_ever, fork.session_id) is None


@pytest.mark.parametrize(("policy", "lifetime"), [("none", 15 * MINUTE), ("2d", 2 * DAY), ("3d:idle", 3 * DAY)])
@pytest.mark.parametrize("how", ["save", "update", "record", "failed run"])
async def test_what_the_policy_of_a_session_says_stays(policy: str, lifetime: int, how: str) -> None:
    for_ever = PipelineSessionManager(MemorySessionStore(clock=ManualClock()), expires_in=None)
    context = await for_ever.create_session(user_id="u", session_id="s", data_retention_policy=policy)
    await goes_on(for_ever, context, how)
    assert await end_of(for_ever, "s") == START + lifetime
