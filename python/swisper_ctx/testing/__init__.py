"""For who writes a store, or tests against one: the contract of all stores, faults on demand, a clock to be set.

StoreContract needs pytest and pytest-asyncio; the rest needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swisper_ctx.testing.clock import ManualClock
from swisper_ctx.testing.faults import FaultyStore, Hang, delays, fails, loses, passes

if TYPE_CHECKING:
    from swisper_ctx.testing.contract import StoreContract

__all__ = ["FaultyStore", "Hang", "ManualClock", "StoreContract", "delays", "fails", "loses", "passes"]


def __getattr__(name: str) -> Any:
    if name != "StoreContract":
        raise AttributeError(f"module 'swisper_ctx.testing' has no attribute {name!r}")
    import pytest

    # Before the first import of it: then its assertions say what they compared.
    pytest.register_assert_rewrite("swisper_ctx.testing.contract")
    from swisper_ctx.testing.contract import StoreContract

    return StoreContract
