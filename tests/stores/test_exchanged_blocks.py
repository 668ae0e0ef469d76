"""Rows of blocks that are not those the head was written with: of lists, they are found when a list is touched."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from swisper_ctx import CorruptSessionError, Message, SwisperContext, dumps, serialize_context
from swisper_ctx.cli.verify import problems_of
from swisper_ctx.log import Block
from swisper_ctx.stores.cache import SessionCache
from swisper_ctx.stores.loaded import opened
from swisper_ctx.stores.memory import MemorySessionStore

LENGTH = 1000
ANOTHER = bytes(range(16))

Blocks = list[Block]


def exchange_positions(blocks: Blocks) -> None:
    a, b = blocks[1], blocks[2]
    blocks[1:3] = [b._replace(position=a.position), a._replace(position=b.position)]


def rename(blocks: Blocks) -> None:
    blocks[1] = blocks[1]._replace(field="search_results")


def miscount(blocks: Blocks) -> None:
    blocks[1] = blocks[1]._replace(records=blocks[1].records + 1)


def take_from_elsewhere(blocks: Blocks) -> None:
    blocks[1] = blocks[1]._replace(block_id=ANOTHER)


def give_twice(blocks: Blocks) -> None:
    blocks[2] = blocks[1]


def cut_short(blocks: Blocks) -> None:
    blocks[1] = blocks[1]._replace(block_id=b"short")


CHANGES = [exchange_positions, rename, miscount, take_from_elsewhere, give_twice, cut_short]
changes = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


async def session() -> tuple[MemorySessionStore, str]:
    """One with its messages in blocks, which has the other things too."""
    store, context = MemorySessionStore(), SwisperContext(user_id="u", product_query="fridge")
    for number in range(LENGTH):
        content = f"{number} {Random(number).randbytes(250).hex()}"
        context.conversation_history.append(Message("user", content))
    await store.save_session(context)
    await store._checkpointer.settle()
    return store, context.session_id


def spoil(store: MemorySessionStore, session_id: str, change: Callable[[Blocks], None]) -> None:
    stored = store._sessions[session_id]
    rows = [row for row in stored.blocks if row.dropped_at is None]
    blocks = sorted((row.block for row in rows), key=lambda block: (block.field, block.position))
    change(blocks)
    spoiled = tuple(rows[0]._replace(block=block) for block in blocks)
    store._sessions[session_id] = stored._replace(blocks=spoiled)


async def loaded(store: MemorySessionStore | SessionCache, session_id: str, tail: int | None = None) -> SwisperContext:
    context = await store.load_session(session_id, tail=tail)
    assert context is not None
    return context


def reads(context: SwisperContext) -> list[Callable[[], object]]:
    history = context.conversation_history
    return [
        lambda: history[0],
        lambda: history[-1],
        lambda: history[-2:],
        lambda: next(iter(history)),
        lambda: next(reversed(history)),
        lambda: history.select("content"),
        history.to_dicts,
        lambda: context.chat(1),
        lambda: dumps(context),
        lambda: serialize_context(context),
        lambda: history.index_of("nobody"),
        lambda: history.__delitem__(0),
        lambda: history == history[:],
    ]


@changes
async def test_no_record_of_them_is_given_out(change: Callable[[Blocks], None]) -> None:
    store, session_id = await session()
    spoil(store, session_id, change)
    for tail in (None, 20):
        context = await loaded(store, session_id, tail)
        assert (context.product_query, len(context.conversation_history)) == ("fridge", LENGTH)
        for number, read in enumerate(reads(context)):
            with pytest.raises(CorruptSessionError) as caught:
                read()
            assert caught.value.session_id == session_id, number
            assert caught.value.block is not None


@changes
async def test_what_is_appended_is_saved_and_no_checkpoint_is_made_of_them(change: Callable[[Blocks], None]) -> None:
    store, session_id = await session()
    spoil(store, session_id, change)
    heads, blocks = store._sessions[session_id].heads, store._sessions[session_id].blocks
    context = await loaded(store, session_id)
    for number in range(300):
        context.conversation_history.append(Message("user", Random(number).randbytes(600).hex()))
        await store.save_session(context)
    await store._checkpointer.settle()
    after = store._sessions[session_id]
    assert (after.heads, after.blocks) == (heads, blocks)
    assert context.conversation_history[-1].content == Random(299).randbytes(600).hex()
    again = await loaded(store, session_id)
    assert len(again.conversation_history) == LENGTH + 300
    with pytest.raises(CorruptSessionError):
        again.conversation_history[LENGTH - 1]


@changes
async def test_they_are_told_to_whoever_looks_for_damage(change: Callable[[Blocks], None]) -> None:
    store, session_id = await session()
    assert await problems_of(store, session_id) == []
    spoil(store, session_id, change)
    assert await problems_of(store, session_id)
    with pytest.raises(CorruptSessionError):
        await store.fork(session_id, user_id="u")
    assert (await store.recover(session_id, dry_run=True)).bad_blocks


@pytest.mark.parametrize("change", [lambda blocks: blocks.pop(), lambda blocks: blocks.append(blocks[-1])])
async def test_a_row_less_or_more_is_found_by_the_load(change: Callable[[Blocks], None]) -> None:
    store, session_id = await session()
    spoil(store, session_id, change)
    with pytest.raises(CorruptSessionError, match="its blocks are not those it was written with"):
        await store.load_session(session_id)


async def test_values_that_are_not_those_of_the_head_are_found_by_the_load() -> None:
    store, session_id = await session()
    spoil(store, session_id, lambda blocks: blocks.__setitem__(0, blocks[0]._replace(block_id=ANOTHER)))
    with pytest.raises(CorruptSessionError, match="its blocks are not those it was written with"):
        await store.load_session(session_id)


async def test_rows_may_come_in_any_order() -> None:
    store, session_id = await session()
    stored = await store.read(session_id)
    assert stored is not None
    expected = serialize_context(opened(stored, SwisperContext))
    for seed in range(20):
        blocks = list(stored.blocks)
        Random(seed).shuffle(blocks)
        assert serialize_context(opened(stored._replace(blocks=tuple(blocks)), SwisperContext)) == expected


async def test_a_cache_weighs_and_serves_them_without_giving_out_a_record() -> None:
    store, session_id = await session()
    spoil(store, session_id, exchange_positions)
    cache = SessionCache(store)
    for _ in range(2):
        context = await loaded(cache, session_id)
        assert context.product_query == "fridge"
        with pytest.raises(CorruptSessionError):
            context.conversation_history[0]


async def test_threads_that_touch_a_list_at_the_same_time_see_the_same() -> None:
    store, session_id = await session()
    stored = await store.read(session_id)
    assert stored is not None
    with ThreadPoolExecutor(8) as threads:
        for _ in range(50):
            context = opened(stored, SwisperContext)
            found = list(threads.map(context.conversation_history.__getitem__, [500] * 8))
            assert [message.content for message in found] == [f"500 {Random(500).randbytes(250).hex()}"] * 8
