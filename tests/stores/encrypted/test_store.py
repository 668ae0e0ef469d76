"""The contract on encrypted stores, one over each kind of store."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stores import test_memory
from tests.stores.postgres import test_store as test_postgres
from tests.stores.postgres.schemas import Schemas
from tests.stores.shelve import test_store as test_shelve
from tests.stores.sqlite import test_store as test_sqlite

from swisper_ctx import DecryptionError, SwisperContext
from swisper_ctx.keys import new_key
from swisper_ctx.stores.base import SessionStore
from swisper_ctx.stores.encrypted import EncryptedSessionStore
from swisper_ctx.testing import ManualClock, StoreContract

KEY = new_key()


class EncryptedContract(StoreContract):
    """What is kept is reached past both stores; what is damaged are the tokens."""

    damage_error = DecryptionError
    plain: StoreContract

    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> EncryptedSessionStore:
        inside = self.plain.open_store(directory, clock, keep_versions=keep_versions)
        return EncryptedSessionStore(KEY, inside)

    async def raw_read(self, store: SessionStore) -> list[bytes]:
        return await self.plain.raw_read(inside(store))

    async def raw_delete(self, store: SessionStore, old: bytes) -> None:
        await self.plain.raw_delete(inside(store), old)

    async def raw_write(self, store: SessionStore, old: bytes, new: bytes) -> None:
        await self.plain.raw_write(inside(store), old, new)

    async def bodies(self, store: SessionStore, context: SwisperContext) -> dict[str, bytes]:
        return await super().bodies(inside(store), context)

    async def body(self, store: SessionStore, kind: str) -> bytes:
        return await super().body(inside(store), kind)


class TestOverMemory(EncryptedContract):
    plain = test_memory.TestMemorySessionStore()


class TestOverSQLite(EncryptedContract):
    plain = test_sqlite.TestSQLiteSessionStore()


class TestOverShelve(EncryptedContract):
    plain = test_shelve.TestShelveSessionStore()


@pytest.mark.full
@pytest.mark.servers
class TestOverPostgres(EncryptedContract):
    plain = test_postgres.TestPostgresSessionStore()

    @pytest.fixture(autouse=True)
    def _on_a_server(self, schemas: Schemas) -> None:
        assert isinstance(self.plain, test_postgres.TestPostgresSessionStore)
        self.plain.schemas = schemas

    @pytest.mark.parametrize("name", ["", "Zürich", "a'b\"c;--", "𝄞" * 200])
    async def test_any_text_is_an_id(self, store: SessionStore, name: str) -> None:
        await super().test_any_text_is_an_id(store, name)


def inside(store: SessionStore) -> SessionStore:
    assert isinstance(store, EncryptedSessionStore)
    return store.store
