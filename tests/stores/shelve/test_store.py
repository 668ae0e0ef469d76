"""The contract on a shelf."""

from __future__ import annotations

from pathlib import Path

from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.stores.shelve.file import SessionFile
from swisper_ctx.testing import ManualClock, StoreContract


class TestShelveSessionStore(StoreContract):
    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> ShelveSessionStore:
        return ShelveSessionStore(directory / "sessions", keep_versions=keep_versions, clock=clock)

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        assert isinstance(store, ShelveSessionStore)

        def bodies(file: SessionFile, _: float) -> list[bytes]:
            return [value for key, value in file.shelf.items() if key != "\0format"]

        return await store._thread.run(bodies)

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        assert isinstance(store, ShelveSessionStore)

        def replace(file: SessionFile, _: float) -> None:
            for key, value in list(file.shelf.items()):
                if value.endswith(old):
                    file.shelf[key] = value.removesuffix(old) + new

        await store._thread.run(replace)

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        assert isinstance(store, ShelveSessionStore)

        def remove(file: SessionFile, _: float) -> None:
            for key, value in list(file.shelf.items()):
                if value.endswith(old):
                    del file.shelf[key]

        await store._thread.run(remove)
