"""Groups: who is in which, what becomes of them when a store fails, answers wrongly, or loses its event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import pytest

from swisper_ctx import SwisperContext, serialize_context
from swisper_ctx.errors import ConflictError, OutcomeUnknownError, StoreError, StoreUnavailableError
from swisper_ctx.log import Change, CommitResult, Etag
from swisper_ctx.stores.committer import Answered, Committer
from swisper_ctx.stores.sqlite import SQLiteSessionStore

WRITTEN = CommitResult(7)


class Entry:
    """A write that notes what becomes of it."""

    def __init__(self, session_id: str) -> None:
        self._session_id, self.done = session_id, False
        self.outcome: int | Exception | None = None
        self.looks = 0

    @property
    def session_id(self) -> str:
        self.looks += 1
        return self._session_id

    def change(self) -> Change:
        if self.session_id == "bad":
            raise ValueError("cannot be made")
        return Change(self.session_id, "u", None, Etag(1, bytes(16)), b"")

    def committed(self, time: int) -> None:
        self.outcome, self.done = time, True

    def failed(self, error: Exception) -> None:
        self.outcome, self.done = error, True


class Desk:
    """A committer whose groups wait here until the test answers them."""

    def __init__(self, *, in_flight: int = 1) -> None:
        self.groups: list[tuple[list[str], Answered]] = []
        self.refused_once: set[Entry] = set()
        self.committer = Committer(self.begin, self.refused, in_flight=in_flight)
        self.committer.enter()

    def begin(self, changes: Sequence[Change], answered: Answered) -> None:
        self.groups.append(([change.session_id for change in changes], answered))

    async def refused(self, write: Entry, change: Change) -> int | None:
        await asyncio.sleep(0)
        if write in self.refused_once:
            self.refused_once.remove(write)
            return None
        raise ConflictError("somebody else")

    def submit(self, names: str) -> list[Entry]:
        entries = [Entry(name) for name in names.split()]
        for entry in entries:
            self.committer.submit(entry)
        return entries

    @property
    def names(self) -> list[list[str]]:
        return [names for names, _ in self.groups]

    def answer(self, results: list[CommitResult] | None = None, error: BaseException | None = None) -> None:
        """For the oldest group; all of it is written unless something else is said."""
        names, answered = self.groups.pop(0)
        answered([WRITTEN] * len(names) if results is None and error is None else results, error)


async def passes() -> None:
    await asyncio.sleep(0)


async def test_those_of_one_moment_are_a_group_and_those_after_it_the_next() -> None:
    desk = Desk()
    first = desk.submit("a b c")
    assert desk.names == []
    await passes()
    assert desk.names == [["a", "b", "c"]]
    second = desk.submit("d a a")
    await passes()
    assert len(desk.groups) == 1
    desk.answer()
    third = desk.submit("e")
    await passes()
    assert desk.names == [["d", "a", "e"]]
    desk.answer()
    await passes()
    assert desk.names == [["a"]]
    desk.answer()
    assert [entry.outcome for entry in first + second + third] == [7] * 7


async def test_a_lone_write_does_not_wait_for_company() -> None:
    desk = Desk()
    desk.submit("a")
    await passes()
    desk.answer()
    desk.submit("a")
    assert desk.names == [["a"]]
    desk.submit("b c")
    desk.answer()
    await passes()
    desk.answer()
    desk.submit("d e")
    assert desk.names == []
    await passes()
    assert desk.names == [["d", "e"]]


async def test_two_in_flight_never_hold_the_same_session() -> None:
    desk = Desk(in_flight=2)
    desk.submit("a b")
    await passes()
    desk.submit("a c")
    await passes()
    desk.submit("d")
    await passes()
    assert desk.names == [["a", "b"], ["c"]]
    desk.answer()
    await passes()
    assert desk.names == [["c"], ["a", "d"]]


async def test_those_of_one_session_are_written_in_order_whatever_becomes_of_them() -> None:
    desk = Desk()
    again, settled, last = desk.submit("a a a")
    desk.refused_once = {again}
    await passes()
    settled.done = True
    desk.answer([CommitResult(None)])
    while not desk.groups:
        await passes()
    desk.answer()
    assert (again.outcome, last.outcome) == (7, None)
    await passes()
    desk.answer()
    assert (settled.outcome, last.outcome) == (None, 7)
    await asyncio.wait_for(desk.committer.drain(), 1)


async def test_many_of_one_session_are_not_looked_at_again_for_each_that_is_written() -> None:
    many = 200
    desk = Desk()
    entries = desk.submit("a " * many)
    for _ in entries:
        await passes()
        desk.answer()
    assert all(entry.outcome == 7 for entry in entries)
    assert max(entry.looks for entry in entries) <= 6


@pytest.mark.parametrize("results", [[], [WRITTEN], [WRITTEN] * 3])
async def test_a_store_that_answers_for_another_number_of_changes(results: list[CommitResult]) -> None:
    desk = Desk()
    entries = desk.submit("a b")
    await passes()
    desk.answer(results)
    assert all(isinstance(entry.outcome, OutcomeUnknownError) for entry in entries)
    (again,) = desk.submit("a")
    await passes()
    desk.answer()
    assert again.outcome == 7


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StoreUnavailableError("down"), StoreUnavailableError),
        (ValueError("a defect"), OutcomeUnknownError),
        (KeyboardInterrupt(), OutcomeUnknownError),
    ],
)
async def test_what_a_store_raises_reaches_all_of_its_group_and_nobody_else(
    error: BaseException, expected: type[Exception]
) -> None:
    desk = Desk()
    entries = desk.submit("a b")
    await passes()
    behind = desk.submit("a c")
    desk.answer(error=error)
    assert [type(entry.outcome) for entry in entries] == [expected] * 2
    assert error in (entries[0].outcome, getattr(entries[0].outcome, "__cause__", None))
    await passes()
    desk.answer()
    assert [entry.outcome for entry in behind] == [7, 7]


async def test_a_store_that_cannot_begin() -> None:
    def refuses(changes: Sequence[Change], answered: Answered) -> None:
        raise StoreError("closed")

    committer = Committer(refuses, Desk().refused)
    committer.enter()
    entries = [Entry("a"), Entry("b")]
    for entry in entries:
        committer.submit(entry)
    await asyncio.wait_for(committer.drain(), 1)
    assert [str(entry.outcome) for entry in entries] == ["closed", "closed"]


async def test_a_change_that_cannot_be_made_leaves_its_group() -> None:
    desk = Desk()
    good, bad, other = desk.submit("a bad c")
    await passes()
    assert desk.names == [["a", "c"]]
    assert isinstance(bad.outcome, ValueError)
    desk.answer()
    desk.submit("bad")
    await asyncio.wait_for(desk.committer.drain(), 1)
    assert (good.outcome, other.outcome) == (7, 7)


async def test_draining_waits_for_groups_refusals_and_what_is_queued() -> None:
    desk = Desk()
    (entry,) = desk.submit("a")
    draining = asyncio.create_task(desk.committer.drain())
    await passes()
    await passes()
    assert not draining.done()
    desk.answer([CommitResult(None)])
    await passes()
    assert not draining.done()
    await draining
    assert isinstance(entry.outcome, ConflictError)
    await desk.committer.drain()


async def test_a_cancelled_drain_leaves_the_others() -> None:
    desk = Desk()
    desk.submit("a")
    drains = [asyncio.create_task(desk.committer.drain()) for _ in range(2)]
    await passes()
    drains[0].cancel()
    await passes()
    desk.answer()
    await asyncio.wait_for(drains[1], 1)
    assert drains[0].cancelled()


def test_what_was_under_way_in_an_event_loop_that_ended_is_unknown() -> None:
    desks: list[Desk] = []
    entries: list[Entry] = []

    async def leave() -> None:
        desks.append(Desk())
        entries.extend(desks[0].submit("a"))
        await passes()
        entries.extend(desks[0].submit("a b"))

    async def follow() -> None:
        desks[0].committer.enter()
        assert isinstance(entries[0].outcome, OutcomeUnknownError)
        desks[0].groups.clear()
        entries.extend(desks[0].submit("c"))
        await passes()
        assert desks[0].names == [["a", "b", "c"]]
        desks[0].answer()

    asyncio.run(leave())
    asyncio.run(follow())
    assert [entry.outcome for entry in entries[1:]] == [7, 7, 7]


def test_another_event_loop_may_not_join() -> None:
    async def begin() -> Desk:
        desk = Desk()
        desk.submit("a")
        await passes()
        return desk

    loop = asyncio.new_event_loop()
    desk = loop.run_until_complete(begin())

    async def join() -> None:
        desk.committer.enter()

    with pytest.raises(StoreError, match="another event loop"):
        asyncio.run(join())
    loop.run_until_complete(asyncio.wait_for(answered(desk), 1))
    loop.close()
    asyncio.run(join())


async def answered(desk: Desk) -> None:
    desk.answer()
    await desk.committer.drain()


class Gate:
    """A failpoint that holds the writer thread at one place."""

    def __init__(self) -> None:
        self.closed_at = ""
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, name: str) -> None:
        if name == self.closed_at:
            self.reached.set()
            assert self.open.wait(10)


@pytest.mark.parametrize("point", ["commit.begin", "commit.applied", "commit.done"])
def test_a_save_whose_event_loop_ended_is_written_once(tmp_path: Path, point: str) -> None:
    """Its answer finds nobody; the next save of the context, in another event loop, settles it first."""
    gate = Gate()
    store = SQLiteSessionStore(tmp_path / "sessions.db", failpoint=gate)
    context = SwisperContext(user_id="u")

    def run(work: Awaitable[Any]) -> Any:
        async def wrapped() -> Any:
            return await work

        return asyncio.run(wrapped())

    async def leave() -> None:
        await store.save_session(context)
        context.metadata["first"] = 1
        gate.closed_at = point
        saving = asyncio.create_task(store.save_session(context))
        await asyncio.to_thread(gate.reached.wait)
        assert not saving.done()

    run(leave())
    gate.open.set()
    context.metadata["second"] = 2
    run(store.save_session(context))
    loaded = run(store.load_session(context.session_id))
    assert serialize_context(loaded) == serialize_context(context)
    assert context.version == 3
    assert loaded.metadata == {"first": 1, "second": 2}
    run(store.aclose())
