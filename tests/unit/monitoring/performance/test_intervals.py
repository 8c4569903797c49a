from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from raymlops.config.monitoring import PerformanceConfig
from raymlops.monitoring.performance.intervals import (
    find_degradation,
    measure_binary,
    measure_multiclass,
    measure_regressor,
)
from raymlops.records.windows import Performance

RNG = np.random.default_rng(0)
CONFIG = PerformanceConfig(margin=0.05, calibration_margin=0.05, min_labelled_rows=200)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


def binary(rows: int, bias: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    truth = RNG.beta(2, 4, rows)
    labels = (RNG.random(rows) < truth).astype(float)
    return np.clip(truth + bias, 0.01, 0.99), labels


def test_binary_metrics_are_scikit_learns() -> None:
    scores, labels = binary(2000)
    scores = scores.round(2)  # with ties
    found = measure_binary(2500, scores, labels)
    assert (found.rows, found.labelled_rows) == (2500, 2000)
    assert found.metrics["log_loss"] == pytest.approx(sk.log_loss(labels, scores))
    assert found.metrics["brier"] == pytest.approx(sk.brier_score_loss(labels, scores))
    assert found.metrics["auc"] == pytest.approx(sk.roc_auc_score(labels, scores))
    assert found.metrics["accuracy"] == pytest.approx(sk.accuracy_score(labels, scores >= 0.5))
    assert found.metrics["calibration_bias"] == pytest.approx(scores.mean() - labels.mean())


def test_intervals_cover_the_truth() -> None:
    metrics = ["log_loss", "brier", "auc", "accuracy", "calibration_bias"]
    truth = measure_binary(1, *binary(400_000)).metrics
    covered = dict.fromkeys(metrics, 0)
    for _ in range(200):
        found = measure_binary(400, *binary(400)).intervals
        for metric in metrics:
            covered[metric] += found[metric][0] <= truth[metric] <= found[metric][1]
    assert all(180 <= count <= 200 for count in covered.values()), covered


def test_regressor_metrics_are_scikit_learns() -> None:
    labels = RNG.normal(size=500)
    values = labels + RNG.normal(0.5, 1, 500)
    found = measure_regressor(500, values, labels)
    assert found.metrics["mae"] == pytest.approx(sk.mean_absolute_error(labels, values))
    assert found.metrics["rmse"] == pytest.approx(sk.root_mean_squared_error(labels, values))
    for metric in ("mae", "rmse", "bias"):
        low, high = found.intervals[metric]
        assert low < found.metrics[metric] < high


def test_multiclass_is_measured_by_accuracy() -> None:
    found = measure_multiclass(120, np.arange(100) < 80)
    assert found.metrics == {"accuracy": 0.8}
    low, high = found.intervals["accuracy"]
    assert 0.7 < low < 0.8 < high < 0.88


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_labels_give_what_can_be_known(rows: int) -> None:
    scores, labels = np.array([0.2, 0.9])[:rows], np.array([0.0, 1.0])[:rows]
    assert measure_binary(5, scores, labels).labelled_rows == rows
    assert measure_regressor(5, scores, labels).labelled_rows == rows
    assert measure_multiclass(5, labels == 1).labelled_rows == rows
    for found in (measure_binary(5, scores, labels), measure_regressor(5, scores, labels)):
        assert Performance.model_validate_json(found.model_dump_json()) == found


def test_sure_and_wrong_is_a_large_finite_loss() -> None:
    assert measure_binary(2, np.array([0.0, 1.0]), np.array([1.0, 0.0])).metrics["log_loss"] == pytest.approx(
        34.54, abs=0.01
    )


def test_a_champion_like_its_reference_is_not_degraded() -> None:
    for _ in range(20):
        found = measure_binary(1000, *binary(1000))
        assert find_degradation(found, {"log_loss": 0.5956}, CONFIG) == ""


def test_a_loss_surely_beyond_the_margin_is_degradation() -> None:
    found = measure_binary(1000, *binary(1000))
    reason = find_degradation(found, {"log_loss": 0.45}, CONFIG)
    assert reason.startswith("log_loss 0.")
    assert "the reference's 0.45 with its margin of 5%" in reason


def test_a_loss_that_may_be_chance_is_not() -> None:
    found = measure_binary(250, *binary(250))
    reference = {"log_loss": found.metrics["log_loss"] / 1.06}
    assert find_degradation(found, reference, CONFIG) == ""


def test_miscalibration_is_degradation() -> None:
    found = measure_binary(2000, *binary(2000, bias=0.15))
    assert "misses the positive share" in find_degradation(found, {}, CONFIG)
    lenient = CONFIG.model_copy(update={"calibration_margin": 0.2})
    assert find_degradation(found, {}, lenient) == ""


def test_a_miss_that_may_be_chance_is_not() -> None:
    scores = np.full(200, 0.5)
    labels = (np.arange(200) < 113).astype(float)  # 0.065 off, and 0 lies within the interval
    assert find_degradation(measure_binary(200, scores, labels), {}, CONFIG) == ""


def test_too_few_labels_have_no_verdict() -> None:
    assert find_degradation(measure_binary(199, *binary(199)), {"log_loss": 0.1}, CONFIG) == ""
    assert find_degradation(None, {"log_loss": 0.1}, CONFIG) == ""


def test_regressors_and_many_classes_degrade_too() -> None:
    labels = RNG.normal(size=1000)
    found = measure_regressor(1000, labels + RNG.normal(0, 1, 1000), labels)
    assert "rmse" in find_degradation(found, {"rmse": 0.8}, CONFIG)
    assert find_degradation(found, {"rmse": 1.0}, CONFIG) == ""
    many = measure_multiclass(1000, RNG.random(1000) < 0.7)
    assert "accuracy 0." in find_degradation(many, {"accuracy": 0.9}, CONFIG)
    assert find_degradation(many, {"accuracy": 0.7}, CONFIG) == ""
