from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError
from raymlops.experiments import LearningTask, fit_candidate, matrix, metrics, target
from raymlops.experiments.estimators import build, predict
from raymlops.flavors import families

SMALL = {
    "xgboost": {"n_estimators": 30, "max_depth": 3},
    "lightgbm": {"n_estimators": 30, "max_depth": 3},
    "hist_gradient_boosting": {"max_iter": 30},
    "random_forest": {"n_estimators": 30, "min_samples_leaf": 5},
    "logistic": {},
}


def test_none_is_left_out() -> None:
    assert set(SMALL) == set(families())


def _fitted(family: str, rows: pa.Table, task: LearningTask, seed: int = 1, **params: Any) -> Any:
    return fit_candidate(family, params or SMALL[family], seed=seed, rows=rows, task=task).estimator


@pytest.mark.parametrize("family", sorted(SMALL))
def test_every_family_learns_with_missing_values(family: str, rows: pa.Table, task: LearningTask) -> None:
    estimator = _fitted(family, rows[:1500], task)
    inputs, labels = matrix(rows, task.inputs), target(rows, task)
    learned = metrics(labels[1500:], predict(estimator, inputs[1500:], "classifier"), task)
    assert learned["auc"] > 0.72
    nothing = predict(estimator, np.full((1, 3), np.nan), "classifier")
    assert nothing.shape == (1, 2)
    assert np.isfinite(nothing).all()


@pytest.mark.parametrize("family", sorted(SMALL))
def test_equal_seeds_give_equal_models(family: str, rows: pa.Table, task: LearningTask) -> None:
    inputs = matrix(rows, task.inputs)
    answers = [predict(_fitted(family, rows, task, seed=3), inputs, "classifier") for _ in range(2)]
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("family", sorted(SMALL))
def test_every_family_has_a_regressor(family: str, rows: pa.Table) -> None:
    task = LearningTask(kind="regressor", metric="mae", inputs=("a", "c"), label="b")
    table = rows.append_column("b2", rows["a"]).drop_columns(["b"]).rename_columns(["a", "c", "label", "b"])
    table = table.filter(pa.compute.is_valid(table["b"]))
    estimator = _fitted(family, table, task)
    assert metrics(target(table, task), predict(estimator, matrix(table, task.inputs), "regressor"), task)["mae"] < 0.3


OVERFITTED = {
    "xgboost": {"n_estimators": 200, "learning_rate": 0.5, "min_child_weight": 0.0, "reg_lambda": 0.0},
    "hist_gradient_boosting": {"max_iter": 200, "min_samples_leaf": 1, "learning_rate": 0.5},
    "random_forest": {"n_estimators": 30, "bootstrap": False},
}


@pytest.mark.parametrize("family", sorted(OVERFITTED))
def test_a_family_that_can_learns_a_few_rows_by_heart(family: str, rows: pa.Table, task: LearningTask) -> None:
    few = rows[:40]
    estimator = _fitted(family, few, task, **OVERFITTED[family])
    assert (
        metrics(target(few, task), predict(estimator, matrix(few, task.inputs), "classifier"), task)["log_loss"] < 0.05
    )


@pytest.mark.parametrize(
    ("family", "params", "rule"),
    [
        ("svm", {}, "family must be one of"),
        ("xgboost", {"max_dept": 3}, r"no parameters \['max_dept'\]"),
        ("logistic", {"n_estimators": 3}, r"no parameters \['n_estimators'\]"),
        ("random_forest", {"n_jobs": 8}, "set by the platform"),
        ("no_such_module:make", {}, "cannot be imported"),
        ("math:no_such_function", {}, "cannot be imported"),
        ("math:pi", {}, "must be a function, got float"),
        ("builtins:dict", {}, "must give a scikit-learn classifier, got dict"),
        ("sklearn.linear_model:Ridge", {}, "must give a scikit-learn classifier, got Ridge"),
        ("sklearn.ensemble:ExtraTreesClassifier", {"n_trees": 3}, r"no parameters \['n_trees'\]"),
        ("sklearn.ensemble:ExtraTreesClassifier", {"random_state": 3}, "set by the platform"),
        ("xgboost", {"calibration": "platt"}, "calibration: Input should be 'isotonic' or 'sigmoid'"),
        ("xgboost", {"window_days": -3}, "window_days: Input should be greater than 0"),
    ],
)
def test_what_a_family_does_not_have_is_refused(
    family: str, params: dict[str, object], rule: str, task: LearningTask
) -> None:
    with pytest.raises(ConfigError, match=rule):
        build(family, params, seed=0, task=task)


def test_an_estimator_of_the_project_gets_the_seed_and_one_thread(task: LearningTask) -> None:
    built = build("sklearn.ensemble:ExtraTreesClassifier", {"n_estimators": 7}, seed=5, task=task)
    assert (built.n_estimators, built.random_state, built.n_jobs) == (7, 5, None)
    assert build("xgboost:XGBClassifier", {}, seed=5, task=task).n_jobs == 1


def test_options_of_the_fit_are_not_the_estimators_own(task: LearningTask) -> None:
    options = {"window_days": 3, "half_life_days": 2, "class_weight": "balanced", "calibration": "sigmoid"}
    assert build("logistic", {"C": 0.5, **options}, seed=0, task=task)[-1].C == 0.5


def test_a_regression_has_neither_class_weights_nor_calibration() -> None:
    task = LearningTask(kind="regressor", metric="rmse", inputs=("a",))
    with pytest.raises(ConfigError, match="are for classifiers"):
        build("xgboost", {"calibration": "sigmoid"}, seed=0, task=task)


def _neighbours() -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    return make_pipeline(SimpleImputer(), KNeighborsClassifier())


def test_a_name_that_one_library_keeps_for_itself_is_free_in_a_pipeline(
    rows: pa.Table, task: LearningTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LightGBM's ``metric`` is set by the platform, that of the nearest neighbours is the user's."""
    module = ModuleType("own_neighbours")
    module.make = _neighbours  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_neighbours", module)
    params = {"kneighborsclassifier__metric": "manhattan"}
    estimator = _fitted("own_neighbours:make", rows[:200], task, **params)
    assert estimator[-1].metric == "manhattan"
    for name in ("metric", "num_threads", "deterministic"):
        with pytest.raises(ConfigError, match="no parameters"):
            build("lightgbm", {name: 1}, seed=1, task=task)
