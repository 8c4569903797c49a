from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.tables.sketches import DistinctSketch, FrequentSketch, LargestByHash, QuantileSketch


def hashes(values: range) -> np.ndarray:
    return pl.Series(values).hash(1).to_numpy()


def test_few_distinct_values_are_counted_exactly() -> None:
    sketch = DistinctSketch(size=64)
    sketch.add(hashes(range(40)))
    sketch.add(hashes(range(20, 60)))
    assert (sketch.count, sketch.error) == (60, 0.0)


def test_many_distinct_values_are_estimated_within_a_few_standard_errors() -> None:
    sketch = DistinctSketch(size=1024)
    for start in range(0, 200_000, 10_000):
        sketch.add(hashes(range(start, start + 15_000)))  # half of it seen before
    assert sketch.error == pytest.approx(1 / np.sqrt(1022))
    assert abs(sketch.count / 205_000 - 1) < 4 * sketch.error


@given(st.lists(st.lists(st.integers(-50, 50), max_size=40), max_size=12), st.integers(8, 64))
@settings(deadline=None)
def test_no_rank_is_off_by_more_than_the_sketch_says(parts: list[list[int]], size: int) -> None:
    sketch = QuantileSketch(size)
    for part in parts:
        sketch.add(np.array(part, dtype=np.float64))
    values = np.sort(np.concatenate([np.array(part, dtype=np.float64) for part in [[], *parts]]))
    if not len(values):
        assert sketch.error == 0.0
        return
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        found = sketch.quantiles([share])[0]
        wanted = max(1.0, np.ceil(share * len(values)))
        slack = sketch.error * len(values) + 1e-9
        assert (
            np.searchsorted(values, found, "left") - slack < wanted <= np.searchsorted(values, found, "right") + slack
        )
        assert found in values
    if len(values) <= size:
        assert sketch.error == 0.0


def test_a_million_numbers_keep_their_ranks_to_a_part_in_a_thousand() -> None:
    rng = np.random.default_rng(0)
    sketch = QuantileSketch()
    everything = rng.normal(size=1_000_000)
    for part in np.split(everything, 50):
        sketch.add(part)
    assert 0 < sketch.error < 2e-3
    shares = (0.01, 0.5, 0.99)
    ranks = np.searchsorted(np.sort(everything), sketch.quantiles(shares)) / 1_000_000
    assert np.abs(ranks - shares).max() <= sketch.error


@given(st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=30), max_size=10), st.integers(1, 12))
@settings(deadline=None)
def test_counts_of_frequent_values_are_short_by_the_stated_error_at_most(parts: list[list[str]], size: int) -> None:
    sketch = FrequentSketch(size)
    for part in parts:
        sketch.add(pl.Series(part, dtype=pl.String))
    truth = {value: sum(part.count(value) for part in parts) for value in "abcdefghij"}
    found = dict(sketch.most(10))
    for value, rows in truth.items():
        assert found.get(value, 0) <= rows <= found.get(value, 0) + sketch.error
    assert sketch.error <= sum(map(len, parts)) / (size + 1)


def test_the_largest_number_of_every_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rng = np.random.default_rng(1)
    keys = pl.Series(rng.integers(0, 3000, 20_000))
    values = rng.integers(-(10**9), 10**9, 20_000)
    truth = sorted(pl.DataFrame({"k": keys, "v": values}).group_by("k").agg(pl.col("v").max())["v"].to_list())
    for rows in (100, 50_000):
        with LargestByHash(rows, parts=8) as largest:
            for start in range(0, 20_000, 700):
                part = slice(start, start + 700)
                largest.add(keys[part].hash(1).to_numpy(), values[part])
            assert bool(list(tmp_path.iterdir())) == (rows == 100)  # only what does not fit goes to files
            assert sorted(np.concatenate(list(largest.largest())).tolist()) == truth
        assert list(tmp_path.iterdir()) == []


def test_nothing_in_nothing_out() -> None:
    with LargestByHash() as largest:
        assert list(largest.largest()) == []
    assert FrequentSketch().most(3) == []
    assert DistinctSketch().count == 0
