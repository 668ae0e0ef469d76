"""What a turn takes does not grow with the history."""

from __future__ import annotations

import shutil

import pytest
from benches.callgrind import a_turn

pytestmark = pytest.mark.full


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts them: apt-get install valgrind")
@pytest.mark.parametrize("readers", [0, 1])
def test_a_turn_takes_as_many_instructions_after_a_long_history(readers: int) -> None:
    short, long = (a_turn(messages, readers, 200).least for messages in (100, 1_000_000))
    assert long / short <= 1.05
