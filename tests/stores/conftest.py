from __future__ import annotations

import pytest

from swisper_ctx.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the fixture `store`."""
    return ManualClock()
