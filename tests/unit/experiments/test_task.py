from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from raymlops.errors import DataError, SchemaMismatch
from raymlops.experiments.task import matrix, target
from raymlops.records.learning.tasks import LearningTask


def test_the_matrix_has_the_inputs_in_order_with_nan_for_null() -> None:
    table = pa.table({"flag": [True, None, False], "count": pa.array([1, 2, None]), "value": [0.5, None, 2.5]})
    got = matrix(table, ("value", "flag", "count"))
    np.testing.assert_array_equal(got, [[0.5, 1.0, 1.0], [np.nan, np.nan, 2.0], [2.5, 0.0, np.nan]])
    assert got.dtype == np.float64
    assert got.flags.c_contiguous


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(SchemaMismatch, match=r"\['b'\]"):
        matrix(pa.table({"a": [1.0]}), ("a", "b"))


@pytest.mark.parametrize("values", [pa.array(["x"]), pa.array([0], pa.timestamp("us", tz="UTC"))])
def test_only_numbers_are_model_inputs(values: pa.Array) -> None:
    with pytest.raises(SchemaMismatch, match="'a' must be a number"):
        matrix(pa.table({"a": values}), ("a",))


@pytest.mark.parametrize("labels", [[0, 1, 1], [0.0, 1.0, 1.0], [False, True, True]])
def test_labels_of_any_number_type_become_classes(labels: list[float]) -> None:
    got = target(pa.table({"label": labels}), LearningTask(inputs=("a",)))
    assert got.tolist() == [0, 1, 1]
    assert got.dtype == np.int64


@pytest.mark.parametrize("label", [None, float("nan"), float("inf"), 2.0, -1.0, 0.5])
def test_a_label_that_is_no_class_is_refused(label: float | None) -> None:
    with pytest.raises(DataError, match="label 'label' must be"):
        target(pa.table({"label": [0.0, label, 1.0]}), LearningTask(inputs=("a",)))


def test_a_regressor_takes_any_finite_label() -> None:
    task = LearningTask(kind="regressor", metric="rmse", inputs=("a",))
    assert target(pa.table({"label": [-1.5, 7.0]}), task).tolist() == [-1.5, 7.0]


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"metric": "rmse"}, "metric of a classifier"),
        ({"kind": "regressor"}, "metric of a regressor"),
        ({"inputs": ()}, "at least one"),
        ({"inputs": ("a", "a")}, "distinct"),
        ({"inputs": ("label",)}, "must not hold the label"),
        ({"classes": 1}, "at least 2"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(fields: dict[str, object], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        LearningTask.model_validate({"inputs": ("a",), **fields})


def test_labels_may_be_categories_of_numbers() -> None:
    given = pa.array([1, 0, 1], pa.int8()).dictionary_encode()
    assert target(pa.table({"x": [1.0, 2.0, 3.0], "label": given}), LearningTask(inputs=("x",))).tolist() == [1, 0, 1]
    texts = pa.table({"x": [1.0], "label": pa.array(["yes"]).dictionary_encode()})
    with pytest.raises(SchemaMismatch, match="must be the number of a class, from 0 to 1, got dictionary"):
        target(texts, LearningTask(inputs=("x",)))
