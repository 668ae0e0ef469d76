from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.stores.postgres.schemas import Schemas

from swisper_ctx.stores.postgres import PostgresSessionStore
from swisper_ctx.testing import ManualClock


@pytest.fixture
def schemas(postgres_dsn: str) -> Iterator[Schemas]:
    """Makes schemas with tables, which are dropped after the test."""
    schemas = Schemas(postgres_dsn)
    yield schemas
    schemas.drop()


@pytest.fixture
def url(schemas: Schemas) -> str:
    """A schema with tables."""
    return schemas.new()


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[PostgresSessionStore]:
    store = PostgresSessionStore(url, clock=clock)
    yield store
    await store.aclose()
