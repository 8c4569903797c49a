from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from raymlops.monitoring.profiles.divergence import js_distance, location_evidence, pool, shape_evidence, share_evidence

COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=20)


def array(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=20))
def test_js_distance_is_scipys_and_symmetric(pairs: list[tuple[int, int]]) -> None:
    p, q = array([a for a, _ in pairs]), array([b for _, b in pairs])
    if p.sum() and q.sum():
        assert js_distance(p, q) == pytest.approx(float(jensenshannon(p, q)), abs=1e-6)
        assert js_distance(p, q) == pytest.approx(js_distance(q, p), abs=1e-9)
    else:
        assert js_distance(p, q) == 0.0


@settings(max_examples=80, deadline=None)
@given(COUNTS, st.integers(0, 2**32 - 1))
def test_groups_of_bins_expect_enough_rows(reference: list[int], seed: int) -> None:
    window = np.random.default_rng(seed).multinomial(200, np.full(len(reference), 1 / len(reference)))
    groups = pool(array(reference), window)
    assert (np.diff(groups) >= 0).all()
    together = np.bincount(groups, weights=array(reference) + window)
    share = min(sum(reference), 200) / (sum(reference) + 200)
    if groups.max() > 0:
        assert (together * share >= 5 - 1e-9).all()


def test_the_location_statistic_is_mann_whitneys_with_ties() -> None:
    rng = np.random.default_rng(0)
    reference, window = rng.integers(0, 6, 300), rng.integers(1, 7, 90)
    found = location_evidence(np.bincount(reference, minlength=7), np.bincount(window, minlength=7))
    expected = stats.mannwhitneyu(reference, window, use_continuity=False, method="asymptotic")
    assert found is not None
    assert stats.chi2.sf(found.statistic, 1) == pytest.approx(expected.pvalue, rel=1e-6)


def test_the_shape_statistic_is_scipys() -> None:
    reference, window = array([50, 60, 70, 80]), array([30, 20, 25, 10])
    found = shape_evidence(reference, window)
    expected = stats.chi2_contingency(np.stack([reference, window]), lambda_="cressie-read", correction=False)
    assert found is not None
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.freedom == expected.dof


def test_a_sparse_share_is_tested_exactly() -> None:
    found = share_evidence((0, 5000), (3, 197))
    exact = stats.fisher_exact([[0, 5000], [3, 197]]).pvalue
    assert found is not None
    assert stats.chi2.sf(found.statistic, 1) == pytest.approx(2 * exact, rel=1e-6)


def test_nothing_to_compare_is_no_evidence() -> None:
    assert shape_evidence(array([5, 5]), array([0, 0])) is None
    assert location_evidence(array([5, 0]), array([7, 0])) is None
    assert location_evidence(array([5, 3]), array([0, 0])) is None
    assert share_evidence((0, 10), (0, 10)) is None


@pytest.mark.parametrize(("rows", "bins"), [(50, 10), (200, 20), (1000, 20)])
def test_the_shape_statistic_keeps_its_law_in_the_tail(rows: int, bins: int) -> None:
    rng = np.random.default_rng(rows)
    evidence = [
        shape_evidence(rng.multinomial(3000, np.full(bins, 1 / bins)), rng.multinomial(rows, np.full(bins, 1 / bins)))
        for _ in range(2500)
    ]
    tail = np.mean([e is not None and stats.chi2.sf(e.statistic, e.freedom) < 0.01 for e in evidence])
    assert 0.004 < tail < 0.016
