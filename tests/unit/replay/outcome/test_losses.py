"""Losses of predictions row by row."""

from __future__ import annotations

import math

import pytest

from raymlops.replay.outcome.losses import TaskLoss

LOG_LOSS = TaskLoss("classifier", "log_loss")


def test_log_loss_of_two_classes() -> None:
    found = LOG_LOSS.rows([1.0, 0.0], [(0.2, 0.8), (0.6, 0.4)])
    assert found.tolist() == pytest.approx([-math.log(0.8), -math.log(0.6)])


def test_probabilities_are_kept_away_from_zero() -> None:
    assert LOG_LOSS.rows([1.0], [(1.0, 0.0)])[0] == pytest.approx(-math.log(1e-6))


def test_a_class_that_a_version_did_not_know_has_next_to_no_probability() -> None:
    found = LOG_LOSS.rows([2.0, 2.0], [(0.5, 0.5), (0.1, 0.1, 0.8)])
    assert found.tolist() == pytest.approx([-math.log(1e-6), -math.log(0.8)])


def test_brier_score_of_two_classes() -> None:
    assert TaskLoss("classifier", "brier").rows([1.0], [(0.2, 0.8)])[0] == pytest.approx(0.04)


@pytest.mark.parametrize(("metric", "losses"), [("rmse", [4.0, 0.25]), ("mae", [2.0, 0.5])])
def test_errors_of_a_regression(metric: str, losses: list[float]) -> None:
    found = TaskLoss("regressor", metric).rows([1.0, 2.0], [(3.0,), (1.5,)])  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx(losses)


def test_no_rows_have_no_losses() -> None:
    assert len(LOG_LOSS.rows([], [])) == 0


def test_the_loss_has_a_name_for_people() -> None:
    names = [TaskLoss("regressor", "rmse").name, TaskLoss("regressor", "mae").name, LOG_LOSS.name]
    assert names == ["squared error", "absolute error", "log loss"]
