from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.experiments import LearningTask
from raymlops.pipelines import Halt
from raymlops.steps import QualityRules
from raymlops.steps.validation.validate_data import validate_data

INPUTS = ("day", "v__x", "v__y")


def _validate(frame: pa.Table, inputs: tuple[str, ...] = INPUTS, *, kind: str = "classifier", **rules: Any) -> Any:
    task = LearningTask(kind=kind, metric="log_loss" if kind == "classifier" else "rmse", inputs=inputs)
    return validate_data(
        None,  # type: ignore[arg-type]  # without a champion it looks nothing up
        frame=frame,
        task=task.model_dump(mode="json"),
        training_set={"digest": "t" * 64},
        pin={"as_of": "2013-02-01T12:00:00+00:00", "champion": None},
        project={"request_columns": ["day"]},
        window={"holdout_days": 7.0},
        quality=QualityRules(**rules).model_dump(mode="json"),
    )


def _with(frame: pa.Table, name: str, values: Any) -> pa.Table:
    return frame.set_column(frame.column_names.index(name), name, pa.array(values, from_pandas=True))


def _newest(frame: pa.Table, name: str, value: float | None) -> pa.Table:
    """The column with one value in the newest 280 rows, which are about a week."""
    old = frame[name].to_pylist()[:-280]
    return _with(frame, name, [*old, *[value] * 280])


def test_good_data_passes_with_a_report(frame: pa.Table) -> None:
    got = _validate(frame)
    assert not isinstance(got, Halt), got.result
    report, blessing = got["report"], got["blessing"]
    assert (blessing.kind, blessing.granted, blessing.subject) == ("data", True, "t" * 64)
    assert report["values_skew"]["problem"] == "there is no champion to compare with"
    assert report["rows"] == 1200
    assert 200 < report["holdout_rows"] < 350
    assert report["class_shares"]["1"] == pytest.approx(0.5, abs=0.05)
    assert report["missing_shares"]["v__x"]["older"] == pytest.approx(0.05, abs=0.02)
    assert report["missing_shares"]["day"] == {"older": 0.0, "holdout": 0.0}
    assert report["duplicate_share"] == 0.0


BAD: list[tuple[Callable[[pa.Table], pa.Table], str]] = [
    (lambda frame: frame.drop_columns(["v__x"]), "schema skew: columns ['v__x'] are missing"),
    (lambda frame: _with(frame, "v__x", frame["event_time"]), "'v__x' must be a number, a bool or a text"),
    (lambda frame: _with(frame, "label", ["a"] * 1200), "schema skew: label 'label' must be a number, got string"),
    (lambda frame: _with(frame, "v__x", ["a", "b", "c"] * 300 + ["b"] * 300), "frozen: feature 'v__x' is 'b' in all"),
    (lambda frame: _with(frame, "v__x", ["a"] * 900 + [None] * 300), "of input 'v__x' in the newest rows"),
    (lambda frame: _with(frame, "label", [2] * 1200), "label: label 'label' must be"),
    (lambda frame: _with(frame, "label", [None] * 1200), "schema skew"),
    (lambda frame: frame.slice(0, 100), "too few: 100 labelled rows"),
    (lambda frame: _with(frame, "v__y", [np.nan] * 1199 + [1.0]), "missing: 99.9% of input 'v__y'"),
    (lambda frame: _newest(frame, "v__y", None), "of input 'v__y' in the newest rows"),
    (lambda frame: _newest(frame, "v__x", 0.25), "frozen: feature 'v__x' is 0.25 in all"),
    (lambda frame: _newest(frame, "v__x", float("inf")), "infinite: input 'v__x'"),
    (lambda frame: pa.concat_tables([frame.slice(0, 400)] * 3).sort_by("event_time"), "duplicates: 66.7% of the rows"),
    (lambda frame: _with(frame, "label", [0] * 1200), "label: class 1 has 0.00% of the rows"),
    (lambda frame: _with(frame, "label", [0] * 880 + [1] * 320), "% of the newest rows"),
]


@pytest.mark.parametrize(("spoil", "reason"), BAD)
def test_bad_data_blocks_the_run_with_the_reason(
    frame: pa.Table, spoil: Callable[[pa.Table], pa.Table], reason: str
) -> None:
    got = _validate(spoil(frame))
    assert isinstance(got, Halt), got
    assert got.result["outcome"] == "blocked"
    assert reason in got.result["reason"]


def test_all_that_is_wrong_is_said_at_once(frame: pa.Table) -> None:
    got = _validate(_newest(_newest(frame, "v__x", 0.0), "v__y", None))
    assert len(got.result["problems"]) == 2


def test_rules_can_be_switched_off(frame: pa.Table) -> None:
    spoiled = _newest(_newest(frame, "v__x", 0.0), "v__y", None)
    assert not isinstance(_validate(spoiled, frozen_mode_share=None, max_missing_increase=None), Halt)


def test_what_comes_with_a_request_may_stand_still(frame: pa.Table) -> None:
    assert not isinstance(_validate(_newest(frame, "day", 3)), Halt)


def test_a_feature_that_mostly_had_one_value_may_have_it_again(frame: pa.Table) -> None:
    rare = [0.0 if place % 3 or place >= 900 else 1.0 for place in range(1200)]
    assert not isinstance(_validate(_with(frame, "v__x", rare)), Halt)


def test_stale_data_blocks_where_asked(frame: pa.Table) -> None:
    assert not isinstance(_validate(frame, max_staleness_days=2.0), Halt)
    got = _validate(frame, max_staleness_days=1.0)
    assert "stale: the newest row is 1.5 days old, at most 1" in got.result["reason"]


def test_the_label_time_is_no_input(frame: pa.Table) -> None:
    got = _validate(frame.append_column("label_time", frame["v__x"]), (*INPUTS, "label_time"))
    assert "known too late" in got.result["reason"]


def test_a_regression_has_no_class_shares(frame: pa.Table) -> None:
    got = _validate(_with(frame, "label", np.linspace(-5, 5, 1200)), kind="regressor")
    assert got["report"]["class_shares"] == {}
