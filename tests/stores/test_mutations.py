"""Random edits on every store: what is replayed from it is, byte for byte, what was there, and is written once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edits import DICT_EDITS, LIST_EDITS, MADE, edit
from tests.values import identical, objects

from swisper_ctx import SwisperContext, serialize_context
from swisper_ctx.stores.registry import open_store
from swisper_ctx.testing import FaultyStore
from swisper_ctx.testing.changes import folded

# Beside something long, the patch of a small part is worth its while.
FILLER = {"filler": "x" * 500}


async def save(store: FaultyStore, context: SwisperContext) -> bool:
    """Save it; whether anything was written."""
    before = store.calls.count("commit")
    await store.save_session(context)
    return store.calls.count("commit") > before


async def check(store: FaultyStore, context: SwisperContext) -> None:
    """What is stored is what is in hand, and neither of the two is written again, looked at or not."""
    loaded = await store.load_session(context.session_id)
    assert loaded is not None
    assert loaded._position.snapshot.to_json() == context._position.snapshot.to_json()
    here, there = serialize_context(context), serialize_context(loaded)
    assert identical(here, there)
    for each in (context, loaded):
        for name in each._fields:
            getattr(each, name)
        assert not await save(store, each)


async def live(store: FaultyStore, start: dict[str, Any], data: st.DataObject) -> None:
    """A session of a few versions, with a checkpoint after some of them."""
    context = SwisperContext(metadata={**FILLER, "it": start}, soft_preferences=start)
    assert await save(store, context)
    for _ in range(data.draw(st.integers(1, 6))):
        for _ in range(data.draw(st.integers(1, 3))):
            edit(context.metadata["it"], data)
        before = context._position.snapshot.to_json()
        assert await save(store, context) is (context._position.snapshot.to_json() != before)
        if data.draw(st.booleans()):
            assert await folded(store, context)
        await check(store, context)
    for version in await store.history(context.session_id):
        assert (await store.at_version(context.session_id, version.version)).version == version.version


@pytest.mark.parametrize("scheme", ["memory", "sqlite", "shelve"])
def test_what_is_replayed_is_what_was_there(scheme: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        store = FaultyStore(open_store("memory://" if scheme == "memory" else f"{scheme}:///{tmp_path}/sessions"))

        @given(start=objects, data=st.data())
        def random_lives(start: dict[str, Any], data: st.DataObject) -> None:
            runner.run(live(store, start, data))

        named = {*(f"list {name}" for name in LIST_EDITS), *(f"dict {name}" for name in [*DICT_EDITS, "new"])}
        MADE.clear()
        for _ in range(5):  # until each kind has come up
            random_lives()
            if all(MADE[name] for name in named):
                break
        runner.run(store.aclose())
    assert {name for name in named if not MADE[name]} == set()
