from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing import ManualClock


@pytest.fixture
def url(postgres_tables: str) -> str:
    """A schema with tables."""
    return postgres_tables


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[PostgresSessionStore]:
    store = PostgresSessionStore(url, clock=clock)
    yield store
    await store.aclose()
