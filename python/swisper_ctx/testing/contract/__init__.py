"""What every store must do, as tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from swisper_ctx.stores.base import SessionStore
from swisper_ctx.testing.clock import ManualClock
from swisper_ctx.testing.contract.appending import AppendContract
from swisper_ctx.testing.contract.checkpoints import CheckpointContract
from swisper_ctx.testing.contract.closing import ClosingContract
from swisper_ctx.testing.contract.commits import CommitContract
from swisper_ctx.testing.contract.damage import DamageContract
from swisper_ctx.testing.contract.deliveries import DeliveryContract
from swisper_ctx.testing.contract.expiry import ExpiryContract
from swisper_ctx.testing.contract.listings import SessionsContract
from swisper_ctx.testing.contract.merging import MergeContract
from swisper_ctx.testing.contract.reads import ReadContract
from swisper_ctx.testing.contract.recovery import RecoveryContract
from swisper_ctx.testing.contract.replacing import ReplaceContract
from swisper_ctx.testing.contract.versions import VersionContract

__all__ = ["StoreContract"]


@pytest.mark.asyncio
class StoreContract(
    CommitContract,
    ReadContract,
    CheckpointContract,
    VersionContract,
    MergeContract,
    DeliveryContract,
    SessionsContract,
    ExpiryContract,
    AppendContract,
    DamageContract,
    RecoveryContract,
    ReplaceContract,
    ClosingContract,
):
    """The tests of a store: subclass it as `TestMyStore`, and say how the store is opened and reached from outside.

        class TestMyStore(StoreContract):
            def open_store(self, directory, clock, *, keep_versions=False):
                return MyStore(directory / "file", keep_versions=keep_versions, clock=clock)

            async def raw_read(self, store): ...
            async def raw_write(self, store, old, new): ...
            async def raw_delete(self, store, old): ...

    Each test has a new store, by the fixture `store`, and its clock, by the fixture `clock`.
    """

    def open_store(self, directory: Path, clock: ManualClock, *, keep_versions: bool = False) -> SessionStore:
        """A new and empty store, in a directory of its own if it needs one."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock of the store."""
        return ManualClock()

    @pytest_asyncio.fixture
    async def store(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[SessionStore]:
        """The store under test."""
        store = self.open_store(tmp_path, clock)
        yield store
        await store.aclose()
