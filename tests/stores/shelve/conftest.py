from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swisper_ctx.stores.shelve import ShelveSessionStore
from swisper_ctx.testing import ManualClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[ShelveSessionStore]:
    store = ShelveSessionStore(path, clock=clock)
    yield store
    await store.aclose()
