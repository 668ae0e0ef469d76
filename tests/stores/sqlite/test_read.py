"""A read is one moment of the database, whatever happens between its statements."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.stores.changes import grow, moved, new_block

from swisper_ctx.stores.sqlite import SQLiteSessionStore
from swisper_ctx.stores.sqlite.read import BLOCKS, FRAMES, HEAD

FIRST_WORDS = {"head": HEAD, "blocks": BLOCKS, "frames": FRAMES}


@pytest.mark.parametrize("statement", FIRST_WORDS.values(), ids=FIRST_WORDS)
async def test_a_whole_read_does_not_see_what_is_written_meanwhile(
    store: SQLiteSessionStore, path: Path, statement: str
) -> None:
    await grow(store, "s", 4)
    block = new_block("", 0, 0)
    await moved(store, "s", 2, added=[block])
    before = await store.read("s")
    written = []

    async def write() -> None:
        other = SQLiteSessionStore(path)
        await grow(other, "s", 6)
        await moved(other, "s", 5, added=[new_block("", 0, 0)], dropped=[block.block_id])
        await other.aclose()
        written.append(True)

    def interrupt(sql: str) -> None:
        if not written and sql.split()[:6] == statement.split()[:6]:
            asyncio.run(write())

    await store._reader.run(lambda connection, _: connection.set_trace_callback(interrupt))
    assert await store.read("s") == before
    assert written
    await store._reader.run(lambda connection, _: connection.set_trace_callback(None))
    after = await store.read("s")
    assert after is not None
    assert after.head is not None
    assert (after.head.base, [frame.version for frame in after.frames]) == (5, [6])


async def test_the_reader_cannot_write(store: SQLiteSessionStore) -> None:
    await grow(store, "s", 1)
    with pytest.raises(Exception, match="readonly"):
        await store._reader.run(lambda connection, _: connection.execute("DELETE FROM frames"))
