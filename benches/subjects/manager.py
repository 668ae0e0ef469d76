"""What a save costs in this process: CPU time of turns through the manager over a store that keeps nothing.

Measured is the CPU time of the process, all its threads, for turns with `save`, less that of the same turns without:
building the messages is the application's own. What is left is everything between the call of `save` and its return
but the store: finding what changed, writing its patch and frame, forming groups, waiting and being woken, and the
collection of garbage. The store answers at once: as one with a thread does, in the callback that `begin_commit` is
given; or as a store does that has only the coroutine `commit`, which needs a task for each group. Nothing is folded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from benches.conversation import FIRST_NUMBER, add_turn, context_of
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave

from swisper_ctx import PipelineSessionManager, SwisperContext
from swisper_ctx.log import Block, Change, Checkpoint, CommitResult, Etag, Frame, SessionPage
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.committer import Answered

TURNS = 2048
"""In a sample, of all sessions together: each begins with fresh contexts."""

LIMITS = {1: Limit("≤", 12, " µs"), 64: Limit("≤", 6, " µs")}


class NullStore(SessionStore):
    """Commits everything at once and keeps nothing."""

    async def commit(self, changes: Sequence[Change]) -> list[CommitResult]:
        return [CommitResult(1)] * len(changes)

    async def etags(self, session_ids: Collection[str]) -> dict[str, Etag]:
        return {}

    async def read(self, session_id: str, *, after: Etag | None = None, tail: int | None = None) -> None:
        return None

    async def read_version(self, session_id: str, version: int) -> None:
        return None

    async def blocks(self, session_id: str, block_ids: Collection[bytes]) -> tuple[Block, ...]:
        return ()

    async def frames(self, session_id: str, *, after: int = 0, limit: int | None = None) -> tuple[Frame, ...]:
        return ()

    async def checkpoint(self, checkpoint: Checkpoint) -> bool:
        return False

    async def delete(self, session_ids: Collection[str], *, expired: bool = False) -> int:
        return 0

    async def sessions(
        self, *, user_id: str | None = None, expired: bool = False, cursor: str | None = None, limit: int = 100
    ) -> SessionPage:
        return SessionPage((), None)

    async def _close(self) -> None:
        pass


class CallbackStore(NullStore):
    """The same, without a task for each group."""

    def begin_commit(self, changes: Sequence[Change], answered: Answered) -> None:
        answered([CommitResult(1)] * len(changes), None)


async def no_save(context: SwisperContext) -> None:
    pass


Save = Callable[[SwisperContext], Awaitable[None]]


def figures(quick: bool) -> list[Figure]:
    return [figure for sessions in LIMITS for figure in measure(sessions, 5 if quick else 40)]


def measure(sessions: int, rounds: int) -> list[Figure]:
    manager, tasks = PipelineSessionManager(CallbackStore()), PipelineSessionManager(NullStore())
    with asyncio.Runner() as runner:
        ways = {
            "save": timed(runner, manager.save, sessions),
            "save, a task for each group": timed(runner, tasks.save, sessions),
            "no save": timed(runner, no_save, sessions),
        }
        samples = interleave(ways, rounds)
    without = samples.pop("no save")
    name = f"CPU time of a save without its store, {sessions} session{'s' * (sessions > 1)}"
    return [
        Figure(
            name if way == "save" else f"the same with {way.partition(', ')[2]}",
            LIMITS[sessions] if way == "save" else None,
            Costs(way, "ns", [with_save - bare for with_save, bare in zip(of, without, strict=True)]),
        )
        for way, of in samples.items()
    ]


def timed(runner: asyncio.Runner, save: Save, sessions: int) -> Way:
    async def talk(context: SwisperContext) -> None:
        for number in range(FIRST_NUMBER + 1, FIRST_NUMBER + 1 + TURNS // sessions):
            add_turn(context, number)
            await save(context)

    async def sample() -> float:
        contexts = [context_of(10) for _ in range(sessions)]
        for context in contexts:
            await save(context)
            context._position.mark = None
        start = time.process_time_ns()
        await asyncio.gather(*map(talk, contexts))
        cost = (time.process_time_ns() - start) / TURNS
        check(contexts, saved=save is not no_save)
        return cost

    return lambda: runner.run(sample())


def check(contexts: Sequence[SwisperContext], saved: bool) -> None:
    """Each turn has become a version, and nothing is left to save."""
    turns = TURNS // len(contexts)
    for context in contexts:
        assert context.version == (1 + turns if saved else 0)
        assert len(context.conversation_history) == 10 + 2 * turns
        assert (context._freeze() is None) == saved
