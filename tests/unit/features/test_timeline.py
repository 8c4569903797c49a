from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.features.timeline import Moments, total_order

instants = st.one_of(st.integers(-5, 5), st.integers(-(2**61), 2**61))
keyed = st.lists(st.tuples(st.integers(0, 3), instants), min_size=1, max_size=20).map(sorted)


@settings(max_examples=100, deadline=None)
@given(keyed, st.lists(st.tuples(st.integers(0, 3), instants), min_size=1, max_size=10))
def test_counts_are_those_of_a_plain_search(rows: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    """With instants near each other, and with some so far apart that key and instant do not fit one integer."""
    moments = Moments(*np.array(rows, np.int64).T)
    expected = [sum(1 for row in rows if row <= ask) for ask in asked]
    assert moments.count_until(*np.array(asked, np.int64).T).tolist() == expected


def test_no_rows() -> None:
    empty = np.array([], np.int64)
    assert Moments(empty, empty).count_until(empty, empty).tolist() == []


@pytest.mark.parametrize("repeat", range(3))
def test_total_order_is_lexicographic_and_stable(repeat: int) -> None:
    chance = np.random.default_rng(repeat)
    columns = [chance.integers(0, 3, 200) for _ in range(3)]
    assert total_order(columns).tolist() == np.lexsort(columns[::-1]).tolist()
