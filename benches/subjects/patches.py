"""`diff` and `apply_patch` beside jsonpatch, on dicts, on bytes, on contexts and on lists of messages."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import jsonpatch
from benches.conversation import FIRST_NUMBER, METADATA, add_turn, context_of, question, texts
from benches.figure import Costs, Figure, Limit
from benches.interleave import Way, interleave, without_gc
from tests.jsonpatch_cases import cases

from swisper_ctx import Patch, SwisperContext, apply_patch, deserialize_context, diff, serialize_context
from swisper_ctx.context import METADATA as OF_THE_STORE

MESSAGES, PLACE, MOVED = 1_000, 500, 10


def figures(quick: bool) -> list[Figure]:
    rounds = 5 if quick else 40
    with without_gc():
        return [*of_a_dict(rounds), *of_contexts(rounds), *of_edits(rounds), *of_applying(rounds)]


def timed(work: Callable[[], object], times: int = 1) -> Way:
    def way() -> float:
        start = perf_counter_ns()
        for _ in range(times):
            work()
        return (perf_counter_ns() - start) / times

    return way


def against(
    name: str, least: int | None, peer: Callable[[], object], ours: Callable[[], object], rounds: int, times: int
) -> Figure:
    """How many times longer jsonpatch takes; ours is done so often in one sample that the clock does not count."""
    found = interleave({"jsonpatch": timed(peer), "ours": timed(ours, times)}, rounds)
    costs = {side: Costs(side, "ns", samples) for side, samples in found.items()}
    return Figure(f"{name}: jsonpatch / ours", Limit("≥", least) if least else None, costs["jsonpatch"], costs["ours"])


def check(source: Any, target: Any, patch: Patch) -> None:
    """Both libraries make the target of it, which is no longer than what jsonpatch writes."""
    theirs = jsonpatch.make_patch(source, target)
    assert apply_patch(source, patch) == target == jsonpatch.apply_patch(source, list(patch))
    assert len(patch.to_json()) <= len(json.dumps(theirs.patch, separators=(",", ":"), ensure_ascii=False).encode())


def of_a_dict(rounds: int) -> list[Figure]:
    """20 kB of preferences, in one of which a number changes."""
    preferences = {
        f"preference {n}": {"text": text[:60], "weight": n, "seen": [n, n + 1.5, True], "about": METADATA}
        for n, text in enumerate(texts()[:110])
    }
    # No part stands in two places: jsonpatch would change it in both.
    source, apart = (json.loads(json.dumps(preferences)) for _ in range(2))
    target = copy.deepcopy(source)
    for each in (target, apart):
        each["preference 60"]["about"]["tokens"] = 88
    before, after = (json.dumps(each, separators=(",", ":")).encode() for each in (source, target))
    assert 18_000 < len(before) < 22_000, len(before)
    check(source, target, diff(source, target))
    assert diff(before, after) == diff(source, target)
    name = "diff of a 20 kB dict with one nested change"

    def peer() -> object:
        return jsonpatch.make_patch(source, target)

    return [
        against(f"{name}, objects", 200, peer, lambda: diff(source, target), rounds, 50),
        against(f"{name}, objects decoded apart", None, peer, lambda: diff(source, apart), rounds, 50),
        against(f"{name}, bytes", 800, peer, lambda: diff(before, after), rounds, 50),
    ]


def content(context: SwisperContext) -> dict[str, Any]:
    return {name: value for name, value in serialize_context(context).items() if name not in OF_THE_STORE}


def of_contexts(rounds: int) -> list[Figure]:
    """A message more, between contexts that share their history, and between two that were made apart."""
    context = context_of(MESSAGES)
    context._freeze()
    grown = apply_patch(context, Patch())
    grown.conversation_history.append(question())
    other = deserialize_context(serialize_context(grown))
    other._freeze()
    source, target = content(context), content(grown)
    check(source, target, diff(context, grown))
    assert diff(context, other) == diff(context, grown)
    assert len(diff(context, grown)) == 1
    name = f"diff of contexts of {MESSAGES:,} messages after one append"

    def peer() -> object:
        return jsonpatch.make_patch(source, target)

    return [
        against(f"{name}, independent", 120, peer, lambda: diff(context, other), rounds, 20),
        against(f"{name}, one lineage", 10_000, peer, lambda: diff(context, grown), rounds, 1_000),
    ]


def of_edits(rounds: int) -> list[Figure]:
    """Messages as dicts, so that both compare the same objects."""
    source = context_of(MESSAGES).conversation_history.to_dicts()
    new = question().to_dict()
    kept, moved = source[:PLACE] + source[PLACE + MOVED :], source[PLACE : PLACE + MOVED]
    edits = {
        "insert": [*source[:PLACE], new, *source[PLACE:]],
        "delete": source[:PLACE] + source[PLACE + 1 :],
        "replace": [*source[:PLACE], new, *source[PLACE + 1 :]],
        f"move of {MOVED}": kept[: PLACE // 2] + moved + kept[PLACE // 2 :],
    }
    found = []
    for name, edited in edits.items():
        target = copy.deepcopy(edited)
        check(source, target, diff(source, target))
        label = f"diff of {MESSAGES:,} messages, {name} in the middle"
        peer, ours = partial(jsonpatch.make_patch, source, target), partial(diff, source, target)
        found.append(against(label, 50, peer, ours, max(3, rounds // 4), 5))
    return found


def of_applying(rounds: int) -> list[Figure]:
    """The cases of json-patch-tests that apply, all one after the other; a turn on a long context."""
    fitting = [(case["doc"], case["patch"]) for case in cases() if "expected" in case]
    shapes = [(document, Patch(patch), jsonpatch.JsonPatch(patch)) for document, patch in fitting]
    # Of a case in which jsonpatch departs from the RFC there is nothing to compare.
    shapes = [(document, ours, theirs) for document, ours, theirs in shapes if agree(document, ours, theirs)]
    assert len(shapes) >= 10

    def peer() -> None:
        for document, _, theirs in shapes:
            theirs.apply(document)

    def own() -> None:
        for document, ours, _ in shapes:
            apply_patch(document, ours)

    context = context_of(MESSAGES)
    context._freeze()
    grown = apply_patch(context, Patch())
    add_turn(grown, FIRST_NUMBER + 1)
    patch, source = diff(context, grown), content(context)
    theirs = jsonpatch.JsonPatch(list(patch))
    assert content(apply_patch(context, patch)) == theirs.apply(source) == apply_patch(source, patch) == content(grown)

    def copied() -> object:
        return theirs.apply(source)

    name = f"apply_patch of a turn on {MESSAGES:,} messages"
    return [
        against(f"apply_patch on {len(shapes)} cases of json-patch-tests", 20, peer, own, rounds, 10),
        against(f"{name}, a context", 20, copied, lambda: apply_patch(context, patch), rounds, 20),
        against(f"{name}, objects", 20, copied, lambda: apply_patch(source, patch), rounds, 20),
    ]


def agree(document: Any, ours: Patch, theirs: jsonpatch.JsonPatch) -> bool:
    try:
        return bool(theirs.apply(document) == apply_patch(document, ours))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        return False
