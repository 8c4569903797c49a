from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, NotEnoughRows, SchemaMismatch
from raymlops.experiments import FitOptions, LearningTask, fit_candidate, loss_curve, matrix, metrics, target
from raymlops.experiments.estimators import predict

XGB = {"n_estimators": 30, "max_depth": 3, "learning_rate": 0.3}


def _fit(rows: pa.Table, task: LearningTask, family: str = "xgboost", **params: Any) -> Any:
    return fit_candidate(family, {**(XGB if family == "xgboost" else {}), **params}, seed=0, rows=rows, task=task)


def _judged(fitted: Any, rows: pa.Table, task: LearningTask) -> dict[str, float]:
    return metrics(target(rows, task), predict(fitted.estimator, matrix(rows, task.inputs), task.kind), task)


@pytest.fixture
def dated(rows: pa.Table) -> pa.Table:
    """The rows, twenty a day for a hundred days."""
    days = np.arange(rows.num_rows) // 20 * 86_400_000_000
    return rows.append_column("event_time", pa.array(days).cast(pa.timestamp("us", tz="UTC")))


def test_early_stopping_tells_the_best_round(rows: pa.Table, task: LearningTask) -> None:
    params = {"n_estimators": 300, "early_stopping_rounds": 5, "learning_rate": 0.5}
    train, valid = rows[:1000], rows[1000:]
    stopped = fit_candidate("xgboost", params, seed=0, rows=train, task=task, valid=valid)
    best = stopped.best_iteration
    assert best is not None
    assert 1 <= best < 100
    again = fit_candidate("xgboost", {"n_estimators": best, "learning_rate": 0.5}, seed=0, rows=train, task=task)
    np.testing.assert_array_equal(
        predict(again.estimator, matrix(rows, task.inputs), task.kind),
        predict(stopped.estimator, matrix(rows, task.inputs), task.kind),
    )


def test_early_stopping_without_validation_rows_is_refused(rows: pa.Table, task: LearningTask) -> None:
    with pytest.raises(ConfigError, match="validation rows"):
        _fit(rows, task, early_stopping_rounds=5)


def test_a_window_slides_with_the_newest_row(dated: pa.Table, task: LearningTask) -> None:
    assert _fit(dated, task, window_days=10).rows == 200
    assert _fit(dated[:1000], task, window_days=10).rows == 200
    for everything in (None, "all"):
        assert _fit(dated, task, window_days=everything).rows == 2000
    recent = _fit(dated, task, window_days=10)
    alone = _fit(dated[1800:], task)
    np.testing.assert_array_equal(
        predict(recent.estimator, matrix(dated, task.inputs), task.kind),
        predict(alone.estimator, matrix(dated, task.inputs), task.kind),
    )


def test_a_window_needs_times(rows: pa.Table, task: LearningTask) -> None:
    for option in ({"window_days": 10}, {"half_life_days": 10}):
        with pytest.raises(SchemaMismatch, match="need the column 'event_time'"):
            _fit(rows, task, **option)


def test_recent_rows_weigh_more(dated: pa.Table, task: LearningTask) -> None:
    """The world turned at the 1,500th row: the model that forgets is right about what comes after it."""
    label = np.asarray(dated["label"])
    turned = pa.array(np.where(np.arange(2000) < 1500, label, 1 - label))
    world = dated.set_column(dated.column_names.index("label"), "label", turned)
    newest = _judged(_fit(world[:1900], task), world[1900:], task)["log_loss"]
    forgetting = _judged(_fit(world[:1900], task, half_life_days=5), world[1900:], task)["log_loss"]
    assert forgetting < newest - 0.1


def test_weights_are_halved_by_a_half_life(dated: pa.Table, task: LearningTask) -> None:
    weights = FitOptions(half_life_days=30).weights(dated, target(dated, task), task)
    assert weights is not None
    assert weights.mean() == pytest.approx(1.0)
    assert weights[-1] / weights[-601] == pytest.approx(2.0)


@pytest.mark.parametrize("family", ["xgboost", "hist_gradient_boosting", "random_forest", "logistic"])
def test_balanced_classes_weigh_the_same(rows: pa.Table, task: LearningTask, family: str) -> None:
    rare = pa.concat_tables([rows.filter(pa.compute.equal(rows["label"], 0)), rows[:200]])
    share = float(np.mean(target(rare, task)))
    assert share < 0.2
    sizes = {"random_forest": {"n_estimators": 20, "max_depth": 4}, "hist_gradient_boosting": {"max_iter": 20}}
    size = sizes.get(family, {})
    plain, balanced = _fit(rare, task, family, **size), _fit(rare, task, family, class_weight="balanced", **size)
    assert _judged(plain, rare, task)["mean_probability"] == pytest.approx(share, abs=0.05)
    assert _judged(balanced, rare, task)["mean_probability"] > share + 0.1


def test_scale_pos_weight_is_a_parameter_like_any_other(rows: pa.Table, task: LearningTask) -> None:
    shares = [_judged(_fit(rows, task, scale_pos_weight=w), rows, task)["mean_probability"] for w in (1.0, 9.0)]
    assert shares[1] > shares[0] + 0.1


