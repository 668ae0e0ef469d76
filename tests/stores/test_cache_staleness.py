"""Two caches over one truth, as in two processes: no load shows what the truth had left longer ago than is allowed."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from swisper_ctx import Message, SessionCache, SwisperContext
from swisper_ctx.errors import ConflictError
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.testing.changes import folded

IDS = st.sampled_from(["a", "b"])
CACHES = st.integers(0, 1)
STALENESS = 1.0
covered: Counter[str] = Counter()

Content = list[str] | None


def content(context: SwisperContext | None) -> Content:
    if context is None:
        return None
    return [f"{message.role}: {message.content}" for message in context.conversation_history]


class TwoCaches(RuleBasedStateMachine):
    """Every load gives the truth of a moment within `max_staleness`; a strict one that of now."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.now = 100.0
        self.truth = MemorySessionStore()
        self.caches = [
            SessionCache(self.truth, max_staleness=STALENESS, max_bytes=4_000, monotonic=lambda: self.now)
            for _ in range(2)
        ]
        self.past: dict[str, list[tuple[float, Content]]] = {"a": [(0.0, None)], "b": [(0.0, None)]}
        self.texts = 0
        self.runner.run(asyncio.sleep(0))

    def note(self, session_id: str) -> None:
        """What the truth holds from now on."""
        self.past[session_id].append((self.now, content(self.runner.run(self.truth.load_session(session_id)))))

    def allowed(self, session_id: str, since: float) -> list[Content]:
        """What the truth held at some moment since then."""
        past = self.past[session_id]
        until = [time for time, _ in past[1:]] + [self.now]
        return [found for (_, found), end in zip(past, until, strict=True) if end >= since]

    @rule(session_id=IDS, cache=CACHES, strict=st.booleans())
    def load(self, session_id: str, cache: int, strict: bool) -> None:
        found = content(self.runner.run(self.caches[cache].load_session(session_id, strict=strict)))
        newest = self.past[session_id][-1][1]
        if strict:
            assert found == newest
        else:
            assert found in self.allowed(session_id, self.now - STALENESS)
            covered["stale" if found != newest else "fresh"] += 1

    @rule(session_id=IDS, writer=st.integers(0, 2), length=st.integers(1, 900))
    def turn(self, session_id: str, writer: int, length: int) -> None:
        store: SessionStore = [*self.caches, self.truth][writer]
        self.runner.run(self.say(store, session_id, length))
        self.note(session_id)

    async def say(self, store: SessionStore, session_id: str, length: int) -> None:
        context = await store.load_session(session_id)
        for strict in (False, True):
            context = await store.load_session(session_id, strict=strict)
            context = context or SwisperContext(session_id=session_id, user_id="u")
            self.texts += 1
            context.conversation_history.append(Message("user", f"{self.texts} " + "x" * length))
            try:
                await store.save_session(context)
            except ConflictError:
                covered["conflict"] += 1
                continue
            shown = content(await store.load_session(session_id))
            assert shown == content(context), "who has saved sees what was saved"
            return
        raise AssertionError("a strict load is followed by a save that conflicts")

    @rule(session_id=IDS)
    def overtaken(self, session_id: str) -> None:
        """A turn by another process right after both caches have loaded the session, which they then load again."""
        for cache in (0, 1):
            self.load(session_id, cache, strict=False)
        self.turn(session_id, 2, 10)
        for cache in (0, 1):
            self.load(session_id, cache, strict=False)

    @rule(session_id=IDS, by=st.integers(0, 2))
    def delete(self, session_id: str, by: int) -> None:
        store: SessionStore = [*self.caches, self.truth][by]
        if self.runner.run(store.delete_session(session_id)):
            covered["deleted"] += 1
            self.note(session_id)

    @rule(session_id=IDS)
    def outlived(self, session_id: str) -> None:
        """A turn on what another process has deleted since it was loaded."""
        self.turn(session_id, 0, 10)
        self.delete(session_id, 2)
        self.turn(session_id, 0, 10)

    @rule(session_id=IDS)
    def fold(self, session_id: str) -> None:
        context = self.runner.run(self.truth.load_session(session_id))
        if context is not None:
            covered["folded"] += self.runner.run(folded(self.truth, context))

    @rule(seconds=st.sampled_from([0.3, 0.9, 1.2]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(session_id=IDS, cache=CACHES)
    def invalidate(self, session_id: str, cache: int) -> None:
        self.caches[cache].invalidate(session_id)

    @precondition(lambda self: hasattr(self, "caches"))
    @invariant()
    def counts_bytes_exactly(self) -> None:
        for cache in self.caches:
            weights = [entry.loaded.snapshot.size for entry in cache.memory_cache.values()]
            assert cache.memory_cache.current_bytes == sum(weights) <= 4_000

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()


def test_no_load_is_staler_than_allowed() -> None:
    covered.clear()
    run = settings(stateful_step_count=40, max_examples=100)

    run_state_machine_as_test(TwoCaches, settings=run)
    assert all(covered[name] > 0 for name in ("stale", "fresh", "conflict", "deleted", "folded")), covered
