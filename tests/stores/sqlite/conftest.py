from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.stores.changes import ManualClock

from swisper_ctx.stores.sqlite import SQLiteSessionStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SQLiteSessionStore]:
    store = SQLiteSessionStore(path, clock=clock)
    yield store
    await store.aclose()
