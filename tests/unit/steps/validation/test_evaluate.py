from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError
from raymlops.experiments import LearningTask, metrics, target
from raymlops.steps.split import Parts
from raymlops.steps.validation.evaluate import Judging, _outcomes, evaluate
from raymlops.steps.validation.served import load_packaged, predictions_of


def _evaluate(frame: pa.Table, parts: Any, trained: Any, **how: Any) -> Any:
    judging = Judging(**how).model_dump(mode="json")
    return evaluate(None, frame=frame, parts=parts, model=trained["model"], fit=trained["fit"], judging=judging)


def test_each_set_of_rows_has_its_own_metrics(frame: pa.Table, parts: Any, trained: Any) -> None:
    got = _evaluate(frame, parts, trained, slices=("day",), slice_min_rows=30)
    evaluation, known = got["evaluation"], Parts.model_validate(parts)
    model = load_packaged(trained["model"])
    for name, rows in (("train", frame.slice(0, 900)), ("holdout", frame.slice(900))):
        expected = metrics(target(rows, known.task), predictions_of(model, rows), known.task)
        found = evaluation["train"] if name == "train" else evaluation["holdout"].metrics
        assert {metric: value for metric, value in found.items() if metric != "ece"} == expected
    bins = evaluation["holdout"].calibration
    gaps = [each.rows * abs(each.predicted - each.observed) for each in bins]
    assert evaluation["holdout"].metrics["ece"] == pytest.approx(sum(gaps) / 300)
    assert evaluation["train_rows"] == 900
    assert evaluation["baseline"]["log_loss"] == pytest.approx(0.693, abs=0.01)
    assert evaluation["baseline_train"]["log_loss"] > evaluation["train"]["log_loss"]
    assert evaluation["fit"] == {"rows": 900, "converged": True, "curve": [], "takes_missing": True}
    assert evaluation["holdout"].metrics["log_loss"] < 0.6
    assert {s.column for s in evaluation["holdout"].slices} == {"day"}
    assert got["scores"]["score"].to_numpy() == pytest.approx(predictions_of(model, frame.slice(900))[:, 1])
    assert got["scores"]["outcome"].to_pylist() == frame["label"].slice(900).to_pylist()


def test_a_slice_that_is_no_column_is_an_error(frame: pa.Table, parts: Any, trained: Any) -> None:
    with pytest.raises(ConfigError, match=r"slices \['carrier'\]"):
        _evaluate(frame, parts, trained, slices=("carrier",))


def test_of_many_classes_the_outcome_is_whether_the_named_one_is_right() -> None:
    task = LearningTask(inputs=("x",), classes=3)
    predictions = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    assert _outcomes(np.array([1, 2, 2]), predictions, task).tolist() == [1.0, 0.0, 1.0]
