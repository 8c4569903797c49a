from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import NotEnoughRows
from raymlops.experiments import Resampling, mean_intervals, row_blocks, time_blocks

DAY_US = 86_400_000_000


@given(rows=st.integers(1, 5000), seed=st.integers(0, 100))
def test_groups_of_rows_are_of_equal_size(rows: int, seed: int) -> None:
    sizes = np.bincount(row_blocks(rows, seed))
    assert sizes.sum() == rows
    assert sizes.max() - sizes.min() <= 1
    assert sizes.min() >= 1


def test_blocks_follow_time() -> None:
    times = np.array([0, 1, DAY_US, 30 * DAY_US, 30 * DAY_US + 5, *(k * DAY_US for k in range(40, 50))], dtype=np.int64)
    assert time_blocks(times, Resampling()).tolist() == [0, 0, 1, 2, 2, *range(3, 13)]


@pytest.mark.parametrize("resampling", [Resampling(), Resampling(block_hours=0)])
def test_too_few_blocks_of_time_give_way_to_rows(resampling: Resampling) -> None:
    blocks = time_blocks(np.array([0, 1, 2, DAY_US], dtype=np.int64), resampling)
    assert sorted(blocks.tolist()) == [0, 1, 2, 3]


def test_intervals_are_those_of_the_normal_law_for_independent_rows() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    got = mean_intervals({"x": values}, row_blocks(4000, 0), Resampling(rounds=4000))["x"]
    half = 1.96 * values.std() / np.sqrt(4000)
    assert got.mean == pytest.approx(values.mean())
    assert got.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert got.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_what_a_day_shares_widens_the_interval() -> None:
    rng = np.random.default_rng(1)
    days = np.repeat(np.arange(50), 100)
    values = rng.normal(size=50)[days] + 0.1 * rng.normal(size=5000)
    by_day = mean_intervals({"x": values}, days, Resampling())["x"]
    by_row = mean_intervals({"x": values}, row_blocks(5000, 0), Resampling())["x"]
    assert by_day.high - by_day.low > 5 * (by_row.high - by_row.low)
    half = 1.96 / np.sqrt(50)
    assert by_day.high - by_day.low == pytest.approx(2 * half, rel=0.3)


@given(shift=st.floats(-5, 5), seed=st.integers(0, 20))
def test_an_interval_moves_with_its_values(shift: float, seed: int) -> None:
    values, blocks = np.random.default_rng(seed).normal(size=200), row_blocks(200, seed)
    first = mean_intervals({"x": values}, blocks, Resampling(seed=seed, rounds=200))["x"]
    second = mean_intervals({"x": values + shift}, blocks, Resampling(seed=seed, rounds=200))["x"]
    assert first.low <= first.mean <= first.high
    assert second.low - first.low == pytest.approx(shift, abs=1e-9)
    assert second.high - first.high == pytest.approx(shift, abs=1e-9)


def test_no_rows_have_no_interval() -> None:
    with pytest.raises(NotEnoughRows, match="got 0"):
        mean_intervals({"x": np.empty(0)}, np.empty(0, dtype=np.int64), Resampling())
