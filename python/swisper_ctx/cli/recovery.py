"""After the crash: the file is opened anew, everything in it checked, and the replay goes on to the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from swisper_ctx import PipelineSessionManager, SwisperContext
from swisper_ctx.cli.check import check, differences
from swisper_ctx.cli.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from swisper_ctx.cli.conversations import Conversation
    from swisper_ctx.cli.crash import Ack

Contexts = dict[str, SwisperContext | None]


class Recovery(NamedTuple):
    """What was in the file, and how long it took to have it back."""

    sessions: int
    messages: int
    turns: int
    seconds: float
    """From opening the file to the last session loaded."""
    loads: tuple[float, ...]
    """Of each session, in seconds."""


class Completion(NamedTuple):
    """The second half of the replay."""

    turns: int
    seconds: float


async def load_all(
    sessions: PipelineSessionManager[SwisperContext], names: list[str]
) -> tuple[Contexts, tuple[float, ...]]:
    """Every session, one after the other, and the time that each load took."""
    contexts: Contexts = {}
    times: list[float] = []
    for name in names:
        start = time.perf_counter()
        contexts[name] = await sessions.load_session_context(name)
        times.append(time.perf_counter() - start)
    return contexts, tuple(times)


async def recover(url: str, names: dict[str, Conversation], last: dict[str, Ack], problems: list[str]) -> Recovery:
    """Open the file, load every session, and add to `problems` whatever is lost or differs."""
    start = time.perf_counter()
    async with PipelineSessionManager.open(url) as sessions:
        contexts, loads = await load_all(sessions, list(names))
        seconds = time.perf_counter() - start
    for name, conversation in names.items():
        found = check(contexts[name], conversation, last.get(name))
        problems += [f"{conversation.user_id} after the crash: {problem}" for problem in found]
    held = [context for context in contexts.values() if context is not None]
    messages = sum(len(context.conversation_history) for context in held)
    return Recovery(len(held), messages, sum(len(context.pipeline_executions) for context in held), seconds, loads)


async def complete(
    url: str, names: dict[str, Conversation], problems: list[str], advance: Callable[[], None]
) -> Completion:
    """Replay what each session still lacks, all users at once, and check every session to its end."""
    async with PipelineSessionManager.open(url) as sessions:
        contexts, _ = await load_all(sessions, list(names))
        start = time.perf_counter()
        turns = await asyncio.gather(
            *(go_on(sessions, contexts[name], name, conversation, advance) for name, conversation in names.items())
        )
        seconds = time.perf_counter() - start
    async with PipelineSessionManager.open(url) as sessions:
        contexts, _ = await load_all(sessions, list(names))
    for name, conversation in names.items():
        context = contexts[name]
        found = differences(context, conversation, len(conversation.turns)) if context else ["the session is gone"]
        problems += [f"{conversation.user_id} at the end: {problem}" for problem in found]
    return Completion(sum(turns), seconds)


async def go_on(
    sessions: PipelineSessionManager[SwisperContext],
    context: SwisperContext | None,
    name: str,
    conversation: Conversation,
    advance: Callable[[], None],
) -> int:
    """Replay the turns that one session lacks, and say how many they were.

    A turn that was written but not acknowledged is there already: where a session stands is seen from its content.
    """
    if context is None:
        context = await sessions.create_session(user_id=conversation.user_id, session_id=name)
    held = conversation.turns_in(len(context.conversation_history))
    missing = conversation.turns[held:]
    await replay(sessions, context, missing, lambda _context, _turn: advance())
    return len(missing)
