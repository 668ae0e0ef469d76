"""Percentiles of many numbers, against sorting them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swisper_ctx._core import Histogram


@given(values=st.lists(st.integers(0, 2**40), min_size=1, max_size=300), percent=st.floats(0, 100))
def test_a_percentile_is_within_one_percent_of_the_sorted_values(values: list[int], percent: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    rank = max(1, math.ceil(percent / 100 * len(values)))
    # A rank that is a whole number but for rounding may be taken for its neighbour.
    near = sorted(values)[max(0, rank - 2) : rank + 1]
    found = histogram.percentile(percent)
    assert any(abs(found - value) <= value / 100 + 1 for value in near)
    assert histogram.count == len(values)
    assert abs(histogram.max - max(values)) <= max(values) / 100


def test_an_empty_one_says_zero() -> None:
    histogram = Histogram()
    assert (histogram.percentile(99), histogram.max, histogram.count) == (0, 0, 0)


def test_what_is_no_count_or_percentage_is_refused() -> None:
    histogram = Histogram()
    with pytest.raises(OverflowError):
        histogram.record(-1)
    for percent in (-0.1, 100.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 100"):
            histogram.percentile(percent)
    assert histogram.count == 0
