from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

from raymlops.flavors.sklearn_parts.calibrated import calibrated_scorer

RNG = np.random.default_rng(3)
INPUTS = RNG.normal(size=(900, 4))
LABELS = (INPUTS[:, 0] + RNG.normal(size=900) > 0.4).astype(int)


def _calibrated(inner: Any, method: str, labels: Any = LABELS) -> Any:
    inner.fit(INPUTS[:600], labels[:600])
    return CalibratedClassifierCV(FrozenEstimator(inner), method=method).fit(INPUTS[600:], labels[600:])


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_it_answers_as_the_estimator_does_also_far_out_and_where_values_are_missing(method: str, classes: int) -> None:
    labels = LABELS if classes == 2 else LABELS + 2 * (INPUTS[:, 1] > 0.8)
    estimator = _calibrated(XGBClassifier(n_estimators=30, max_depth=3, n_jobs=1), method, labels)
    score = calibrated_scorer(estimator)
    assert score is not None
    holes = INPUTS.copy()
    holes[RNG.random(holes.shape) < 0.2] = np.nan
    for matrix in (INPUTS, 100.0 * INPUTS, holes, np.full((1, 4), np.nan)):
        expected = estimator.predict_proba(matrix)
        np.testing.assert_allclose(score(matrix), expected[:, 1] if classes == 2 else expected, atol=1e-6)


def test_anything_else_is_left_to_scikit_learn() -> None:
    plain = XGBClassifier(n_estimators=3, n_jobs=1).fit(INPUTS, LABELS)
    odd = XGBClassifier(n_estimators=3, n_jobs=1, missing=-1.0)
    others = [
        plain,
        _calibrated(LogisticRegression(), "sigmoid"),
        _calibrated(XGBClassifier(n_estimators=3, n_jobs=1), "temperature"),
        _calibrated(odd, "sigmoid"),
        CalibratedClassifierCV(XGBClassifier(n_estimators=3, n_jobs=1), cv=2).fit(INPUTS, LABELS),
    ]
    assert [calibrated_scorer(estimator) for estimator in others] == [None] * len(others)
