"""What only a shelf can show: its lock, its bytes, what a turn touches, and who may have it open."""

from __future__ import annotations

import asyncio
import operator
import os
import pickle
import shelve
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swisper_ctx import Message, SwisperContext, serialize_context
from swisper_ctx.errors import CorruptSessionError, OutcomeUnknownError, StoreError, StoreUnavailableError
from swisper_ctx.log import GRACE_TIME, RETRY_WINDOW, Etag
from swisper_ctx.stores.shelve import ShelveSessionStore, shelf
from swisper_ctx.stores.shelve.rows import part_of_frame
from swisper_ctx.stores.shelve.shelf import FORMAT, BytesShelf, key_of
from swisper_ctx.testing import ManualClock
from swisper_ctx.testing.changes import append, commit, committed, creation, grow, moved, new_block


async def raw(store: ShelveSessionStore, work: Callable[[Any], Any]) -> Any:
    """What `work` gives for the dbm object, in the thread that has it."""
    return await store._thread.run(lambda file, _: work(file.shelf._database))


async def keys(store: ShelveSessionStore) -> set[bytes]:
    return set(await raw(store, lambda database: database.keys()))


async def test_everything_is_there_after_reopening(path: Path) -> None:
    store = ShelveSessionStore(path)
    for name in ("s", "t", "r"):
        await grow(store, name, 5)
    await store.delete(["t"])
    await moved(store, "s", 3, added=[new_block("history", 0, 2)])
    before = await store.read("s"), await store.frames("s"), await store.sessions()
    await store.aclose()
    store = ShelveSessionStore(str(path))
    assert (await store.read("s"), await store.frames("s"), await store.sessions()) == before
    await committed(store, creation("new"))
    assert [line.session_id for line in (await store.sessions()).sessions] == ["new", "r", "s"]
    await store.aclose()


async def test_a_path_belongs_to_one_store(path: Path) -> None:
    one, other = ShelveSessionStore(path), ShelveSessionStore(path)
    await grow(one, "s", 1)
    with pytest.raises(StoreError, match="sqlite://"):
        await other.read("s")
    await one.aclose()
    assert await other.read("s") is not None
    await other.aclose()


HOLD = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); input()"


def test_another_process_keeps_it_out(path: Path) -> None:
    command = [sys.executable, "-c", HOLD, f"{path}.lock"]
    store = ShelveSessionStore(path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StoreError, match="open in another store"):
            asyncio.run(store.read("s"))
        holder.communicate(b"\n")
    assert asyncio.run(store.read("s")) is None
    asyncio.run(store.aclose())


class Bomb:
    def __reduce__(self) -> Any:
        return os.abort, ()


async def test_a_pickle_in_the_file_is_damage_and_is_not_loaded(store: ShelveSessionStore) -> None:
    await grow(store, "s", 2)
    other = await grow(store, "t", 2)
    name = key_of("s", part_of_frame(2)).encode()
    await raw(store, lambda database: operator.setitem(database, name, pickle.dumps(Bomb())))
    with pytest.raises(CorruptSessionError, match="frame/2 of session s") as caught:
        await store.read("s")
    assert caught.value.session_id == "s"
    await committed(store, append("t", other))


def test_a_shelf_never_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("pickle was called")

    monkeypatch.setattr(shelve, "Pickler", forbidden)
    monkeypatch.setattr(shelve, "Unpickler", forbidden)
    shelf = BytesShelf({})
    shelf["k"] = b"value"
    shelf.update({"l": b""})
    assert (shelf["k"], shelf.get("l"), shelf.setdefault("m", b"m"), shelf.pop("k")) == (b"value", b"", b"m", b"value")
    assert (list(shelf.values()), sorted(shelf.items())) == ([b"", b"m"], [("l", b""), ("m", b"m")])
    for value in ("text", bytearray(b"x"), None, ["x"]):
        with pytest.raises(TypeError, match="bytes"):
            shelf["k"] = value  # type: ignore[assignment]
    shelf.sync()
    shelf.close()


