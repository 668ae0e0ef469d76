"""Cancelling, closing, forgetting, forking: whatever becomes of the caller, the thread goes on."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.changes import append, committed, creation, grow

from swisper_ctx.errors import StoreError
from swisper_ctx.log import Change
from swisper_ctx.stores.sqlite import SQLiteSessionStore


class Gate:
    """A failpoint that can hold the thread back, or fail."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.reached, self.open = threading.Event(), threading.Event()
        self.closed_at = self.fails_at = ""

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if name == self.closed_at:
            self.reached.set()
            assert self.open.wait(10)
        if name == self.fails_at:
            raise InterruptedError(name)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


async def test_failpoints(path: Path, gate: Gate) -> None:
    store = SQLiteSessionStore(path, failpoint=gate)
    await grow(store, "s", 1)
    stored = await store.read("s")
    assert stored is not None
    await store.delete(["s"])
    assert gate.passed == [f"{job}.{step}" for job in ("commit", "delete") for step in ("begin", "applied", "done")]
    await store.aclose()


@pytest.mark.parametrize(("point", "written"), [("begin", False), ("applied", False), ("done", True)])
async def test_an_error_at_a_failpoint_reaches_the_caller(path: Path, gate: Gate, point: str, written: bool) -> None:
    store = SQLiteSessionStore(path, failpoint=gate)
    etag = await grow(store, "s", 1)
    change, creating = append("s", etag), creation("t")
    gate.fails_at = f"commit.{point}"
    with pytest.raises(InterruptedError):
        await store.commit([change, creating])
    gate.fails_at = ""
    assert await store.etags(["s", "t"]) == ({"s": change.etag, "t": creating.etag} if written else {"s": etag})
    await store.aclose()


@pytest.mark.parametrize("point", ["begin", "applied", "done"])
async def test_a_cancelled_commit_is_finished(path: Path, gate: Gate, point: str) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    store = SQLiteSessionStore(path, failpoint=gate)
    etag = await grow(store, "s", 1)
    gate.closed_at = f"commit.{point}"
    change = append("s", etag)
    caller = asyncio.create_task(store.commit([change]))
    await asyncio.to_thread(gate.reached.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.open.set()
    await committed(store, append("s", change.etag))
    await store.aclose()
    assert complaints == []


async def test_a_cancelled_read_leaves_the_store_usable(path: Path) -> None:
    store = SQLiteSessionStore(path)
    etag = await grow(store, "s", 1)
    for _ in range(50):
        readers = [asyncio.create_task(store.read("s")) for _ in range(4)]
        await asyncio.sleep(0)
        for reader in readers:
            reader.cancel()
    assert await store.etags(["s"]) == {"s": etag}
    await store.aclose()


async def test_closing_finishes_what_was_begun(path: Path, gate: Gate) -> None:
    store = SQLiteSessionStore(path, failpoint=gate)
    etag = await grow(store, "s", 1)
    gate.closed_at = "commit.applied"
    change = append("s", etag)
    saving = asyncio.create_task(store.commit([change]))
    await asyncio.to_thread(gate.reached.wait)
    closing = asyncio.create_task(store.aclose())
    await asyncio.sleep(0.01)
    gate.open.set()
    await closing
    (result,) = await saving
    assert result.time is not None
    again = SQLiteSessionStore(path)
    assert await again.etags(["s"]) == {"s": change.etag}
    await again.aclose()


def test_a_loop_that_is_gone_before_the_answer(path: Path, gate: Gate) -> None:
    store = SQLiteSessionStore(path, failpoint=gate)
    change = creation("s")

    async def leave() -> None:
        asyncio.create_task(store.commit([change]))  # noqa: RUF006 it dies with the loop
        await asyncio.to_thread(gate.reached.wait)

    gate.closed_at = "commit.begin"
    asyncio.run(leave())
    gate.open.set()

    async def look() -> None:
        await committed(store, append("s", change.etag))
        await store.aclose()

    asyncio.run(look())


def test_several_loops_at_once(path: Path) -> None:
    store = SQLiteSessionStore(path)
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            asyncio.run(grow(store, name, 20))
        except BaseException as error:  # noqa: BLE001 judged by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    etags = asyncio.run(store.etags("abcd"))
    assert [etags[name].version for name in "abcd"] == [20] * 4
    asyncio.run(store.aclose())


def test_a_forgotten_store_ends_its_threads(path: Path) -> None:
    store = SQLiteSessionStore(path)
    asyncio.run(grow(store, "s", 2))
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("swisper-sqlite")]
    assert len(mine) == 2
    del store
    gc.collect()
    for thread in mine:
        thread.join(10)
        assert not thread.is_alive()


class Group(list[Change]):
    """A list that can be watched."""


async def test_an_idle_thread_holds_no_content(path: Path) -> None:
    store = SQLiteSessionStore(path)
    group = Group([creation("s")])
    await store.commit(group)
    watched = weakref.ref(group)
    del group
    for _ in range(100):
        gc.collect()
        if watched() is None:
            break
        await asyncio.sleep(0.01)
    assert watched() is None
    await store.aclose()


async def test_a_transaction_left_open_harms_no_other(path: Path) -> None:
    store = SQLiteSessionStore(path)
    etag = await grow(store, "s", 1)
    await store._writer.run(lambda connection, _: connection.execute("BEGIN IMMEDIATE"))
    await committed(store, append("s", etag))
    await store.aclose()


async def test_a_store_that_was_never_used_has_no_thread(path: Path) -> None:
    before = threading.active_count()
    store = SQLiteSessionStore(path)
    await store.aclose()
    assert threading.active_count() == before
    with pytest.raises(StoreError, match="closed"):
        await store.etags(["s"])


FORK = """
import asyncio, os, sys, warnings
from swisper_ctx.errors import StoreError
from swisper_ctx.log import Change
from swisper_ctx.stores.sqlite import SQLiteSessionStore

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
used, unused = SQLiteSessionStore(sys.argv[1]), SQLiteSessionStore(sys.argv[1])
asyncio.run(used.etags(["s"]))  # the writer has no thread yet
child = os.fork()
if child == 0:
    for operation in (used.etags, used.delete):
        try:
            asyncio.run(operation(["s"]))
        except StoreError as error:
            assert "fork" in str(error), error
        else:
            os._exit(1)
    asyncio.run(used.aclose())
    assert asyncio.run(unused.etags(["s"])) == {}
    asyncio.run(unused.aclose())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert asyncio.run(used.etags(["s"])) == {}
asyncio.run(used.aclose())
"""


def test_no_store_survives_a_fork(path: Path) -> None:
    child = [sys.executable, "-W", "error", "-c", FORK, str(path)]
    ended = subprocess.run(child, check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
