from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError
from raymlops.experiments import LearningTask, matrix, metrics, target
from raymlops.experiments.estimators import FAMILIES, build, fit, predict

SMALL = {
    "xgboost": {"n_estimators": 30, "max_depth": 3},
    "hist_gradient_boosting": {"max_iter": 30},
    "random_forest": {"n_estimators": 30, "min_samples_leaf": 5},
    "logistic": {},
}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_learns_with_missing_values(family: str, rows: pa.Table, task: LearningTask) -> None:
    estimator = build(family, SMALL[family], seed=1, task=task)
    inputs, labels = matrix(rows, task.inputs), target(rows, task)
    assert fit(estimator, inputs[:1500], labels[:1500]) is None
    learned = metrics(labels[1500:], predict(estimator, inputs[1500:], "classifier"), task)
    assert learned["auc"] > 0.72
    nothing = predict(estimator, np.full((1, 3), np.nan), "classifier")
    assert nothing.shape == (1, 2)
    assert np.isfinite(nothing).all()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_equal_seeds_give_equal_models(family: str, rows: pa.Table, task: LearningTask) -> None:
    inputs, labels = matrix(rows, task.inputs), target(rows, task)
    answers = []
    for _ in range(2):
        estimator = build(family, SMALL[family], seed=3, task=task)
        fit(estimator, inputs, labels)
        answers.append(predict(estimator, inputs, "classifier"))
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_has_a_regressor(family: str, rows: pa.Table) -> None:
    task = LearningTask(kind="regressor", metric="mae", inputs=("a", "c"), label="b")
    table = rows.append_column("b2", rows["a"]).drop_columns(["b"]).rename_columns(["a", "c", "label", "b"])
    table = table.filter(pa.compute.is_valid(table["b"]))
    estimator = build(family, SMALL[family], seed=1, task=task)
    fit(estimator, matrix(table, task.inputs), target(table, task))
    assert metrics(target(table, task), predict(estimator, matrix(table, task.inputs), "regressor"), task)["mae"] < 0.3


def test_early_stopping_tells_the_best_round(rows: pa.Table, task: LearningTask) -> None:
    params = {"n_estimators": 300, "early_stopping_rounds": 5, "learning_rate": 0.5}
    estimator = build("xgboost", params, seed=0, task=task)
    inputs, labels = matrix(rows, task.inputs), target(rows, task)
    best = fit(estimator, inputs[:1000], labels[:1000], valid=(inputs[1000:], labels[1000:]))
    assert best is not None
    assert 1 <= best < 100
    again = build("xgboost", {"n_estimators": best, "learning_rate": 0.5}, seed=0, task=task)
    fit(again, inputs[:1000], labels[:1000])
    np.testing.assert_array_equal(predict(again, inputs, "classifier"), predict(estimator, inputs, "classifier"))


def test_early_stopping_without_validation_rows_is_refused(rows: pa.Table, task: LearningTask) -> None:
    estimator = build("xgboost", {"early_stopping_rounds": 5}, seed=0, task=task)
    with pytest.raises(ConfigError, match="validation rows"):
        fit(estimator, matrix(rows, task.inputs), target(rows, task))


@pytest.mark.parametrize(
    ("family", "params", "rule"),
    [
        ("svm", {}, "family must be one of"),
        ("xgboost", {"max_dept": 3}, r"no parameters \['max_dept'\]"),
        ("logistic", {"n_estimators": 3}, r"no parameters \['n_estimators'\]"),
        ("random_forest", {"n_jobs": 8}, "set by the platform"),
    ],
)
def test_what_a_family_does_not_have_is_refused(
    family: str, params: dict[str, object], rule: str, task: LearningTask
) -> None:
    with pytest.raises(ConfigError, match=rule):
        build(family, params, seed=0, task=task)
