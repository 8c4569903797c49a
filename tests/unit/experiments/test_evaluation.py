from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, DataError
from raymlops.experiments import Comparison, Interval, LearningTask, Resampling, compare, evaluate, row_blocks, verdict

TASK = LearningTask(inputs=("a",))
ROWS = 3000
RESAMPLING = Resampling(seed=1)
BLOCKS = row_blocks(ROWS, 1)


def _world(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the chances they were drawn by."""
    rng = np.random.default_rng(seed)
    chances = rng.uniform(0.05, 0.95, ROWS)
    return (rng.random(ROWS) < chances).astype(np.int64), chances


def _both(positive: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - positive, positive])


def _difference(mean: float, low: float, high: float, **slices: Interval) -> Comparison:
    interval = Interval(mean=mean, low=low, high=high)
    return Comparison(rows=10, candidate_loss=0.5, champion_loss=0.5 - mean, difference=interval, slices=slices)


def test_an_evaluation_holds_metrics_intervals_calibration_and_slices() -> None:
    labels, chances = _world()
    origin = pa.chunked_array([["EWR", "JFK", None] * (ROWS // 3 - 1), ["EWR", "rare", None]])
    got = evaluate(
        labels,
        _both(chances),
        task=TASK,
        blocks=BLOCKS,
        resampling=RESAMPLING,
        slices={"origin": origin},
        slice_min_rows=900,
    )
    assert got.rows == ROWS
    low, high = got.intervals["log_loss"]
    assert low < got.metrics["log_loss"] < high
    assert [bin.rows for bin in got.calibration] == [ROWS // 10] * 10
    assert all(bin.observed == pytest.approx(bin.predicted, abs=0.1) for bin in got.calibration)
    assert {(s.value, s.rows) for s in got.slices} == {("EWR", 1000), ("None", 1000), ("JFK", 999)}
    assert all(s.low < s.loss < s.high for s in got.slices)


def test_a_regressor_has_an_interval_of_its_rmse() -> None:
    task = LearningTask(kind="regressor", metric="rmse", inputs=("a",))
    labels = np.random.default_rng(0).normal(size=ROWS)
    got = evaluate(labels, np.zeros(ROWS), task=task, blocks=BLOCKS, resampling=RESAMPLING)
    low, high = got.intervals["rmse"]
    assert low < got.metrics["rmse"] < high
    assert got.calibration == ()


def test_a_comparison_finds_what_two_separate_intervals_would_not() -> None:
    labels, chances = _world()
    slightly_off = np.clip(chances * 0.9, 0.01, 0.99)
    got = compare(labels, _both(chances), _both(slightly_off), task=TASK, blocks=BLOCKS, resampling=RESAMPLING)
    assert got.difference.high < 0
    alone = evaluate(labels, _both(chances), task=TASK, blocks=BLOCKS, resampling=RESAMPLING).intervals["log_loss"]
    assert got.champion_loss < alone[1]
    assert got.difference.mean == pytest.approx(got.candidate_loss - got.champion_loss)


def test_equal_models_differ_by_exactly_nothing() -> None:
    labels, chances = _world()
    got = compare(labels, _both(chances), _both(chances), task=TASK, blocks=BLOCKS, resampling=RESAMPLING)
    assert got.difference == Interval(mean=0.0, low=0.0, high=0.0)


def test_a_candidate_that_fails_on_one_slice_is_found_there() -> None:
    labels, chances = _world()
    weekend = np.arange(ROWS) % 3 == 0
    slices = {"weekend": pa.chunked_array([weekend])}
    worse = np.where(weekend, 0.5, chances)
    got = compare(labels, _both(worse), _both(chances), task=TASK, blocks=BLOCKS, resampling=RESAMPLING, slices=slices)
    assert got.slices["weekend=True"].low > 0
    assert got.slices["weekend=False"] == Interval(mean=0.0, low=0.0, high=0.0)


@pytest.mark.parametrize(
    ("comparison", "rule", "tolerance", "passed"),
    [
        (_difference(-0.02, -0.03, -0.01), "better", 0.0, True),
        (_difference(-0.02, -0.03, -0.01), "better", 0.02, False),
        (_difference(-0.01, -0.03, 0.01), "better", 0.0, False),
        (_difference(-0.01, -0.03, 0.0), "absolute", 0.0, False),
        (_difference(-0.01, -0.03, -0.001), "absolute", 0.0, True),
        (_difference(-0.01, -0.03, 0.01), "not_worse", 0.0, True),
        (_difference(0.0, 0.0, 0.0), "not_worse", 0.0, True),
        (_difference(0.001, -0.01, 0.012), "not_worse", 0.0, False),
        (_difference(0.001, -0.01, 0.012), "not_worse", 0.002, True),
        (_difference(0.01, 0.005, 0.015), "not_worse", 0.002, False),
    ],
)
def test_the_rules(comparison: Comparison, rule: str, tolerance: float, passed: bool) -> None:
    got, reason = verdict(comparison, rule=rule, tolerance=tolerance)
    assert got is passed
    assert f"rule '{rule}'" in reason


def test_a_slice_may_refuse_what_the_whole_would_pass() -> None:
    bad = _difference(-0.02, -0.03, -0.01, **{"origin=JFK": Interval(mean=0.03, low=0.02, high=0.04)})
    assert verdict(bad, rule="better")[0]
    passed, reason = verdict(bad, rule="better", slice_tolerance=0.01)
    assert not passed
    assert "origin=JFK" in reason
    assert verdict(bad, rule="better", slice_tolerance=0.03)[0]


def test_a_rule_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="rule must be"):
        verdict(_difference(0, 0, 0), rule="best")


def test_a_comparison_that_is_not_finite_passes_no_rule() -> None:
    with pytest.raises(DataError, match="finite"):
        verdict(_difference(float("nan"), 0, 0), rule="not_worse")
