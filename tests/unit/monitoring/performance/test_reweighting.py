from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge

from raymlops.monitoring.performance.reweighting import (
    MAX_RATIO,
    RIDGE,
    density_ratios,
    effective_rows,
    fit_linear,
    fit_logistic,
    tempered,
)

RNG = np.random.default_rng(0)
TERMS = RNG.normal(size=(800, 4))
WEIGHTS = RNG.exponential(size=800)


def test_the_logistic_fit_is_scikit_learns() -> None:
    labels = (RNG.random(800) < expit(TERMS @ np.array([1.0, -2.0, 0.0, 0.5]) - 1)).astype(float)
    ours = fit_logistic(TERMS, labels, weights=WEIGHTS, offset=np.zeros(800))
    theirs = LogisticRegression(C=1 / RIDGE, tol=1e-10, max_iter=1000).fit(TERMS, labels, sample_weight=WEIGHTS)
    assert ours.coefficients == pytest.approx(np.r_[theirs.intercept_, theirs.coef_[0]], abs=1e-4)


def test_terms_that_tell_nothing_leave_the_offset_as_it_is() -> None:
    offset = RNG.normal(size=4000)
    labels = (RNG.random(4000) < expit(offset)).astype(float)
    terms = RNG.normal(size=(4000, 3))
    fitted = fit_logistic(terms, labels, weights=np.ones(4000), offset=offset)
    assert np.abs(fitted(terms)).max() < 0.5


def test_classes_that_can_be_told_apart_do_not_run_away() -> None:
    fitted = fit_logistic(TERMS, (TERMS[:, 0] > 0).astype(float), weights=WEIGHTS, offset=np.zeros(800))
    assert np.isfinite(fitted.coefficients).all()


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(20, 400),
    terms=st.integers(1, 8),
    slope=st.floats(0, 30),
    heavy=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_fit_stands_where_the_penalised_likelihood_is_flat(
    seed: int, rows: int, terms: int, slope: float, heavy: bool
) -> None:
    """Whatever the rows, from no signal to classes that are told apart: Newton's next step would be nothing."""
    rng = np.random.default_rng(seed)
    design = rng.standard_t(3, size=(rows, terms)) if heavy else rng.normal(size=(rows, terms))
    offset, weights = rng.normal(size=rows), rng.exponential(size=rows) + 1e-3
    labels = (rng.random(rows) < expit(slope * design[:, 0] + offset)).astype(float)
    fitted = fit_logistic(design, labels, weights=weights, offset=offset)
    pull = np.r_[fitted.pull.sum(), fitted.pull @ design]
    rest = pull - np.r_[1e-6, np.full(terms, RIDGE)] * fitted.coefficients
    assert np.abs(fitted.bread @ rest).max() < 1e-3 * (1 + np.abs(fitted.coefficients).max())


def test_the_linear_fit_is_scikit_learns() -> None:
    outcomes = np.column_stack([TERMS @ np.arange(4.0) + 3, RNG.normal(size=800)])
    ours = fit_linear(TERMS, outcomes, weights=WEIGHTS)
    theirs = Ridge(RIDGE).fit(TERMS, outcomes, sample_weight=WEIGHTS)
    assert ours.coefficients == pytest.approx(np.vstack([theirs.intercept_, theirs.coef_.T]), abs=1e-4)


def test_known_ratios_are_found() -> None:
    reference, window = RNG.normal(size=(8000, 1)), RNG.normal(0.5, 1, size=(4000, 1))
    weights = density_ratios(reference, window)
    truth = np.minimum(np.exp(0.5 * reference[:, 0] - 0.125), MAX_RATIO)
    assert np.corrcoef(weights, truth)[0, 1] > 0.99
    assert weights.mean() == pytest.approx(1)
    assert np.average(reference[:, 0], weights=weights) == pytest.approx(0.5, abs=0.06)


def test_without_a_shift_all_rows_count_alike() -> None:
    weights = density_ratios(RNG.normal(size=(5000, 3)), RNG.normal(size=(2000, 3)))
    assert effective_rows(weights) > 4900


def test_ratios_are_tempered_until_enough_rows_are_left() -> None:
    weights = np.r_[np.full(990, 1e-4), np.full(10, 10.0)]
    assert effective_rows(weights) < 11
    softer = tempered(weights, 100)
    assert effective_rows(softer) >= 100
    assert softer.mean() == pytest.approx(1)
    assert np.array_equal(tempered(np.ones(50), 50), np.ones(50))
    assert np.array_equal(tempered(weights, 2000), np.ones(1000))
