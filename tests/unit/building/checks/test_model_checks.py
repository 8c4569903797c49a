"""Trainings with faults are found, and sound ones pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.tree import DecisionTreeClassifier

from raymlops.building.checks.model_checks import Models, loss_falls, overfits_a_handful, same_model_twice
from raymlops.experiments import LearningTask

_FITTED = [0]


class Wandering(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Another model at each training, whatever the seed."""

    def fit(self, X: Any, y: Any) -> Any:
        _FITTED[0] += 1
        self.classes_ = np.array([0, 1])
        self.coef_ = np.array([1.0 + _FITTED[0] / 10, 0.0])
        return self

    def predict_proba(self, X: Any) -> Any:
        positive = 1 / (1 + np.exp(-np.asarray(X) @ self.coef_))
        return np.column_stack([1 - positive, positive])


class Exploding(Wandering):
    """Answers nothing but NaN."""

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), 2), np.nan)


def wandering() -> Wandering:
    return Wandering()


def exploding() -> Exploding:
    return Exploding()


def diverging() -> SGDClassifier:
    """Steps so long that the loss on its own rows grows with each."""
    return SGDClassifier(loss="log_loss", learning_rate="constant", eta0=1e6, max_iter=5, tol=None)


def blind() -> DummyClassifier:
    return DummyClassifier(strategy="prior")


def tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=4)


def _models(search: dict[str, Any], **columns: Any) -> Models:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 400))
    label = (rng.random(400) < 1 / (1 + np.exp(-3 * x))).astype(np.int64)
    frame = pa.table({"x": x, "y": y, "label": label, **columns})
    return Models(frame, LearningTask(inputs=("x", "y")), search, seed=7)


def _own(name: str) -> dict[str, Any]:
    return {f"{__name__}:{name}": {}}


SOUND = {
    # a leaf of fifty rows, of a project that has a hundred thousand
    "xgboost": {"n_estimators": 400, "early_stopping_rounds": 30, "min_child_weight": {"log_uniform": [50, 100]}},
    "logistic": {"C": {"log_uniform": [0.01, 10.0]}},
    f"{__name__}:tree": {},
}


@pytest.mark.parametrize("check", [overfits_a_handful, loss_falls, same_model_twice])
def test_sound_families_pass(check: Any) -> None:
    found = check(_models(SOUND))
    assert found.outcome == "passed", found
    assert "xgboost" in found.evidence


def test_a_training_that_diverges_is_found() -> None:
    found = loss_falls(_models(_own("diverging")))
    assert (found.outcome, "it does not fall" in found.evidence) == ("failed", True)
    assert "learning rate" in found.remedy
    found = loss_falls(_models(_own("exploding")))
    assert (found.outcome, "not finite" in found.evidence) == ("failed", True)


def test_a_boosting_that_takes_too_long_steps_is_found() -> None:
    found = loss_falls(_models({"xgboost": {"n_estimators": 20, "learning_rate": 50.0}}))
    assert (found.outcome, "it does not fall" in found.evidence) == ("failed", True)


def test_a_model_that_learns_nothing_is_found() -> None:
    for models in (_models(_own("blind")), _models({"xgboost": {}}, x=np.arange(400.0) % 1, y=np.zeros(400))):
        found = loss_falls(models)
        assert found.outcome == "failed", found
    found = overfits_a_handful(_models(_own("blind")))
    assert (found.outcome, "on the 24 rows" in found.evidence) == ("failed", True)


def test_a_training_that_is_not_deterministic_is_found() -> None:
    found = same_model_twice(_models(_own("wandering")))
    assert (found.outcome, "two trainings answer differently" in found.evidence) == ("failed", True)
    assert "random_state" in found.remedy


def test_one_label_says_nothing() -> None:
    models = _models({"xgboost": {}}, label=np.zeros(400, dtype=np.int64))
    assert overfits_a_handful(models).outcome == "not_applicable"
    assert loss_falls(models).outcome == "not_applicable"


def test_numbers_are_learned_by_heart_too() -> None:
    rng = np.random.default_rng(1)
    frame = pa.table({"x": rng.normal(size=300), "y": rng.normal(size=300), "label": rng.normal(size=300) * 1e6})
    task = LearningTask(kind="regressor", metric="rmse", inputs=("x", "y"))
    models = Models(frame, task, {"xgboost": {"min_child_weight": 50}}, seed=0)
    for check in (overfits_a_handful, loss_falls, same_model_twice):
        assert check(models).outcome == "passed", check(models)
