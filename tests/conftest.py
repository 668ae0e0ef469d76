"""How many rounds a test goes: few in everyday runs, many with SWISPER_FULL=1. Which ways of encoding it goes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from swisper_ctx._core import choose_kernels, read_directly

pytest_plugins = ["tests.servers.fixtures"]

FULL = os.environ.get("SWISPER_FULL") == "1"

# The machine that runs the tests may be busy: slowness is for the benches to judge.
settings.register_profile("everyday", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", settings.get_profile("everyday"), max_examples=3_000)
settings.load_profile("full" if FULL else "everyday")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `full` run with SWISPER_FULL=1 only."""
    if FULL:
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def effort() -> int:
    """What a test with rounds of its own multiplies them by."""
    return 50 if FULL else 1


@pytest.fixture(scope="module", params=["baseline", "avx2", "avx512", "vbmi2", "public functions"])
def way_of_encoding(request: pytest.FixtureRequest) -> Iterator[None]:
    """With each kind of kernel, and without looking past the interpreter's public functions."""
    if request.param == "public functions":
        read_directly(False)
    else:
        choose_kernels(request.param)
    yield
    read_directly(True)
    choose_kernels("vbmi2")
