from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raymlops.errors import DataError
from raymlops.monitoring.profiles.columns import ColumnBins, bins_from_dict, fit_bins, left_out, singles

FLOATS = arrays(np.float64, st.integers(1, 200), elements=st.floats(allow_nan=True, allow_infinity=True, width=64))


def chunked(values: object, dtype: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type=dtype)])


def _fitted_counts(bins: ColumnBins, column: pa.ChunkedArray) -> np.ndarray:
    return left_out(bins, bins.count(column), singles(bins, column))


@settings(max_examples=60, deadline=None)
@given(FLOATS, FLOATS)
def test_every_value_has_exactly_one_slot(fitted: np.ndarray, counted: np.ndarray) -> None:
    bins = fit_bins(chunked(fitted))
    counts = bins.count(chunked(counted))
    assert counts.sum() == counted.size
    assert counts[-1] == np.isnan(counted).sum()
    assert counts[-2] == np.isinf(counted).sum()
    assert len(counts) == bins.size
    assert _fitted_counts(bins, chunked(fitted)).sum() == fitted.size


@settings(max_examples=60, deadline=None)
@given(FLOATS)
def test_bins_survive_a_round_trip(fitted: np.ndarray) -> None:
    bins = fit_bins(chunked(fitted))
    assert bins_from_dict(bins.to_dict()) == bins


def test_quantile_bins_hold_like_shares() -> None:
    values = np.random.default_rng(0).normal(size=16_000)
    counts = fit_bins(chunked(values)).count(chunked(values))[1:-3]
    assert counts.min() > 900
    assert counts.max() < 1100


def test_a_heavy_hitter_gets_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(500), np.random.default_rng(0).normal(size=500)])
    bins = fit_bins(chunked(values))
    counts = dict(zip(bins.labels(), bins.count(chunked(values)), strict=False))
    assert counts["0"] == 500


def test_few_distinct_values_get_a_bin_each() -> None:
    bins = fit_bins(chunked([1, 2, 2, 3]))
    assert bins.count(chunked([0, 1, 2, 2, 3, 9])).tolist() == [1, 1, 2, 1, 1, 0, 0]


def test_categories_have_bins_for_other_and_unseen() -> None:
    values = [f"c{i:02}" for i in range(30) for _ in range(40 - i)]
    bins = fit_bins(chunked(values))
    counts = dict(zip(bins.labels(), bins.count(chunked(["c00", "c00", "c29", "new", None])), strict=False))
    assert counts["c00"] == 2
    assert counts["other"] == 1
    assert counts["unseen"] == 1


def test_values_seen_once_stand_for_what_is_unseen() -> None:
    values = chunked(["a"] * 60 + [f"once{i}" for i in range(25)])
    bins = fit_bins(values)
    counts = _fitted_counts(bins, values)
    assert counts.sum() == 85
    assert counts[bins.bins - 1] == 6  # of the 25, 19 are among the 20 categories that have a bin


def test_too_many_categories_are_an_identifier() -> None:
    bins = fit_bins(chunked([f"id{i}" for i in range(2000)]))
    assert bins.kind == "identifier"
    assert bins.count(chunked(["x", None, "y"])).tolist() == [2, 0, 1]
    assert bins.labels() == ["any value"]


@pytest.mark.parametrize(
    "column",
    [
        chunked([True, False, None]),
        chunked([1, 2, None], pa.int32()),
        chunked([1.5, None], pa.float32()),
        chunked([1, None], pa.decimal128(5, 2)),
        pa.chunked_array([pa.array([1.0, 2.0, None]).dictionary_encode()]),
    ],
)
def test_all_kinds_of_numbers_are_numeric(column: pa.ChunkedArray) -> None:
    bins = fit_bins(column)
    assert bins.kind == "numeric"
    assert bins.count(column)[-1] == 1


@pytest.mark.parametrize("dtype", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_all_kinds_of_text_are_categorical(dtype: pa.DataType) -> None:
    column = chunked(["a", "b", None]).cast(dtype)
    bins = fit_bins(column)
    assert bins.kind == "categorical"
    assert bins.count(column)[-1] == 1


def test_another_type_is_refused() -> None:
    with pytest.raises(DataError, match="numbers, booleans or strings"):
        fit_bins(chunked([[1], [2]]))


def test_a_changed_type_is_refused() -> None:
    with pytest.raises(DataError, match="type changed: the reference holds numbers, got string"):
        fit_bins(chunked([1.0, 2.0])).count(chunked(["a"]))
    with pytest.raises(DataError, match="type changed: the reference holds strings"):
        fit_bins(chunked(["a"])).count(chunked([1.0]))


def test_an_untyped_column_counts_as_missing() -> None:
    assert fit_bins(chunked([1.0, 2.0])).count(chunked([None, None]))[-1] == 2
    assert fit_bins(chunked(["a"])).count(chunked([None]))[-1] == 1


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(width=16), min_size=1, max_size=60),
    st.lists(st.one_of(st.none(), st.floats(width=16), st.sampled_from([math.inf, -math.inf])), max_size=60),
)
def test_counts_are_those_of_the_slots(past: list[float], values: list[float | None]) -> None:
    bins = fit_bins(pa.chunked_array([pa.array(past, pa.float64())]))
    column = pa.chunked_array([pa.array([*past, *values], pa.float64()), pa.array(values, pa.float64())])
    assert bins.count(column).tolist() == np.bincount(bins.slots(column), minlength=bins.size).tolist()
    assert bins.count(column).dtype == np.int64
