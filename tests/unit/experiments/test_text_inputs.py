"""Texts, bools and numbered categories as inputs of every family, from the fit to the packaged model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import SchemaMismatch, TrainingError
from raymlops.experiments import LearningTask, estimators, fit_candidate, loss_curve
from raymlops.experiments.task import example_of, model_inputs
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import load_model, save_model

FAMILIES = ["xgboost", "lightgbm", "hist_gradient_boosting", "random_forest", "logistic"]
CITIES = ["Köln", "東京", "東大", "京都", "Ulm", ""]
PARAMS: dict[str, dict[str, object]] = {
    "xgboost": {"n_estimators": 12},
    "lightgbm": {"n_estimators": 12, "min_child_samples": 3},
    "hist_gradient_boosting": {"max_iter": 12},
    "random_forest": {"n_estimators": 12},
    "logistic": {},
}
TASK = LearningTask(inputs=("city", "age", "member", "store"), label="y", categories=("store",))


def rows(count: int, seed: int, *, cities: list[str] = CITIES) -> pa.Table:
    """Rows whose label hangs on a missing city, on the city and on the number of the store."""
    draw = np.random.default_rng(seed)
    city, store = draw.integers(0, len(cities), count), draw.choice([35, 7, 120, 11], count)
    absent, age = draw.random(count) < 0.15, draw.normal(40, 9, count)
    said = np.where(absent, 2.5, np.where(city % 2 == 0, 1.5, -1.5)) + np.where(store == 35, 1.5, -0.5)
    label = (draw.random(count) < 1 / (1 + np.exp(-said))).astype(np.int64)
    return pa.table(
        {
            "city": pa.array([None if a else cities[c] for a, c in zip(absent, city, strict=True)]),
            "age": pa.array(age, mask=draw.random(count) < 0.1),
            "member": pa.array(draw.random(count) < 0.5, mask=draw.random(count) < 0.1),
            "store": pa.array(store, mask=draw.random(count) < 0.05),
            "y": label,
        }
    )


TRAIN, ASKED = rows(500, 1), rows(60, 2, cities=[*CITIES, "never seen", "Köl"])


def packaged(estimator: Any, task: LearningTask, directory: Path) -> Model:
    manifest = save_model(directory, estimator, example=example_of(TRAIN.slice(0, 40), task))
    return load_model(directory, manifest, sha256_of(manifest))


def assert_answers_as_fitted(model: Model, estimator: Any, task: LearningTask, asked: pa.Table = ASKED) -> None:
    own = estimators.predict(estimator, model_inputs(asked, task), "classifier")
    columns = columns_of(asked, model.signature)
    np.testing.assert_allclose(model.predict(columns)["probability"], own, atol=1e-6)
    order = np.random.default_rng(3).permutation(asked.num_rows)
    shuffled = model.predict({name: values[order] for name, values in columns.items()})
    np.testing.assert_allclose(shuffled["probability"], own[order], atol=1e-6)
    for row in range(asked.num_rows):
        alone = model.predict({name: values[row : row + 1] for name, values in columns.items()})
        np.testing.assert_allclose(alone["probability"], own[row : row + 1], atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_learns_from_texts_and_answers_as_fitted(family: str, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    fitted = fit_candidate(family, PARAMS[family], seed=1, rows=TRAIN, task=TASK, valid=ASKED)
    model = packaged(fitted.estimator, TASK, tmp_path / "m")
    assert [column.dtype for column in model.signature.inputs] == ["BYTES", "FP64", "BOOL", "INT64"]
    assert_answers_as_fitted(model, fitted.estimator, TASK)
    said = model.predict(columns_of(ASKED, model.signature))["probability"][:, 1]
    labels = ASKED["y"].to_numpy()
    assert said[labels == 1].mean() > said[labels == 0].mean() + 0.1
    weights = model.importances()
    assert max(weights, key=lambda name: weights[name]) in {"city", "store"} if weights else family.startswith("hist")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_that_is_missing_in_every_row_of_the_fit_is_missing(family: str, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    place = TRAIN.column_names.index("city")
    table = TRAIN.set_column(place, "city", pa.nulls(TRAIN.num_rows, pa.string()))
    if family == "hist_gradient_boosting":  # scikit-learn's own bound: it bins no column without a value
        with pytest.raises(TrainingError, match="hist_gradient_boosting"):
            fit_candidate(family, PARAMS[family], seed=1, rows=table, task=TASK)
        return
    fitted = fit_candidate(family, PARAMS[family], seed=1, rows=table, task=TASK)
    manifest = save_model(tmp_path / "m", fitted.estimator, example=example_of(table.slice(0, 40), TASK))
    model = load_model(tmp_path / "m", manifest, sha256_of(manifest))
    assert_answers_as_fitted(model, fitted.estimator, TASK)


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_seeds_are_equal_bytes(family: str, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    digests = []
    for turn in range(2):
        fitted = fit_candidate(family, PARAMS[family], seed=1, rows=TRAIN, task=TASK)
        manifest = save_model(tmp_path / f"m{turn}", fitted.estimator, example=example_of(TRAIN.slice(0, 40), TASK))
        digests.append(sha256_of(manifest))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("options", [{"calibration": "isotonic"}, {"early_stopping_rounds": 3, "n_estimators": 40}])
def test_xgboost_with_texts_is_calibrated_and_stops_early(options: dict[str, object], tmp_path: Path) -> None:
    fitted = fit_candidate("xgboost", PARAMS["xgboost"] | options, seed=1, rows=TRAIN, task=TASK, valid=rows(200, 5))
    model = packaged(fitted.estimator, TASK, tmp_path / "m")
    assert_answers_as_fitted(model, fitted.estimator, TASK)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["isotonic", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_a_calibrated_family_learns_from_texts_and_answers_as_fitted(family: str, method: str, tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    fitted = fit_candidate(family, PARAMS[family] | {"calibration": method}, seed=1, rows=TRAIN, task=TASK)
    assert_answers_as_fitted(packaged(fitted.estimator, TASK, tmp_path / "m"), fitted.estimator, TASK)


def test_the_loss_falls_with_the_rounds_where_inputs_are_texts() -> None:
    for family in ("xgboost", "lightgbm"):
        pytest.importorskip(family)
        fitted = fit_candidate(family, PARAMS[family], seed=1, rows=TRAIN, task=TASK)
        curve = loss_curve(fitted.estimator, TRAIN, TASK)
        assert curve[-1][0] == 12
        assert curve[-1][1] < curve[0][1] - 0.02


def test_texts_alone_are_inputs_enough(tmp_path: Path) -> None:
    task = LearningTask(inputs=("city",), label="y")
    for family in FAMILIES:
        pytest.importorskip("lightgbm")
        fitted = fit_candidate(family, PARAMS[family], seed=1, rows=TRAIN, task=task)
        assert_answers_as_fitted(packaged(fitted.estimator, task, tmp_path / family), fitted.estimator, task)


def test_a_project_s_own_pipeline_is_given_texts(tmp_path: Path) -> None:
    family = "tests.unit.experiments.test_text_inputs:by_city"
    task = LearningTask(inputs=("city", "age"), label="y")
    fitted = fit_candidate(family, {}, seed=1, rows=TRAIN, task=task)
    assert_answers_as_fitted(packaged(fitted.estimator, task, tmp_path / "m"), fitted.estimator, task)


def by_city() -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), (SimpleImputer(), ["age"]))
    return make_pipeline(encoder, LogisticRegression())


def test_numbers_alone_are_still_a_matrix() -> None:
    task = LearningTask(inputs=("age", "member"), label="y")
    inputs = model_inputs(TRAIN, task)
    assert isinstance(inputs, np.ndarray)
    assert inputs.dtype == np.float64


def test_times_are_refused_with_the_remedy() -> None:
    table = TRAIN.append_column("at", pa.array([0] * TRAIN.num_rows, pa.timestamp("us", tz="UTC")))
    task = LearningTask(inputs=("at",), label="y")
    with pytest.raises(SchemaMismatch, match=r"'at' must be a number, a bool or a text.*derive"):
        fit_candidate("logistic", {}, seed=1, rows=table, task=task)
