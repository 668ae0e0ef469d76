"""What is left of a store that was closed."""

from __future__ import annotations

import pytest

from swisper_ctx.errors import StoreError
from swisper_ctx.log import Checkpoint
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.changes import creation, grow, new_head


class ClosingContract:
    """What is left of a store that was closed."""

    async def test_a_closed_store_does_nothing_more(self, store: SessionStore) -> None:
        await grow(store, "s", 2)
        await store.aclose()
        await store.aclose()
        for operation in (
            store.etags(["s"]),
            store.read("s"),
            store.read_version("s", 1),
            store.blocks("s", [bytes(16)]),
            store.frames("s"),
            store.commit([creation("t")]),
            store.checkpoint(Checkpoint("s", bytes(16), new_head(), (), ())),
            store.delete(["s"]),
            store.sessions(),
            store.bodies("s"),
            store.replace("s", []),
        ):
            with pytest.raises(StoreError, match="closed"):
                await operation
