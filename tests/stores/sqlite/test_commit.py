"""Groups of which some cannot be stored, and the plans of the statements that every turn runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stores.changes import START, ManualClock, append, commit, committed, creation, grow, new_head

from swisper_ctx.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from swisper_ctx.log import Change, CommitResult, Etag
from swisper_ctx.stores.committer import PostponedError
from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.stores.sqlite.commit import (
    ADD_FRAME,
    ADD_FRAMES,
    EXPIRE,
    MOVE,
    MOVE_MANY,
    MOVE_ONCE,
    NAME_CHANGE,
    SIZES,
    failures,
    group_deadline,
)


def too_large(etag: Etag) -> Change:
    return append("b", etag, frame=bytes(200_000))


def not_text(etag: Etag) -> Change:
    return append("b", etag, change_id="\ud800")


def not_a_number(etag: Etag) -> Change:
    return append("b", etag, messages=2**63)


def not_bytes(etag: Etag) -> Change:
    return append("b", etag)._replace(frame=object())  # type: ignore[arg-type]


def no_user(etag: Etag) -> Change:
    return creation("new")._replace(user_id=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("poison", [too_large, not_text, not_a_number, not_bytes, no_user])
async def test_a_change_that_cannot_be_stored_fails_alone(store: SQLiteSessionStore, poison: Any) -> None:
    etags = [await committed(store, creation(name)) for name in "abc"]
    await store._writer.run(lambda connection, _: connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000))
    group = [append("a", etags[0]), poison(etags[1]), append("c", etags[2])]
    results = await store.commit(group)
    assert [result.time for result in results] == [START, None, START]
    assert type(results[1].error) is StoreError
    assert results[1].error.__cause__ is not None
    assert await store.etags(["a", "b", "c", "new"]) == {"a": group[0].etag, "b": etags[1], "c": group[2].etag}
    assert len(await store.frames("b")) == 1


async def test_a_frame_left_over_fails_its_session_alone(store: SQLiteSessionStore, path: Path) -> None:
    etags = [await committed(store, creation(name)) for name in "abc"]
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO frames (session, version, token, time) VALUES (2, 2, x'00', 0)")
    results = await store.commit([append(name, etag) for name, etag in zip("abc", etags, strict=True)])
    assert [result.time for result in results] == [START, None, START]
    assert isinstance(results[1].error, StoreError)
    assert (await store.etags(["b"]))["b"] == etags[1]


async def test_a_full_database_leaves_nothing_half_written(store: SQLiteSessionStore) -> None:
    etags = {name: await committed(store, creation(name)) for name in "abc"}

    def room(connection: sqlite3.Connection, pages: int) -> None:
        (now,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {now + pages}")

    await store._writer.run(lambda connection, _: room(connection, 50))
    group = [append(name, etag, frame=bytes(30_000)) for name, etag in etags.items()]
    for size in (3, 2, 1):
        results = await store.commit(group[:size] if size > 1 else [group[0]._replace(frame=bytes(100_000))])
        assert [type(result.error) for result in results] == [StoreUnavailableError] * size
        assert "full" in str(results[0].error)
        assert await store.etags("abc") == etags
        assert [len(await store.frames(name)) for name in "abc"] == [1, 1, 1]
    assert await commit(store, append("a", etags["a"])) == [CommitResult(START)]
    await store._writer.run(lambda connection, _: room(connection, 10_000))
    assert await store.commit(group[1:]) == [CommitResult(START)] * 2


class BrokenConnection(sqlite3.Connection):
    """Fails at COMMIT, before or after doing it, as a disk may."""

    fault = ""
    code = sqlite3.SQLITE_IOERR

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self.cursor(BrokenCursor).execute(sql, *values)


class BrokenCursor(sqlite3.Cursor):
    def execute(self, sql: str, *values: Any) -> Self:
        if sql != "COMMIT" or not BrokenConnection.fault:
            return super().execute(sql, *values)
        if BrokenConnection.fault == "after":
            super().execute(sql)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = BrokenConnection.code
        raise error


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> type[BrokenConnection]:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=BrokenConnection))
    monkeypatch.setattr(BrokenConnection, "fault", "")
    monkeypatch.setattr(BrokenConnection, "code", sqlite3.SQLITE_IOERR)
    return BrokenConnection


@pytest.mark.parametrize("size", [1, 3])
async def test_a_commit_that_was_done_in_spite_of_its_error(
    broken: type[BrokenConnection], store: SQLiteSessionStore, size: int
) -> None:
    created = [creation(f"s{number}") for number in range(size)]
    await store.commit(created)
    broken.fault = "after"
    group = [append(change.session_id, change.etag) for change in created]
    assert await store.commit(group) == [CommitResult(START)] * size
    broken.fault = ""
    assert await store.etags([change.session_id for change in group]) == {c.session_id: c.etag for c in group}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_IOERR, OutcomeUnknownError),
        (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknownError),
        (sqlite3.SQLITE_FULL, StoreUnavailableError),
        (sqlite3.SQLITE_BUSY, StoreUnavailableError),
    ],
)
@pytest.mark.parametrize("size", [1, 3])
async def test_a_commit_that_was_not_done(
    broken: type[BrokenConnection], store: SQLiteSessionStore, size: int, code: int, expected: type[StoreError]
) -> None:
    created = [creation(f"s{number}") for number in range(size)]
    await store.commit(created)
    broken.fault, broken.code = "before", code
    group = [append(change.session_id, change.etag) for change in created]
    results = await store.commit(group)
    assert [type(result.error) for result in results] == [expected] * size
    broken.fault = ""
    assert await store.etags([c.session_id for c in created]) == {c.session_id: c.etag for c in created}
    assert await store.commit(group) == [CommitResult(START)] * size


async def test_a_group_never_searches_row_by_row(store: SQLiteSessionStore, path: Path) -> None:
    await grow(store, "s", 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN")
        key = "printf('%032x', random())"
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO sessions "
            f"SELECT i, {key} || i, 'u', 1, x'00', 1, 0, 0, 0, nullif(i % 7, 0) FROM n"
        )
        database.execute("INSERT INTO frames SELECT key, key, 1, x'00', NULL, 0, x'00' FROM sessions WHERE key > 1")
        database.execute("COMMIT")
        for analysed in (False, True):
            if analysed:
                database.execute("ANALYZE")
            for statement in (
                MOVE,
                MOVE_ONCE,
                EXPIRE,
                *MOVE_MANY.values(),
                ADD_FRAME,
                *ADD_FRAMES.values(),
                NAME_CHANGE,
            ):
                plan = [
                    row[3]
                    for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", (None,) * statement.count("?"))
                ]
                walked = [step for step in plan if step.startswith("SCAN") and "CONSTANT ROW" not in step]
                assert walked in ([], ["SCAN change"])


async def traced(store: SQLiteSessionStore, group: list[Change]) -> list[str]:
    """The first words of the statements that commit a group."""
    statements: list[str] = []
    await store._writer.run(lambda connection, _: connection.set_trace_callback(statements.append))
    await store.commit(group)
    await store._writer.run(lambda connection, _: connection.set_trace_callback(None))
    return [" ".join(statement.split()[:2]) for statement in statements]


async def test_a_group_is_a_handful_of_statements(store: SQLiteSessionStore) -> None:
    etags = {f"s{number}": Etag(1, bytes(16)) for number in range(96)}
    await store.commit([creation(name, change_id="once")._replace(etag=etag) for name, etag in etags.items()])
    group = [append(name, etag) for name, etag in etags.items()]
    expected = ["BEGIN IMMEDIATE", *["UPDATE sessions", "INSERT INTO"] * 2, "COMMIT"]
    assert await traced(store, group) == expected


async def test_a_group_with_a_known_change_id_is_two_attempts(store: SQLiteSessionStore) -> None:
    etags = {f"s{number}": Etag(1, bytes(16)) for number in range(4)}
    await store.commit([creation(name, change_id="once")._replace(etag=etag) for name, etag in etags.items()])
    statements = await traced(store, [append(name, etag, change_id="once") for name, etag in etags.items()])
    assert [statements.count(word) for word in ("BEGIN IMMEDIATE", "ROLLBACK", "COMMIT")] == [2, 1, 1]


async def test_a_turn_writes_no_index_of_sessions(store: SQLiteSessionStore, path: Path) -> None:
    await grow(store, "s", 1)
    with closing(sqlite3.connect(path)) as database:
        for statement in (MOVE, MOVE_ONCE, *MOVE_MANY.values()):
            program = database.execute(f"EXPLAIN {statement}", (None,) * statement.count("?"))
            assert {step[1] for step in program} & {"IdxInsert", "IdxDelete"} == set()


def test_every_size_of_group_can_be_cut() -> None:
    assert SIZES[-1] == 1
    assert list(SIZES) == sorted(SIZES, reverse=True)


async def test_the_first_head_comes_with_the_session(store: SQLiteSessionStore, clock: ManualClock) -> None:
    head = new_head()
    await committed(store, creation("s", head=head))
    stored = await store.read("s")
    assert stored is not None
    assert stored.head == head


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=4), st.floats(1e-3, 100))
def test_a_group_that_met_a_locked_file_gives_up_those_that_have_waited_their_time(
    times: list[float], timeout: float
) -> None:
    """One at least, however the sums are rounded: else the same would be tried again and again without a pause."""
    changes = [creation(str(number))._replace(since=since) for number, since in enumerate(times)]
    deadline = group_deadline(changes, timeout)
    assert deadline is not None
    assert deadline <= min(times) + 1.1 * timeout
    error = sqlite3.OperationalError()
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    results = failures(error, changes, deadline, timeout)
    put_off = [isinstance(result.error, PostponedError) for result in results]
    assert not all(put_off)
    assert put_off == [since + timeout > deadline for since in times]
    assert all(isinstance(result.error, StoreUnavailableError) for result in results)
