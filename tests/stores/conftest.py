from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.stores.postgres.schemas import Schemas

from swisper_ctx.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the fixture `store`."""
    return ManualClock()


@pytest.fixture
def schemas(postgres_dsn: str) -> Iterator[Schemas]:
    """Makes schemas with tables, which are dropped after the test."""
    schemas = Schemas(postgres_dsn)
    yield schemas
    schemas.drop()


@pytest.fixture
def postgres_tables(schemas: Schemas) -> str:
    """The URL of a schema with tables."""
    return schemas.new()
