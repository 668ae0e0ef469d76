"""Encryption at rest, against the same store without it."""

from __future__ import annotations

import asyncio
import base64
import os
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any

from benches.conversation import FIRST_NUMBER, add_turn, answer, context_of
from benches.disk import scratch
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc
from benches.subjects.durable import EACH, Writing, timed
from cryptography.fernet import Fernet

from swisper_ctx import EncryptedSessionStore, MemorySessionStore, PipelineSessionManager
from swisper_ctx.cli.conversations import load_source
from swisper_ctx.keys import new_key
from swisper_ctx.log import Change, CommitResult
from swisper_ctx.testing.changes import append, creation, folded

PLAIN, SEALED = "plain", "encrypted"
KEY = new_key()
SESSIONS, MESSAGES, LAST = 64, 10_000, 20
FRAME = 1000
BATCH = 500


def figures(quick: bool) -> list[Figure]:
    turns = measure_turns(1 if quick else 8)
    sealing = measure_sealing(5 if quick else 40)
    opened = measure_opening(3 if quick else 40)
    frame, segment = stored_sizes()
    return [
        Figure("turns/s on SQLite, 64 sessions: encrypted / plain", Limit("≥", 0.75), turns[PLAIN], turns[SEALED]),
        Figure("processor added to a turn of 1 kB by encryption", Limit("≤", 12, " us"), sealing),
        Figure("stored bytes of a frame of 1 kB, encrypted: stored / JSON", Limit("≤", 1.2), *frame),
        Figure("stored bytes of a real conversation in segments, encrypted: stored / JSON", Limit("≤", 0.3), *segment),
        *(
            Figure(f"cold open of 10,000 messages, {what}: encrypted / plain", Limit("≤", limit), *sides)
            for (what, sides), limit in zip(opened.items(), (1.2, 2), strict=True)
        ),
    ]


def measure_turns(rounds: int) -> dict[str, Costs]:
    with scratch() as directory, asyncio.Runner() as runner:
        writings = {name: runner.run(writing(directory / f"{name}.db", name)) for name in (PLAIN, SEALED)}
        samples = interleave({name: timed(runner, each, EACH) for name, each in writings.items()}, rounds)
        for each in writings.values():
            runner.run(each.close())
        runner.run(check_turns(directory / f"{SEALED}.db", 1 + EACH * (rounds + 1)))
    return {name: Costs(name, "ns", of) for name, of in samples.items()}


async def writing(file: Path, name: str) -> Writing:
    """A turn of each of 64 sessions with its checkpoints, as `durable` has it."""
    manager = manager_of(file, name)
    contexts = [context_of(10) for _ in range(SESSIONS)]
    for context in contexts:
        await manager.save(context)
    numbers = count(FIRST_NUMBER)

    async def turn(context: Any) -> None:
        add_turn(context, next(numbers))
        await manager.save(context)

    turns = [partial(turn, context) for context in contexts]
    return Writing(turns, manager.aclose, manager.session_store._checkpointer.settle)


def manager_of(file: Path, name: str) -> PipelineSessionManager[Any]:
    return PipelineSessionManager.open(f"sqlite:///{file}", encryption_key=KEY if name == SEALED else None)


async def check_turns(file: Path, versions: int) -> None:
    async with manager_of(file, SEALED) as manager:
        for line in (await manager.sessions()).sessions:
            assert (line.version, line.messages) == (versions, 8 + 2 * versions)
        context = await manager.load_session_context(line.session_id)
    assert context is not None
    assert len(context.conversation_history) == 8 + 2 * versions
    assert context.conversation_history[-1] == answer()


class Nowhere(MemorySessionStore):
    """Keeps nothing, so that what a wrapper adds is seen."""

    async def commit(self, changes: Any) -> list[CommitResult]:
        self.last: Change = changes[-1]
        return [CommitResult(0)] * len(changes)