def test_an_estimator_that_knows_no_weights_is_named(rows: pa.Table, task: LearningTask) -> None:
    with pytest.raises(ConfigError, match="need sample weights, which KNeighborsClassifier has not"):
        _fit(rows, task, "sklearn.neighbors:KNeighborsClassifier", class_weight="balanced")


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_calibration_mends_what_weights_distort(rows: pa.Table, task: LearningTask, method: str) -> None:
    distorted = _fit(rows[:1500], task, class_weight=None, scale_pos_weight=20.0)
    mended = _fit(rows[:1500], task, scale_pos_weight=20.0, calibration=method)
    before, after = (_judged(fitted, rows[1500:], task) for fitted in (distorted, mended))
    assert abs(before["calibration_bias"]) > 0.15 > 0.05 > abs(after["calibration_bias"])
    assert after["brier"] < before["brier"] - 0.05
    assert mended.rows == 1200, "the newest fifth is held out from the fit"


def test_calibration_of_three_classes(rows: pa.Table) -> None:
    three = LearningTask(inputs=("a", "b", "c"), classes=3)
    labels = np.asarray(rows["label"]) + (np.arange(2000) % 4 == 0)
    table = rows.set_column(3, "label", pa.array(labels))
    fitted = fit_candidate("xgboost", {**XGB, "calibration": "isotonic"}, seed=0, rows=table, task=three)
    predictions = predict(fitted.estimator, matrix(table, three.inputs), "classifier")
    np.testing.assert_allclose(predictions.sum(axis=1), 1.0)


def test_too_few_rows_to_hold_out_are_named(rows: pa.Table, task: LearningTask) -> None:
    with pytest.raises(NotEnoughRows, match="calibration needs rows"):
        _fit(rows[:1], task, "logistic", calibration="sigmoid")
    with pytest.raises(ConfigError, match="two rows of every class among those held out, got 0"):
        _fit(rows.sort_by([("label", "descending")]), task, calibration="sigmoid")


def test_every_round_is_reported_and_a_report_ends_the_fit(rows: pa.Table, task: LearningTask) -> None:
    seen: list[tuple[int, float]] = []

    def report(rounds: int, loss: float) -> bool:
        seen.append((rounds, loss))
        return rounds < 12

    fitted = fit_candidate("xgboost", XGB, seed=0, rows=rows[:1500], task=task, valid=rows[1500:], report=report)
    assert [rounds for rounds, _ in seen] == list(range(1, 13))
    assert fitted.stopped_at == 12
    assert seen[-1][1] < seen[0][1]
    assert seen[-1][1] == pytest.approx(_judged(fitted, rows[1500:], task)["log_loss"], abs=1e-5)


def test_reports_speak_the_tasks_metric(rows: pa.Table) -> None:
    brier, told = LearningTask(inputs=("a", "b", "c"), metric="brier"), []
    fitted = fit_candidate(
        "xgboost", XGB, seed=0, rows=rows[:1500], task=brier, valid=rows[1500:],
        report=lambda rounds, loss: told.append(loss) or True,
    )  # fmt: skip
    assert told[-1] == pytest.approx(_judged(fitted, rows[1500:], brier)["brier"], abs=1e-5)


def test_a_loss_curve_falls_and_ends_at_the_whole_model(rows: pa.Table, task: LearningTask) -> None:
    fitted = _fit(rows, task, calibration="sigmoid")
    curve = loss_curve(fitted.estimator, rows, task)
    assert curve[0][0] == 1
    assert curve[-1][0] == 30
    assert curve[-1][1] < curve[0][1]
    staged = _fit(rows, task, "hist_gradient_boosting", max_iter=10)
    assert loss_curve(staged.estimator, rows, task)[-1][0] == 10
    assert loss_curve(_fit(rows, task, "logistic").estimator, rows, task) == []


def test_a_solver_that_gives_up_is_told(rows: pa.Table, task: LearningTask) -> None:
    assert _fit(rows, task, "logistic").converged
    assert not _fit(rows, task, "logistic", max_iter=1).converged


def test_other_warnings_go_on_to_whoever_listens(
    rows: pa.Table, task: LearningTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.warns(UserWarning, match="something is odd"):
        _fit(rows, task, "loud:estimator")


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_frame_is_fitted_as_its_rows(kind: str) -> None:
    task = LearningTask(inputs=("x",))
    table = pa.table({"x": [0.0, 1.0, 2.0, 3.0], "label": [0, 0, 1, 1]})
    frame = table.to_pandas() if kind == "pandas" else pl.from_arrow(table)
    assert matrix(frame, ("x",)).tolist() == [[0.0], [1.0], [2.0], [3.0]]
    assert target(frame, task).tolist() == [0, 0, 1, 1]
    fitted, expected = (fit_candidate("logistic", {}, seed=0, rows=rows, task=task) for rows in (frame, table))
    asked = np.array([[0.5], [2.5]])
    assert np.array_equal(fitted.estimator.predict_proba(asked), expected.estimator.predict_proba(asked))
    twice = pa.Table.from_arrays([table["x"], table["x"], table["label"]], names=["x", "x", "label"])
    with pytest.raises(SchemaMismatch, match="rows: column names must be unique"):
        fit_candidate("logistic", {}, seed=0, rows=twice, task=task)
