from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.experiments import LearningTask
from raymlops.pipelines import Halt
from raymlops.steps.split import Parts, Window, event_times_us, split, split_places

DAY_US = 86_400_000_000
TASK = LearningTask(inputs=("x",))


def _frame(times: list[int], labels: list[int]) -> pa.Table:
    at = pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    return pa.table({"event_time": at, "label": labels, "x": pa.array(np.arange(len(times), dtype=np.float64))})


def _split(frame: pa.Table, **window: Any) -> Any:
    asked = Window(**window).model_dump(mode="json")
    return split(None, frame=frame, task=TASK.model_dump(mode="json"), report={"training_set": "t"}, window=asked)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=80),
    st.floats(0.5, 30),
    st.floats(0.05, 0.95),
)
def test_no_part_holds_a_row_as_new_as_one_of_a_later_part(days: list[int], holdout_days: float, share: float) -> None:
    times = np.sort(np.array(days, dtype=np.int64)) * DAY_US
    validation, holdout = split_places(times, holdout_days, share)
    assert 0 <= validation <= holdout <= len(times) - 1
    for place in {validation, holdout} - {0, len(times)}:
        assert times[place - 1] < times[place]
    newest = times[-1]
    assert (times[holdout:] > newest - holdout_days * DAY_US).all()
    assert (times[:holdout] <= newest - holdout_days * DAY_US).all()


def test_the_shares_are_those_asked_for() -> None:
    times = np.arange(100, dtype=np.int64) * DAY_US
    assert split_places(times, 10, 0.2) == (72, 90)


def test_parts_are_slices_of_the_frame() -> None:
    frame = _frame([day * DAY_US for day in range(100)], [0, 1] * 50)
    parts = _split(frame, holdout_days=10)["parts"]
    assert isinstance(parts, Parts)
    sizes = [part(frame).num_rows for part in (parts.train, parts.valid, parts.before_holdout, parts.judged)]
    assert sizes == [72, 18, 90, 10]
    assert event_times_us(parts.judged(frame))[0] == 90 * DAY_US


def test_an_empty_part_blocks_the_run() -> None:
    got = _split(_frame([0, DAY_US], [0, 1]), holdout_days=10)
    assert isinstance(got, Halt)
    assert got.result["outcome"] == "blocked"
    assert "no rows for ['train', 'validation']" in got.result["reason"]


def test_a_class_without_a_training_row_blocks_the_run() -> None:
    got = _split(_frame([day * DAY_US for day in range(100)], [0] * 80 + [1] * 20), holdout_days=10)
    assert isinstance(got, Halt)
    assert "classes [1] have no training row" in got.result["reason"]


def test_a_regression_needs_no_classes() -> None:
    frame = _frame([day * DAY_US for day in range(100)], [3] * 100)
    task = LearningTask(kind="regressor", metric="rmse", inputs=("x",)).model_dump(mode="json")
    got = split(
        None,
        frame=frame,
        task=task,
        report={"training_set": "t"},
        window=Window(holdout_days=10).model_dump(mode="json"),
    )
    assert not isinstance(got, Halt)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_instants_of_any_unit_are_microseconds(unit: str) -> None:
    frame = pa.table(
        {
            "event_time": pa.array([1_000_000_000], pa.timestamp("ns"))
            .cast(pa.timestamp(unit))
            .cast(pa.timestamp(unit, tz="UTC"))
        }
    )
    assert event_times_us(frame).tolist() == [1_000_000]
