from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from raymlops.monitoring import Holdout, PerformanceEstimator
from raymlops.monitoring.performance.intervals import measure_binary, measure_regressor


def world(rng: np.random.Generator, rows: int, shift: float = 0.0) -> tuple[pa.Table, np.ndarray]:
    """Inputs, of which ``x`` may move, and the chance of a positive, which follows from them."""
    x, y = rng.normal(shift, 1, rows), rng.normal(size=rows)
    return pa.table({"x": x, "y": y}), expit(1.3 * x + 0.7 * y * (x > 0) - 0.5)


def said(chances: np.ndarray) -> np.ndarray:
    """The scores of a model that is far too sure."""
    return expit(2.5 * np.log(chances / (1 - chances)) + 0.5)


def fitted(seed: int = 0, rows: int = 5000) -> tuple[PerformanceEstimator, dict[str, float]]:
    rng = np.random.default_rng(seed)
    table, chances = world(rng, rows)
    labels = (rng.random(rows) < chances).astype(float)
    realised = measure_binary(rows, said(chances), labels).metrics
    return PerformanceEstimator(Holdout.fit("binary", table, said(chances), labels)), realised


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_a_shift_of_the_inputs_is_followed(shift: float) -> None:
    estimator, reference = fitted()
    table, chances = world(np.random.default_rng(1), 4000, shift)
    truth = measure_binary(4000, said(chances), (np.random.default_rng(2).random(4000) < chances).astype(float)).metrics
    found = estimator.estimate(table, said(chances))
    assert found is not None
    assert found.record.rows == 4000
    assert not found.record.problem
    for metric, tolerance in (("auc", 0.02), ("brier", 0.02), ("log_loss", 0.12), ("positive_share", 0.03)):
        assert found.record.metrics[metric] == pytest.approx(truth[metric], abs=tolerance), metric
        low, high = found.record.intervals[metric]
        assert low <= truth[metric] <= high, metric
    assert abs(reference["positive_share"] - truth["positive_share"]) > 0.1  # what it was tells little
    assert found.losses.mean() == pytest.approx(found.record.metrics["log_loss"])


def test_intervals_cover_what_is_realised() -> None:
    estimator, _ = fitted()
    rng, inside = np.random.default_rng(3), dict.fromkeys(("auc", "log_loss", "brier", "accuracy"), 0)
    for _ in range(40):
        table, chances = world(rng, 800, 0.5)
        realised = measure_binary(800, said(chances), (rng.random(800) < chances).astype(float)).metrics
        found = estimator.estimate(table, said(chances))
        assert found is not None
        for metric in inside:
            low, high = found.record.intervals[metric]
            inside[metric] += low <= realised[metric] <= high
    assert all(count >= 34 for count in inside.values()), inside


def test_concept_drift_is_not_seen() -> None:
    estimator, reference = fitted()
    table, chances = world(np.random.default_rng(4), 3000)
    found = estimator.estimate(table, said(chances))  # whatever the labels will turn out to be
    assert found is not None
    assert found.record.metrics["auc"] == pytest.approx(reference["auc"], abs=0.03)


def test_the_loss_of_a_regressor_is_followed() -> None:
    rng = np.random.default_rng(5)

    def draw(rows: int, shift: float) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        x = rng.normal(shift, 1, rows)
        return pa.table({"x": x}), x, x + 0.3 * x**2 + rng.normal(size=rows) * np.exp(0.5 * x)

    table, values, labels = draw(5000, 0.0)
    estimator = PerformanceEstimator(Holdout.fit("regressor", table, values, labels))
    table, values, labels = draw(3000, 0.8)
    realised = measure_regressor(3000, values, labels).metrics
    found = estimator.estimate(table, values)
    assert found is not None
    assert found.record.method == "loss regression"
    for metric in ("mae", "rmse", "bias"):
        low, high = found.record.intervals[metric]
        assert low <= realised[metric] <= high, metric
        assert found.record.metrics[metric] == pytest.approx(realised[metric], rel=0.15), metric
    assert found.losses.min() >= 0


def test_of_many_classes_accuracy_is_estimated() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=4000)
    right = (rng.random(4000) < expit(1 + x)).astype(float)
    confidence = expit(0.5 + 0.5 * x)
    estimator = PerformanceEstimator(Holdout.fit("multiclass", pa.table({"x": x}), confidence, right))
    moved = rng.normal(-1, 1, 2000)
    found = estimator.estimate(pa.table({"x": moved}), expit(0.5 + 0.5 * moved))
    assert found is not None
    assert set(found.record.metrics) == {"accuracy"}
    assert found.record.metrics["accuracy"] == pytest.approx(expit(1 + moved).mean(), abs=0.03)


def test_a_window_unlike_the_holdout_is_flagged() -> None:
    estimator, _ = fitted()
    table, chances = world(np.random.default_rng(7), 1000, 4.0)
    found = estimator.estimate(table, said(chances))
    assert found is not None
    assert "unlike the holdout" in found.record.problem
    assert found.record.effective_rows < 250


def test_dropped_inputs_are_said() -> None:
    estimator, _ = fitted()
    table, chances = world(np.random.default_rng(8), 1000)
    found = estimator.estimate(table.drop_columns(["y"]), said(chances))
    assert found is not None
    assert found.record.problem == "the window does not have the inputs y"


def test_broken_inputs_do_not_break_it() -> None:
    estimator, _ = fitted()
    _, chances = world(np.random.default_rng(9), 500)
    table = pa.table({"x": np.full(500, np.inf), "y": pa.nulls(500, pa.float64())})
    found = estimator.estimate(table, said(chances))
    assert found is not None
    assert all(np.isfinite([*found.record.metrics.values()]))


@pytest.mark.parametrize(("holdout", "window"), [(150, 1000), (1000, 40), (1000, 0)])
def test_too_few_rows_say_nothing(holdout: int, window: int) -> None:
    estimator, _ = fitted(rows=holdout)
    table, chances = world(np.random.default_rng(10), window)
    assert estimator.estimate(table, said(chances)) is None


def test_rows_without_a_score_are_left_out() -> None:
    estimator, _ = fitted()
    table, chances = world(np.random.default_rng(11), 600)
    scores = said(chances)
    scores[::2] = np.nan
    found = estimator.estimate(table, scores)
    assert found is not None
    assert found.places.tolist() == list(range(1, 600, 2))


def test_equal_windows_have_equal_estimates() -> None:
    table, chances = world(np.random.default_rng(12), 700)
    first, second = (fitted(rows=1000)[0].estimate(table, said(chances)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.record == second.record


def test_one_outcome_alone_has_no_auc() -> None:
    table, chances = world(np.random.default_rng(13), 1000)
    estimator = PerformanceEstimator(Holdout.fit("binary", table, chances, np.zeros(1000)))
    found = estimator.estimate(table, chances)
    assert found is not None
    assert found.record.metrics["positive_share"] == pytest.approx(0, abs=0.02)
