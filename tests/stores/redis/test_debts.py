"""What is owed to Redis: deletions first, bounded, and told where the bound is met."""

from __future__ import annotations

import pytest

from swisper_ctx.stores.redis import debts
from swisper_ctx.stores.redis.debts import Debts


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debts, "MOST_DELETED", 3)
    monkeypatch.setattr(debts, "MOST_MOVED", 2)


def test_deletions_come_first_and_moves_take_no_place_of_theirs() -> None:
    owed = Debts()
    owed.moved(f"moved {n}" for n in range(5))
    owed.deleted(["a", "b"])
    owed.deleted(["b", "c"])
    assert owed.next(4) == ["a", "b", "c", "moved 0"]
    owed.paid(["a", "b", "c", "moved 0"])
    assert owed.next(4) == ["moved 1"]


def test_a_deletion_that_finds_no_place_is_told_once_in_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    owed = Debts()
    for _ in range(2):
        owed.deleted(["a", "b", "c"])
        assert not caplog.messages
        owed.deleted(["secret"])
        owed.deleted(["secret"])
        assert owed.next(10) == ["a", "b", "c"]
        assert len(caplog.messages) == 1
        assert "secret" not in caplog.text
        owed.paid(["a", "b", "c"])
        caplog.clear()
