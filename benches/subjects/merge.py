"""A save that was refused, merged with the turn that came before it; with a short and a long history."""

from __future__ import annotations

from time import perf_counter_ns

from benches.conversation import answer, context_of, question
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc

from swisper_ctx import SwisperContext
from swisper_ctx._core import Conflict, Delta, Snapshot, rebase
from swisper_ctx.context import Position

MERGES = 20
TOKEN = bytes(16)


def figures(quick: bool) -> list[Figure]:
    sizes = [10, 1_000, 100_000]
    ways = {str(size): timed(size) for size in sizes}
    with without_gc():
        samples = interleave(ways, 20 if quick else 100)
    costs = {int(size): Costs(f"{int(size):,} messages", "ns", of) for size, of in samples.items()}
    return [
        Figure("merge of two turns: 1,000 messages", Limit("≤", 20, " us"), costs[1_000]),
        Figure("merge of two turns: 100,000 messages / 10", Limit("≤", 1.1), costs[100_000], costs[10]),
    ]


def timed(messages: int) -> Way:
    """Contexts at one state of which each saves a turn, when another has saved one."""
    whole = context_of(messages)
    whole._freeze()
    base = whole._position.snapshot

    def way() -> float:
        theirs, _ = turn(base, "noise_db")
        frames = [(2, theirs.frame("s", 0, TOKEN, (2, TOKEN), None, 0))]
        ours = [turn(base, "width_cm") for _ in range(MERGES)]
        found: list[tuple[Snapshot, list[Delta]] | Conflict] = []
        start = perf_counter_ns()
        for delta, context in ours:
            found.append(rebase(base, [delta], context.__dict__, "s", (0, 0), (1, TOKEN), frames))
        elapsed = perf_counter_ns() - start
        for merged, (_, context) in zip(found, ours, strict=True):
            check(merged, context, messages)
        return elapsed / MERGES

    return way


def turn(base: Snapshot, wish: str) -> tuple[Delta, SwisperContext]:
    """Two messages, and a key of its own in a dict."""
    context = SwisperContext._at(Position("s", "", base))
    context.conversation_history += [question(), answer()]
    context.soft_preferences[wish] = 35
    delta = context._freeze()
    assert delta is not None
    return delta, context


def check(merged: tuple[Snapshot, list[Delta]] | Conflict, context: SwisperContext, messages: int) -> None:
    """Both turns are there, and the patch holds ours."""
    assert not isinstance(merged, Conflict), merged.reason
    state, [delta] = merged
    counts = [snapshot.count("conversation_history") for snapshot in (state, delta.snapshot)]
    assert counts == [messages + 2, messages + 4]
    assert len(context.conversation_history) == messages + 4
    assert delta.patch().count(b"/conversation_history/-") == 2
    assert context.soft_preferences == {"noise_db": 35, "width_cm": 35}
