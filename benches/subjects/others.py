"""A turn on PostgreSQL beside the session layers that others use, at a history of 100 messages, 64 sessions at once.

Ours has Redis and memory in front, loads the session at each turn, and saves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count

from benches.conversation import ANSWER, FIRST_NUMBER, QUESTION, add_turn, texts
from benches.figure import Costs, Figure, Limit
from benches.interleave import interleave
from benches.peers.langgraph_saver import LangGraph
from benches.peers.openai_sessions import OpenAISessions
from benches.servers import Servers, schema_of, servers
from benches.subjects.served import Loop, Ours

SESSIONS, HISTORY = 64, 100
OPENAI, LANGGRAPH, OURS = "OpenAI SQLAlchemySession", "LangGraph AsyncPostgresSaver", "ours"
EACH = {OURS: 32, OPENAI: 3, LANGGRAPH: 2}
TURN = (("user", QUESTION), ("assistant", ANSWER))


def figures(quick: bool) -> list[Figure]:
    with servers() as where, asyncio.Runner() as runner:
        costs = measure(where, runner, 1 if quick else 5)
    name = f"turns/s on PostgreSQL, {HISTORY} messages, {SESSIONS} sessions: ours / {{}}"
    return [
        Figure(name.format(OPENAI), Limit("≥", 30), costs[OPENAI], costs[OURS]),
        Figure(name.format(LANGGRAPH), Limit("≥", 80), costs[LANGGRAPH], costs[OURS]),
    ]


def measure(where: Servers, runner: asyncio.Runner, rounds: int) -> dict[str, Costs]:
    said = [(("user", "assistant")[number % 2], text) for number, text in enumerate(texts()[:HISTORY])]
    ours, openai = Ours(where), OpenAISessions(where.dsn, schema_of(where.dsn))
    langgraph = runner.run(LangGraph.open(where.dsn, ANSWER))
    names = [f"session-{number}" for number in range(SESSIONS)]
    ids = [context.session_id for context in runner.run(ours.begin(SESSIONS, HISTORY))]
    sessions = [runner.run(openai.create(name, said)) for name in names]
    threads = [runner.run(langgraph.create(name, said)) for name in names]
    numbers = count(FIRST_NUMBER + 1)

    async def turn(session_id: str) -> None:
        context = await ours.manager.load_session_context(session_id)
        assert context is not None
        add_turn(context, next(numbers))
        await ours.manager.save(context)

    turns: dict[str, Sequence[Callable[[], Awaitable[object]]]] = {
        OURS: [partial(turn, session_id) for session_id in ids],
        OPENAI: [partial(openai.turn, session, TURN) for session in sessions],
        LANGGRAPH: [partial(langgraph.turn, thread, QUESTION) for thread in threads],
    }
    ways = {name: Loop(runner, each, EACH[name]).sample for name, each in turns.items()}
    samples = interleave(ways, rounds)
    # The same was said everywhere.
    assert runner.run(openai.turn(sessions[0], TURN)) == HISTORY + 2 * EACH[OPENAI] * (rounds + 1)
    assert runner.run(langgraph.turn(threads[0], QUESTION)) == HISTORY + 2 * EACH[LANGGRAPH] * (rounds + 1)
    found = runner.run(ours.store.load_session(ids[0]))
    assert found is not None
    assert len(found.conversation_history) == HISTORY + 2 * EACH[OURS] * (rounds + 1)
    for each in (ours.manager, openai, langgraph):
        runner.run(each.aclose())
    return {name: Costs(name, "ns", of) for name, of in samples.items()}
