from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from raymlops.errors import DataError, NotEnoughRows
from raymlops.experiments import LearningTask, constant_predictions, loss, metrics, score
from raymlops.experiments.metrics import auc

BINARY = LearningTask(inputs=("a",))
THREE = LearningTask(inputs=("a",), classes=3)
NUMBER = LearningTask(kind="regressor", metric="rmse", inputs=("a",))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 99)), min_size=2, max_size=60))
def test_binary_metrics_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels = np.array([0, 1, *(label for label, _ in pairs)])
    positive = np.array([50, 50, *(percent for _, percent in pairs)]) / 100
    got = metrics(labels, np.column_stack([1 - positive, positive]), BINARY)
    assert got["log_loss"] == pytest.approx(reference.log_loss(labels, positive))
    assert got["brier"] == pytest.approx(reference.brier_score_loss(labels, positive))
    assert got["auc"] == pytest.approx(reference.roc_auc_score(labels, positive))
    assert got["calibration_bias"] == pytest.approx(got["mean_probability"] - got["positive_share"])


def test_metrics_of_three_classes() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, 50), rng.dirichlet([1, 1, 1], 50)
    got = metrics(labels, predictions, THREE)
    assert got["log_loss"] == pytest.approx(reference.log_loss(labels, predictions))
    assert got["accuracy"] == pytest.approx(reference.accuracy_score(labels, predictions.argmax(axis=1)))
    assert got["brier"] == pytest.approx(((predictions - np.eye(3)[labels]) ** 2).sum(axis=1).mean())
    assert "auc" not in got


def test_metrics_of_a_regressor() -> None:
    labels, predictions = np.array([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 3.0])
    got = metrics(labels, predictions, NUMBER)
    assert got == pytest.approx({"rmse": np.sqrt(5 / 3), "mae": 1.0, "mean_error": 1 / 3})
    assert loss(labels, predictions, NUMBER).tolist() == [0.0, 4.0, 1.0]


def test_a_certain_and_wrong_prediction_costs_much_but_not_infinitely_much() -> None:
    assert metrics(np.array([1]), np.array([[1.0, 0.0]]), BINARY)["log_loss"] == pytest.approx(34.54, abs=0.01)


def test_auc_is_left_out_where_one_class_is_not_there() -> None:
    assert "auc" not in metrics(np.array([1, 1]), np.full((2, 2), 0.5), BINARY)
    with pytest.raises(NotEnoughRows, match="0 negative"):
        auc(np.array([1, 1]), np.array([0.1, 0.2]))


@pytest.mark.parametrize("predictions", [np.full((2, 3), 0.5), np.full(2, 0.5), np.array([[0.5, np.nan], [0.5, 0.5]])])
def test_predictions_that_are_none_are_refused(predictions: np.ndarray) -> None:
    with pytest.raises(DataError, match="predictions must"):
        metrics(np.array([0, 1]), predictions, BINARY)


def test_no_rows_have_no_metrics() -> None:
    with pytest.raises(NotEnoughRows, match="got 0"):
        metrics(np.array([], dtype=np.int64), np.empty((0, 2)), BINARY)


def test_the_constant_baseline_says_the_shares_it_has_seen() -> None:
    got = constant_predictions(np.array([0, 0, 1]), 4, BINARY)
    assert got.shape == (4, 2)
    assert got[0].tolist() == [0.6, 0.4]
    assert constant_predictions(np.array([0, 0]), 1, BINARY)[0, 1] > 0
    assert constant_predictions(np.array([1.0, 3.0]), 2, NUMBER).tolist() == [2.0, 2.0]


def test_the_score_is_what_the_prediction_log_holds() -> None:
    assert score(np.array([[0.2, 0.8]]), BINARY).tolist() == [0.8]
    assert score(np.array([[0.2, 0.5, 0.3]]), THREE).tolist() == [0.5]
    assert score(np.array([7.0]), NUMBER).tolist() == [7.0]
