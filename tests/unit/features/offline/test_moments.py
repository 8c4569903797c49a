from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.features.offline.moments import Moments
from tests.support.examples import examples

near = st.integers(-5, 5)
far = st.one_of(near, st.sampled_from([-(2**63), 2**63 - 1, -(2**61), 2**61, 2**40]))
keyed = st.one_of(
    *(st.lists(st.tuples(st.integers(0, 3), instants), min_size=1, max_size=24) for instants in (near, far))
)


@settings(max_examples=examples(300), deadline=None)
@given(keyed, st.lists(st.tuples(st.integers(0, 3), far), min_size=1, max_size=12), st.randoms())
def test_counts_are_those_of_a_plain_search(
    rows: list[tuple[int, int]], asked: list[tuple[int, int]], chance: object
) -> None:
    """With instants near each other, and with some so far apart that key and instant do not fit one integer."""
    moments = Moments(*np.array(rows, np.int64).T)
    expected = [sum(1 for row in rows if row <= ask) for ask in asked]
    assert moments.count_until(*np.array(asked, np.int64).T).tolist() == expected


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), far, far, near), min_size=1, max_size=40), st.integers(2, 4))
def test_the_order_is_lexicographic_and_stable(rows: list[tuple[int, ...]], count: int) -> None:
    columns = [np.array(column, np.int64) for column in zip(*rows, strict=True)][:count]
    moments = Moments(*columns)
    assert moments.order.tolist() == np.lexsort(columns[::-1]).tolist()
    assert moments.at(np.arange(len(rows))).tolist() == columns[1][moments.order].tolist()


@pytest.mark.parametrize("span", [1, 10**3, 10**9, 2**62])
@pytest.mark.parametrize("keys", [1, 7, 2**20])
def test_many_rows_of_few_and_many_keys(span: int, keys: int) -> None:
    """Through several blocks; an outlier makes all other instants share one cell of their key."""
    chance = np.random.default_rng(span % 97 + keys)
    rows = 70_000
    number, instant, created = (chance.integers(0, top, rows) for top in (keys, 1000, 3))
    instant[0] = span
    moments = Moments(number, instant, created)
    assert np.array_equal(moments.order, np.lexsort([created, instant, number]))
    asked, at = chance.integers(0, keys, 5000), chance.integers(-2, 1002, 5000)
    pairs = number[moments.order].astype(object) * 2**64 + instant[moments.order]
    expected = np.searchsorted(pairs, asked.astype(object) * 2**64 + at, side="right")
    assert np.array_equal(moments.count_until(asked, at), expected)


def test_no_rows() -> None:
    empty = np.array([], np.int64)
    assert Moments(empty, empty).count_until(empty, empty).tolist() == []
    assert Moments(empty, empty).count_until(np.array([0]), np.array([1])).tolist() == [0]
