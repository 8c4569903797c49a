from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import NotEnoughRows, SchemaMismatch, TrainingError
from raymlops.experiments import LearningTask, TrialSpec, fit_candidate, matrix, run_trial, target
from raymlops.experiments.seen import SeenClasses

TASK = LearningTask(inputs=("x",), classes=4)
FAMILIES: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 5},
    "lightgbm": {"n_estimators": 5},
    "logistic": {},
    "random_forest": {"n_estimators": 5},
    "hist_gradient_boosting": {"max_iter": 5},
    "sklearn.neighbors:KNeighborsClassifier": {},
}
UNSEEN = -np.log(1e-15)


def rows(labels: list[int], n: int = 400) -> pa.Table:
    draw = np.random.default_rng(1)
    y = draw.choice(labels, n)
    return pa.table({"x": y + draw.normal(size=n), "label": y})


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    if request.param == "lightgbm":
        pytest.importorskip("lightgbm")
    return str(request.param)


@pytest.mark.parametrize("seen", [[0, 1, 3], [0, 2, 3], [0, 1, 2], [1, 3]])
def test_a_class_that_a_trial_has_not_seen_has_probability_zero(family: str, seen: list[int]) -> None:
    train, valid = rows(seen), rows([0, 1, 2, 3])
    result = run_trial(TrialSpec(number=0, family=family, params=FAMILIES[family]), train, valid, task=TASK)
    assert result.error is None
    fitted = fit_candidate(family, FAMILIES[family], seed=0, rows=train, task=TASK)
    own = fitted.estimator.predict_proba(matrix(valid, TASK.inputs))
    labels = target(valid, TASK).astype(int)
    chance = [own[row, seen.index(label)] if label in seen else 0.0 for row, label in enumerate(labels)]
    expected = -np.log(np.clip(chance, 1e-15, 1.0)).mean()
    assert result.metrics["log_loss"] == pytest.approx(expected, rel=1e-6)
    assert result.metrics["accuracy"] == pytest.approx(np.mean(np.array(seen)[own.argmax(axis=1)] == labels))
    assert result.metrics["log_loss"] > UNSEEN * np.mean(~np.isin(labels, seen))


def test_a_trial_that_saw_one_class_fails_for_one_reason(family: str) -> None:
    for task, train in ((LearningTask(inputs=("x",)), rows([0])), (TASK, rows([2]))):
        result = run_trial(TrialSpec(number=0, family=family), train, rows([0, 1]), task=task)
        assert result.metrics == {}
        assert result.error is not None
        assert result.error.startswith("NotEnoughRows: the rows to fit on must hold at least two of the")


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_rounds_are_watched_on_all_rows_also_those_of_classes_not_seen(family: str) -> None:
    if family == "lightgbm":
        pytest.importorskip("lightgbm")
    heard: list[float] = []
    params = {"n_estimators": 6, "early_stopping_rounds": 3}
    train, valid = rows([0, 1, 3]), rows([0, 1, 2, 3])
    spec = TrialSpec(number=0, family=family, params=params)
    result = run_trial(spec, train, valid, task=TASK, report=lambda _, loss: not heard.append(loss))  # type: ignore[func-returns-value]
    assert result.error is None
    assert len(heard) == 6
    assert min(heard) == pytest.approx(result.metrics["log_loss"], rel=1e-4)


def test_calibration_of_the_classes_seen() -> None:
    spec = TrialSpec(number=0, family="xgboost", params={"n_estimators": 5, "calibration": "sigmoid"})
    result = run_trial(spec, rows([0, 1, 3]), rows([0, 1, 2, 3]), task=TASK)
    assert result.error is None
    assert result.metrics["log_loss"] > 1.0


def test_validation_rows_of_other_classes_alone() -> None:
    result = run_trial(
        TrialSpec(number=0, family="xgboost", params={"n_estimators": 5}), rows([0, 1]), rows([3]), task=TASK
    )
    assert result.metrics["log_loss"] == pytest.approx(UNSEEN)


def test_what_the_rows_lack_is_told() -> None:
    seen = SeenClasses.of(np.array([3, 0, 3]), TASK)
    assert seen is not None
    assert (seen.whole, seen.missing, seen.task.classes) == (False, [1, 2], 2)
    assert seen.encode(np.array([3, 0])).tolist() == [1, 0]
    assert seen.spread(np.array([[0.25, 0.75]])).tolist() == [[0.25, 0.0, 0.0, 0.75]]
    with pytest.raises(NotEnoughRows, match=r"at least two of the 4 classes, got \[\]"):
        SeenClasses.of(np.array([]), TASK)
    assert SeenClasses.of(np.array([1.5]), LearningTask(inputs=("x",), kind="regressor", metric="mae")) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pa.table({"x": [1.0, 2.0], "label": ["yes", "no"]}), "the number of a class, from 0 to 3, got string"),
        (pa.table({"x": [b"a", b"b"], "label": [0, 1]}), "'x' must be"),
        (pa.table({"y": [1.0, 2.0], "label": [0, 1]}), "are not columns"),
        (pa.Table.from_arrays([pa.array([0, 1])] * 3, names=["x", "x", "label"]), "names must be unique"),
        ({"x": [1.0]}, r"rows must be an Arrow table.* got dict"),
        (None, r"rows must be an Arrow table.* got NoneType"),
    ],
)  # fmt: skip
def test_rows_that_nothing_can_be_fitted_on_are_refused(given: Any, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        fit_candidate("logistic", {}, seed=0, rows=given, task=TASK)


def test_what_an_estimator_raises_is_one_error_of_ours() -> None:
    with pytest.raises(TrainingError, match=r"family 'xgboost' cannot be fitted: XGBoostError: .*max_depth"):
        fit_candidate("xgboost", {"max_depth": -7}, seed=0, rows=rows([0, 1, 2, 3]), task=TASK)
    with pytest.raises(TrainingError, match="cannot be fitted: InvalidParameterError"):
        fit_candidate("logistic", {"penalty": "none at all"}, seed=0, rows=rows([0, 1]), task=TASK)