@pytest.mark.parametrize("part", ["session", "log", "frame/2", "head/", "block/"])
@pytest.mark.parametrize("how", ["flip", "cut", "swap", "remove"])
async def test_a_damaged_value_names_its_session_and_hurts_no_other(path: Path, part: str, how: str) -> None:
    store = ShelveSessionStore(path)
    for name in "st":
        await grow(store, name, 3)
        await moved(store, name, 1, added=[new_block("history", 0, 2)])
    whole = await store.read("t")

    def damage(database: Any) -> None:
        names = [name for name in database.keys() if name.startswith(f"s\0{part}".encode())]  # noqa: SIM118
        for name in names:
            value = database[name]
            other = database[b"t" + name[1:]] if part in {"session", "log", "frame/2"} else b"a value of nobody"
            database[name] = {"flip": value[:-1] + b"?", "cut": value[:3], "swap": other, "remove": b""}[how]
            if how == "remove":
                del database[name]

    await raw(store, damage)
    await store.aclose()
    store = ShelveSessionStore(path)
    if (part, how) == ("session", "remove"):
        assert await store.read("s") is None
    else:
        with pytest.raises(CorruptSessionError) as caught:
            await store.read("s")
        assert caught.value.session_id == "s"
        assert await store.delete(["s"]) == 1
        assert not any(name.startswith(b"s\0") for name in await keys(store))
    assert await store.read("t") == whole
    assert "t" in {line.session_id for line in (await store.sessions()).sessions}
    await committed(store, creation("s"))
    await store.aclose()


