from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from raymlops.errors import NotEnoughRows
from raymlops.monitoring.performance.calibration import IsotonicCurve

ROWS = st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.floats(0.01, 10)), min_size=1, max_size=120)


@given(ROWS)
def test_it_is_the_weighted_isotonic_regression(rows: list[tuple[int, bool, float]]) -> None:
    scores, outcomes, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    curve = IsotonicCurve.fit(scores, outcomes, np.ones(scores.size))
    assert curve(scores) == pytest.approx(IsotonicRegression().fit(scores, outcomes).predict(scores), abs=1e-6)
    weighted = IsotonicCurve.fit(scores, outcomes, weights)
    assert (np.diff(weighted.values) >= -1e-12).all()
    assert np.average(weighted(scores), weights=weights) == pytest.approx(
        np.average(outcomes, weights=weights), abs=0.2
    )


def test_many_scores_are_grouped() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(50_000)
    curve = IsotonicCurve.fit(scores, (rng.random(50_000) < scores**2).astype(float))
    assert curve.knots.size <= 200
    places = np.linspace(0.05, 0.95, 19)
    assert curve(places) == pytest.approx(places**2, abs=0.03)


def test_rows_without_weight_do_not_count() -> None:
    scores, outcomes = np.array([0.1, 0.2, 0.9, 0.95]), np.array([1.0, 1.0, 0.0, 1.0])
    curve = IsotonicCurve.fit(scores, outcomes, np.array([0.0, 0.0, 1.0, 1.0]))
    assert curve.knots.tolist() == [0.9, 0.95]
    assert curve(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("weights", [None, np.zeros(0)])
def test_nothing_is_not_enough(weights: np.ndarray | None) -> None:
    with pytest.raises(NotEnoughRows, match="weighted rows, got 0"):
        IsotonicCurve.fit(np.empty(0), np.empty(0), weights)
