"""The file against the plain dicts: whatever is done to both, both say the same."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.stores.changes import MINUTE, START, ManualClock, append, creation, new_block, new_head

from swisper_ctx.log import NEVER, Change, Checkpoint, CommitResult, Etag
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.memory import MemorySessionStore
from swisper_ctx.stores.sqlite import SQLiteSessionStore

NAMES = ["a", "b", "c"]
names = st.sampled_from(NAMES)
change_ids = st.sampled_from([None, None, None, "x", "y"])
counts = st.one_of(st.none(), st.integers(0, 9))
expiries = st.one_of(st.none(), st.just(NEVER), st.integers(START, START + 60 * MINUTE))
bodies = st.binary(max_size=40) | st.sampled_from([b"\0" * 900, b"z" * 5_000])


class TwoStores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.memory = MemorySessionStore(clock=self.clock)
        self.sqlite = self.opened()
        self.etags: dict[str, Etag] = {}
        self.expiries: dict[str, int | None] = {}
        self.old: list[Etag] = [Etag(1, bytes(16))]
        self.stamps: list[bytes] = [bytes(16)]

    def opened(self) -> SQLiteSessionStore:
        return SQLiteSessionStore(Path(self.directory.name) / "x.db", clock=self.clock)

    def both(self, do: Callable[[SessionStore], Awaitable[Any]]) -> Any:
        expected, found = self.runner.run(self.ask(do))
        assert found == expected
        return expected

    async def ask(self, do: Callable[[SessionStore], Awaitable[Any]]) -> tuple[Any, Any]:
        answers = []
        for store in (self.memory, self.sqlite):
            try:
                answers.append(await do(store))
            except Exception as error:  # noqa: BLE001 both must raise the same
                answers.append(type(error))
        return answers[0], answers[1]

    def commit(self, *changes: Change) -> None:
        results: list[CommitResult] = self.both(lambda store: store.commit(changes))
        for change, result in zip(changes, results, strict=True):
            if result.time is not None:
                self.old.append(change.etag)
                self.etags[change.session_id] = change.etag
                before = self.expiries.get(change.session_id) if change.expected else None
                self.expiries[change.session_id] = change.expiry(before)
                self.stamps += [change.head.stamp] if change.head else []

    def change(self, name: str, draw: Callable[[Any], Any]) -> Change:
        if name not in self.etags or draw(st.integers(0, 9)) == 0:
            return creation(name, frame=draw(bodies), change_id=draw(change_ids), expires_at=draw(expiries))
        expected = self.etags[name] if draw(st.integers(0, 5)) else draw(st.sampled_from(self.old))
        return append(
            name,
            expected,
            frame=draw(bodies),
            change_id=draw(change_ids),
            messages=draw(counts),
            expires_at=draw(expiries),
        )

    @initialize()
    def begin(self) -> None:
        self.commit(*(creation(name) for name in NAMES[:2]))

    @rule(name=names, data=st.data())
    def commit_one(self, name: str, data: st.DataObject) -> None:
        self.commit(self.change(name, data.draw))

    @rule(group=st.lists(names, min_size=2, unique=True), data=st.data())
    def commit_group(self, group: list[str], data: st.DataObject) -> None:
        self.commit(*(self.change(name, data.draw) for name in group))

    @rule(name=names, turns=st.integers(1, 140))
    def converse(self, name: str, turns: int) -> None:
        for _ in range(turns if name in self.etags else 0):
            self.commit(append(name, self.etags[name], frame=b"turn"))

    @rule(
        name=names, back=st.integers(-1, 3), positions=st.lists(st.integers(0, 5)), stale=st.booleans(), data=st.data()
    )
    def checkpoint(self, name: str, back: int, positions: list[int], stale: bool, data: st.DataObject) -> None:
        stored = self.both(lambda store: store.read(name))
        if stored is None:
            return
        stamp = data.draw(st.sampled_from(self.stamps)) if stale else stored.head.stamp
        dropped = data.draw(st.lists(st.sampled_from(stored.blocks), unique=True)) if stored.blocks else []
        added = tuple(new_block("history", position, position) for position in positions)
        head = new_head(max(stored.etag.version - back, 0))
        change = Checkpoint(name, stamp, head, added, tuple(block.block_id for block in dropped))
        if self.both(lambda store: store.checkpoint(change)) is True:
            self.stamps.append(head.stamp)

    @rule(name=names, expired=st.booleans())
    def delete(self, name: str, expired: bool) -> None:
        if self.both(lambda store: store.delete([name], expired=expired)):
            del self.etags[name]

    @rule(minutes=st.sampled_from([0, 1, 5, 10, 11, 60, 1440]))
    def wait(self, minutes: int) -> None:
        self.clock.advance(minutes * MINUTE + 1)

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.sqlite = self.opened()

    @rule(user=st.sampled_from([None, "u"]), expired=st.booleans(), limit=st.integers(1, 4))
    def list_them(self, user: str | None, expired: bool, limit: int) -> None:
        async def walk(store: SessionStore) -> list[object]:
            pages: list[object] = []
            cursor: str | None = None
            while not pages or cursor:
                page = await store.sessions(user_id=user, expired=expired, cursor=cursor, limit=limit)
                pages.append(page.sessions)
                cursor = page.cursor
            return pages

        self.both(walk)

    @rule(name=names, after=st.integers(0, 300), limit=st.one_of(st.none(), st.integers(0, 9)), tail=st.integers(0, 9))
    def read_parts(self, name: str, after: int, limit: int | None, tail: int) -> None:
        self.both(lambda store: store.read(name, after=Etag(after, os.urandom(16))))
        self.both(lambda store: store.read(name, tail=tail))
        self.both(lambda store: store.frames(name, after=after, limit=limit))

    @invariant()
    def same(self) -> None:
        expiries = {name: NEVER if expiry is None else expiry for name, expiry in self.expiries.items()}
        alive = {name: etag for name, etag in self.etags.items() if expiries[name] > self.clock.now}
        assert self.both(lambda store: store.etags(NAMES)) == alive
        for name in NAMES:
            self.both(lambda store, name=name: store.read(name))  # type: ignore[misc]
            self.both(lambda store, name=name: store.frames(name))  # type: ignore[misc]

    def teardown(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.runner.close()
        self.directory.cleanup()


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(max_examples=settings().max_examples // 3, stateful_step_count=30)