async def test_a_turn_writes_its_frame_and_the_row(store: ShelveSessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[str] = []
    put, get = BytesShelf.__setitem__, BytesShelf.__getitem__

    def watched_put(shelf: BytesShelf, key: str, value: bytes) -> None:
        touched.append(key)
        put(shelf, key, value)

    def watched_get(shelf: BytesShelf, key: str) -> bytes:
        touched.append(key)
        return get(shelf, key)

    monkeypatch.setattr(BytesShelf, "__setitem__", watched_put)
    monkeypatch.setattr(BytesShelf, "__getitem__", watched_get)
    for versions in (2, 300):
        etag = await grow(store, "s", versions)
        touched.clear()
        await committed(store, append("s", etag))
        assert touched == [f"s\0frame/{versions + 1}", "s\0session"]


async def test_purged_and_deleted_sessions_leave_no_keys(store: ShelveSessionStore, clock: ManualClock) -> None:
    await grow(store, "other", 2)
    before = await keys(store)
    await committed(store, creation("s", change_id="first"))
    block = new_block("history", 0, 1)
    await moved(store, "s", 1, added=[block])
    clock.advance(GRACE_TIME)
    await grow(store, "s", 200)
    await moved(store, "s", 150, added=[new_block("history", 0, 2)], dropped=[block.block_id])
    clock.advance(GRACE_TIME + RETRY_WINDOW)
    await grow(store, "s", 400)
    head = await moved(store, "s", 400)
    left = {name.decode().partition("\0")[2] for name in await keys(store) - before}
    assert {part for part in left if part.startswith("frame/")} == {f"frame/{number}" for number in range(150, 401)}
    assert {part for part in left if part.startswith("change/")} == set()
    assert len([part for part in left if part.startswith("head/")]) == 2
    assert f"head/{head.stamp.hex()}" in left
    assert await store.delete(["s"]) == 1
    assert await keys(store) == before


async def test_ids_that_share_their_beginning_stay_apart(store: ShelveSessionStore) -> None:
    names = ["", "a", "a\0session", "a\0b", "\0format", "\0"]
    for name in names:
        await grow(store, name, 2)
    assert await store.delete(["a", ""]) == 2
    assert {line.session_id for line in (await store.sessions()).sessions} == set(names) - {"a", ""}
    for name in names[2:]:
        assert len(await store.frames(name)) == 2


@pytest.mark.parametrize("point", ["begin", "applied"])
async def test_what_ended_before_its_row_is_not_in_the_log(path: Path, point: str) -> None:
    def stop(name: str) -> None:
        if armed and name == f"commit.{point}":
            raise InterruptedError

    armed = False
    store = ShelveSessionStore(path, failpoint=stop)
    etag = await grow(store, "s", 1)
    armed = True
    with pytest.raises(InterruptedError):
        await commit(store, append("s", etag, frame=b"lost", change_id="c"), creation("t"))
    armed = False
    assert await store.etags(["s", "t"]) == {"s": etag}
    assert len(await store.frames("s")) == 1
    await committed(store, append("s", etag, frame=b"kept", change_id="c"))
    assert [frame.body for frame in await store.frames("s", after=1)] == [b"kept"]
    await store.aclose()


@pytest.mark.parametrize(
    ("part", "error"), [("frame", StoreUnavailableError), ("session", OutcomeUnknownError)], ids=["frame", "row"]
)
async def test_a_write_that_fails_is_told_and_the_file_is_opened_anew(
    store: ShelveSessionStore, monkeypatch: pytest.MonkeyPatch, part: str, error: type[Exception]
) -> None:
    etag = await grow(store, "s", 1)
    put = BytesShelf.__setitem__

    def full(self: BytesShelf, key: str, value: bytes) -> None:
        if part in key:
            raise OSError(28, "No space left on device")
        put(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(BytesShelf, "__setitem__", full)
        (result,) = await commit(store, append("s", etag))
        assert type(result.error) is error
    assert await store.etags(["s"]) == {"s": etag}
    await committed(store, append("s", etag))


async def test_a_file_of_anybody_else_is_refused_and_left_alone(path: Path) -> None:
    with shelve.open(str(path)) as other:
        other["settings"] = {"a": 1}
    store = ShelveSessionStore(path)
    with pytest.raises(StoreError, match="another application"):
        await store.read("s")
    await store.aclose()
    with shelve.open(str(path)) as other:
        assert dict(other) == {"settings": {"a": 1}}


def test_a_file_that_is_no_shelf_is_refused(path: Path) -> None:
    path.write_bytes(b"a text and no shelf")
    with pytest.raises(StoreError, match="another application"):
        asyncio.run(ShelveSessionStore(path).read("s"))


def spoil(how: str, path: Path) -> None:
    index = path.with_name(f"{path.name}.dir")
    content = index.read_bytes()
    key = next(line for line in content.splitlines() if b"session" in line)
    index.write_bytes(
        {
            "empty": b"",
            "first byte": b"?" + content[1:],
            "cut": content[:-4],
            "no tuple": content + b"7\n",
            "no place": content.replace(key, key[: key.index(b", ")] + b", (1,)"),
            "a place before the file": content.replace(key, key[: key.index(b", ")] + b", (-1, 5)"),
            "a size that is text": content.replace(key, key[: key.index(b", ")] + b", (1, '5')"),
            "no UTF-8": content.replace(b"'s", b"'\xff"),
            "missing": content,
        }[how]
    )
    if how == "missing":
        index.unlink()


@pytest.mark.parametrize(
    "how",
    [
        "missing",
        "empty",
        "first byte",
        "cut",
        "no tuple",
        "no place",
        "a place before the file",
        "a size that is text",
        "no UTF-8",
    ],
)
async def test_a_file_of_dumb_without_its_index_is_refused_and_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(shelf, "MODULES", ("dbm.dumb",))
    for _ in range(2):
        store = ShelveSessionStore(path)
        await grow(store, "s", 3)
        await store.aclose()
    spoil(how, path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    store = ShelveSessionStore(path)
    for refused in (store.read("s"), commit(store, creation("t"))):
        with pytest.raises(StoreError, match=r"sessions\.dir, the index of the shelf, is .*sessions\.bak") as caught:
            await refused
        assert type(caught.value) is StoreError
    await store.aclose()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


async def test_a_newer_format_is_refused(path: Path) -> None:
    store = ShelveSessionStore(path)
    await store._thread.run(lambda file, _: file.shelf.update({"\0format": FORMAT + b"0"}))
    await store.aclose()
    with pytest.raises(StoreError, match="upgrade"):
        await ShelveSessionStore(path).read("s")


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    store = ShelveSessionStore(tmp_path / "absent" / "x")
    with pytest.raises(StoreError, match="absent/x") as caught:
        await store.commit([creation("s")])
    assert type(caught.value) is StoreError
    (tmp_path / "absent").mkdir()
    await grow(store, "s", 1)
    await store.aclose()


async def test_what_no_row_can_hold_fails_alone(store: ShelveSessionStore) -> None:
    changes = [creation("a"), creation("b", messages=2**63), creation("c"), creation("\ud800")]
    changes[2] = changes[2]._replace(etag=Etag(1, b"short"))
    results = await store.commit(changes)
    assert [type(result.error) for result in results] == [type(None), StoreError, StoreError, StoreError]
    assert set(await store.etags("abc")) == {"a"}


async def test_a_context_is_there_after_reopening(path: Path) -> None:
    context = SwisperContext(user_id="u")
    store = ShelveSessionStore(path)
    for number in range(400):
        context.conversation_history.append(Message(role="user", content=f"message {number}"))
        await store.save_session(context)
    await store._checkpointer.settle()
    await store.aclose()
    store = ShelveSessionStore(path)
    loaded = await store.load_session(context.session_id)
    assert loaded is not None
    assert serialize_context(loaded) == serialize_context(context)
    await store.aclose()


KILL = """
import asyncio, os, sys
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.testing.changes import grow

async def main():
    store = ShelveSessionStore(sys.argv[1])
    await grow(store, "s", 300)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def test_dumb_keeps_its_index_true_between_turns(path: Path) -> None:
    child = "import swisper_ctx.stores.shelve.shelf as shelf; shelf.MODULES = ('dbm.dumb',)\n" + KILL
    assert subprocess.run([sys.executable, "-c", child, str(path)], check=False).returncode == -9
    store = ShelveSessionStore(path)
    assert len(asyncio.run(store.frames("s"))) == 300
    asyncio.run(store.aclose())


FORK = """
import asyncio, os, sys, warnings
from swisper_ctx.errors import StoreError
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.testing.changes import grow

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
store = ShelveSessionStore(sys.argv[1])
asyncio.run(grow(store, "s", 3))
child = os.fork()
if child == 0:
    try:
        asyncio.run(store.etags(["s"]))
    except StoreError as error:
        assert "fork" in str(error), error
    else:
        os._exit(1)
    input()
    asyncio.run(store.aclose())
    sys.exit(0)
asyncio.run(grow(store, "t", 3))
asyncio.run(store.aclose())
again = ShelveSessionStore(sys.argv[1])
before = asyncio.run(again.read("t"))
asyncio.run(again.aclose())
os.write(int(sys.argv[2]), b"\\n")
assert os.waitpid(child, 0)[1] == 0
again = ShelveSessionStore(sys.argv[1])
assert asyncio.run(again.read("t")) == before != None
asyncio.run(again.aclose())
"""


def test_no_store_survives_a_fork(path: Path) -> None:
    """The child, which outlives the parent's store, neither holds the lock nor writes anything."""
    reading, writing = os.pipe()
    command = [sys.executable, "-W", "error", "-c", FORK, str(path), str(writing)]
    ended = subprocess.run(
        command, stdin=reading, pass_fds=[writing], check=False, capture_output=True, text=True, timeout=30
    )
    os.close(reading)
    os.close(writing)
    assert ended.returncode == 0, ended.stderr


def test_a_loop_that_is_gone_leaves_the_store_to_the_next(path: Path) -> None:
    store = ShelveSessionStore(path)
    etag = asyncio.run(grow(store, "s", 2))
    assert asyncio.run(store.etags(["s"])) == {"s": etag}
    asyncio.run(store.aclose())


async def test_a_file_that_cannot_be_finished_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ShelveSessionStore(path)
    etag = await grow(store, "s", 1)
    close = BytesShelf.close

    def failing(shelf: BytesShelf) -> None:
        close(shelf)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(BytesShelf, "close", failing)
        with pytest.raises(StoreError, match="when it was closed"):
            await store.aclose()
    again = ShelveSessionStore(path)
    assert await again.etags(["s"]) == {"s": etag}
    await again.aclose()


@pytest.mark.parametrize(("url", "name"), [("shelve:///in%20here", "in here"), ("shelve:///{0}/there", "there")])
async def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    store = ShelveSessionStore.from_url(url.format(tmp_path))
    await grow(store, "s", 1)
    await store.aclose()
    assert (tmp_path / f"{name}.lock").exists()


@pytest.mark.parametrize("url", ["shelve://", "shelve:///", "shelve://host/x", "shelve:///x?a=b", "shelve:///x#y"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(StoreError, match="shelve:///"):
        ShelveSessionStore.from_url(url)


def test_it_says_that_it_is_not_crash_safe() -> None:
    assert not ShelveSessionStore.crash_safe
