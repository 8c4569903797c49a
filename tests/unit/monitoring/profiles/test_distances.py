from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raymlops.monitoring.profiles.columns import ColumnBins, fit_bins, left_out, singles
from raymlops.monitoring.profiles.distances import MEASURES, column_distances, null_distances

DRAWS = {
    "normal": lambda rng, rows: rng.normal(size=rows),
    "lognormal": lambda rng, rows: rng.lognormal(size=rows),
    "cauchy": lambda rng, rows: rng.standard_cauchy(rows),
    "half zero": lambda rng, rows: np.where(rng.random(rows) < 0.5, 0.0, rng.exponential(size=rows)),
    "atoms": lambda rng, rows: rng.integers(0, 6, rows).astype(float),
    "letters": lambda rng, rows: rng.choice(list("abcdefgh"), rows),
}


def pair(kind: str, seed: int, rows: int = 500, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, ColumnBins]:
    rng = np.random.default_rng(seed)
    column = pa.chunked_array([pa.array(DRAWS[kind](rng, 4000))])
    values = DRAWS[kind](rng, rows)
    bins = fit_bins(column)
    window = pa.chunked_array([pa.array(values if kind == "letters" else values + shift)])
    return left_out(bins, bins.count(column), singles(bins, column)), bins.count(window), bins


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(DRAWS)), st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_distances_are_nought_for_equal_shares_and_bounded(kind: str, seed: int, rows: int) -> None:
    reference, window, bins = pair(kind, seed, rows)
    same = column_distances(reference, reference * 3, bins)
    assert all(value == pytest.approx(0.0, abs=2e-3) for value in same.values())
    found = column_distances(reference, window, bins)
    assert set(found) <= set(MEASURES)
    assert all(np.isfinite(value) for value in found.values())
    for name, most in {"jensen_shannon": np.sqrt(np.log(2)), "chi_square": 1, "l_infinity": 1, "unseen": 1}.items():
        assert 0 <= found[name] <= most + 1e-9
    if bins.ordered:
        assert found["l_infinity"] / 2 <= found["kolmogorov_smirnov"] + 1e-9
        assert found["kolmogorov_smirnov"] <= 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["normal", "lognormal", "cauchy", "half zero"]), st.integers(0, 10_000), st.floats(-2, 2))
def test_the_edges_give_a_lower_bound_of_the_rows_ks(kind: str, seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    left, right = DRAWS[kind](rng, 3000), DRAWS[kind](rng, 700) + shift
    column = pa.chunked_array([pa.array(left)])
    bins = fit_bins(column)
    found = column_distances(bins.count(column), bins.count(pa.chunked_array([pa.array(right)])), bins)
    true = stats.ks_2samp(left, right).statistic
    assert true - 2 / 16 - 1e-9 <= found["kolmogorov_smirnov"] <= true + 1e-9


@pytest.mark.parametrize("shift", [0.1, 0.3, 1.0])
def test_wasserstein_is_the_shift_in_standard_deviations(shift: float) -> None:
    rng = np.random.default_rng(0)
    for values in (rng.normal(5, 3, 20_000), rng.uniform(0, 10, 20_000)):
        column = pa.chunked_array([pa.array(values)])
        bins = fit_bins(column)
        moved = pa.chunked_array([pa.array(values + shift * values.std())])
        found = column_distances(bins.count(column), bins.count(moved), bins)
        assert found["wasserstein"] == pytest.approx(shift, rel=0.25)


def test_wasserstein_of_few_values_is_scipys() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.integers(0, 2, 4000).astype(float), (rng.random(900) < 0.7).astype(float)
    column = pa.chunked_array([pa.array(left)])
    bins = fit_bins(column)
    found = column_distances(bins.count(column), bins.count(pa.chunked_array([pa.array(right)])), bins)
    assert found["wasserstein"] == pytest.approx(stats.wasserstein_distance(left, right) / left.std(), rel=1e-6)


def test_chi_square_is_cramers_v_of_equal_samples() -> None:
    bins = ColumnBins("categorical", categories=("a", "b", "c"))
    reference, window = np.array([50, 30, 20, 0, 0, 0, 0]), np.array([20, 30, 45, 0, 5, 0, 0])
    table = np.stack([reference, window])[:, [0, 1, 2, 4]]
    expected = stats.contingency.association(table, method="cramer")
    assert column_distances(reference, window, bins)["chi_square"] == pytest.approx(expected)


def test_missing_and_unseen_are_rises_of_shares() -> None:
    bins = ColumnBins("categorical", categories=("a",), others=("b",))
    found = column_distances(np.array([90, 10, 0, 0, 0]), np.array([60, 0, 20, 0, 20]), bins)
    assert found["missing"] == pytest.approx(0.2)
    assert found["unseen"] == pytest.approx(0.25)
    everything = np.array([0, 0, 0, 0, 50])
    assert column_distances(np.array([90, 10, 0, 0, 0]), everything, bins) == {"missing": 1.0}
    assert column_distances(everything, np.zeros(5, dtype=int), bins) == {}
    assert null_distances(everything, np.zeros(5, dtype=int), bins, p=0.01) == {}


def test_identifiers_and_constants_have_few_distances() -> None:
    identifier = ColumnBins("identifier")
    assert set(column_distances(np.array([9, 0, 1]), np.array([5, 0, 0]), identifier)) == {"missing"}
    assert set(null_distances(np.array([9, 0, 1]), np.array([5, 0, 0]), identifier, p=0.1)) == {"missing"}
    constant = fit_bins(pa.chunked_array([pa.array([7.0] * 100)]))
    counts = np.array([0, 100, 0, 0, 0])
    assert column_distances(counts, counts, constant)["wasserstein"] == 0.0
    assert column_distances(counts, np.array([0, 50, 50, 0, 0]), constant)["unseen"] == 0.5


@pytest.mark.parametrize("kind", ["normal", "lognormal", "cauchy", "half zero", "atoms", "letters"])
@pytest.mark.parametrize("rows", [100, 1000])
def test_without_drift_distances_stay_below_their_thresholds(kind: str, rows: int) -> None:
    above: dict[str, int] = {}
    pairs = 250
    for seed in range(pairs):
        reference, window, bins = pair(kind, seed, rows)
        found = column_distances(reference, window, bins)
        limits = null_distances(reference, window, bins, p=0.01)
        assert set(limits) >= set(found)
        for name, value in found.items():
            above[name] = above.get(name, 0) + (value > limits[name])
    assert max(above.values()) <= 9, above  # 2.5 expected, more than 9 once in 1,600


@pytest.mark.parametrize("measure", [name for name in MEASURES if name not in {"missing", "unseen"}])
def test_thresholds_are_not_far_above_what_drift_gives(measure: str) -> None:
    """Half a standard deviation in 1,000 rows lies above every threshold that holds without drift."""
    reference, window, bins = pair("normal", 3, 1000, shift=0.5)
    assert column_distances(reference, window, bins)[measure] > null_distances(reference, window, bins, p=1e-4)[measure]


def test_thresholds_fall_with_the_rows_and_rise_with_the_inflation() -> None:
    reference, small, bins = pair("normal", 4, 200)
    few, many = (null_distances(reference, counts, bins, p=0.01) for counts in (small, small * 20))
    wide = null_distances(reference, small, bins, p=0.01, inflation=4.0)
    for name in few:
        assert many[name] < few[name] < wide[name]