def measure_sealing(rounds: int) -> Costs:
    """The processor time that the wrapper adds to the commit of a change with a frame of 1 kB."""
    inside = Nowhere()
    outside = EncryptedSessionStore(KEY, inside)
    change = append("s", creation("s").etag, frame=os.urandom(FRAME))

    def way(store: MemorySessionStore | EncryptedSessionStore) -> float:
        async def work() -> float:
            group = [change] * SESSIONS
            start = process_time_ns()
            for _ in range(BATCH // 25):
                await store.commit(group)
            return (process_time_ns() - start) / (BATCH // 25 * SESSIONS)

        return asyncio.run(work())

    with without_gc():
        samples = interleave({PLAIN: lambda: way(inside), SEALED: lambda: way(outside)}, rounds)
    assert Fernet(KEY).decrypt(base64.urlsafe_b64encode(inside.last.frame)) == change.frame
    return Costs("added", "ns", [sealed - plain for plain, sealed in zip(*samples.values(), strict=True)])


def measure_opening(rounds: int) -> dict[str, tuple[Costs, Costs]]:
    """Loads of a folded session by a store that has just been opened."""
    with scratch() as directory, asyncio.Runner() as runner:
        files = {name: directory / f"{name}.db" for name in (PLAIN, SEALED)}
        ids = {name: runner.run(fold(file, name)) for name, file in files.items()}
        managers = {name: manager_of(file, name) for name, file in files.items()}
        found = {}
        for what, last in (("nothing touched", 0), ("last 20 read", LAST)):
            ways = {name: opening(runner, managers[name], ids[name], last) for name in files}
            with without_gc():
                samples = interleave(ways, rounds)
            found[what] = Costs(SEALED, "ns", samples[SEALED]), Costs(PLAIN, "ns", samples[PLAIN])
        for manager in managers.values():
            runner.run(manager.aclose())
    return found


async def fold(file: Path, name: str) -> str:
    async with manager_of(file, name) as manager:
        context = context_of(MESSAGES)
        await manager.save(context)
        await manager.session_store._checkpointer.settle()
        stored = await manager.session_store.read(context.session_id)
    assert stored is not None
    assert not stored.frames
    return str(context.session_id)


def opening(runner: asyncio.Runner, manager: PipelineSessionManager[Any], session_id: str, last: int) -> Way:
    async def load() -> float:
        start = perf_counter_ns()
        context = await manager.load_session_context(session_id)
        assert context is not None
        texts = [message.content for message in context.conversation_history[-last:]] if last else []
        taken = perf_counter_ns() - start
        assert len(texts) == last
        assert len(context.conversation_history) == MESSAGES
        return taken

    return lambda: runner.run(load())


def stored_sizes() -> tuple[tuple[Costs, Costs], tuple[Costs, Costs]]:
    """Of a frame whose patch has 1 kB, and of all blocks of the longest real conversation there is."""
    return asyncio.run(_frame_size()), asyncio.run(_segment_size())


async def _frame_size() -> tuple[Costs, Costs]:
    store, context = EncryptedSessionStore(KEY), context_of(0)
    await store.save_session(context)
    add_turn(context, FIRST_NUMBER + 1)
    delta = context._position.snapshot.freeze(context.__dict__)
    assert delta is not None
    patch = len(delta.patch())
    delta.restore(context.__dict__)
    await store.save_session(context)
    size = len((await store.bodies(context.session_id))[-1].body)
    return Costs("stored", "bytes", [size]), Costs("patch", "bytes", [patch])


async def _segment_size() -> tuple[Costs, Costs]:
    store, context = EncryptedSessionStore(KEY), context_of(0)
    for conversation in load_source(None).conversations:
        for turn in conversation.turns:
            context.conversation_history.extend(turn.messages)
    await store.save_session(context)
    await folded(store, context)
    stored = await store.read(context.session_id)
    assert stored is not None
    sizes = [len(block.body or b"") for block in stored.blocks if block.records]
    assert len(sizes) > 1
    plain = context._position.snapshot.to_json()
    return Costs("stored", "bytes", [sum(sizes)]), Costs("JSON", "bytes", [len(plain)])
