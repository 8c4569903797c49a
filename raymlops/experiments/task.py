"""The learning task over columns, and the conversion of Arrow tables to the arrays that estimators take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import DataError, SchemaMismatch
from raymlops.flavors.frames import frame_of, input_remedy, numbers_as_floats
from raymlops.tables.columns import as_table

if TYPE_CHECKING:
    from raymlops.records.learning.tasks import LearningTask

__all__ = [
    "FloatArray",
    "IntArray",
    "example_of",
    "is_numeric",
    "is_text",
    "matrix",
    "model_inputs",
    "numeric",
    "target",
    "with_texts",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def is_numeric(dtype: pa.DataType) -> bool:
    """Whether a column of this type is a model input as it is: integer, float or bool."""
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype))


def is_text(dtype: pa.DataType) -> bool:
    """Whether a column of this type is a category or a text; a dictionary of numbers is a category, too."""
    if pa.types.is_dictionary(dtype):
        return is_text(dtype.value_type) or is_numeric(dtype.value_type)
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))


def with_texts(task: LearningTask, schema: pa.Schema) -> LearningTask:
    """The task, its inputs that a table holds as texts among its categories.

    Raises:
        SchemaMismatch: An input is not there, or neither a number nor a text.
    """
    present = set(schema.names)
    missing = [name for name in task.inputs if name not in present]
    if missing:
        raise SchemaMismatch(f"inputs {missing} are not columns of the table", columns=missing)
    for name in task.inputs:
        dtype = schema.field(name).type
        if not is_numeric(dtype) and not is_text(dtype):
            rule = f"column {name!r} must be a number, a bool or a text to be a model input"
            raise SchemaMismatch(f"{rule}, got {dtype}: {input_remedy(dtype)}", column=name)
    texts = [name for name in task.inputs if is_text(schema.field(name).type) and name not in task.categories]
    return task.model_copy(update={"categories": (*task.categories, *texts)}) if texts else task


def example_of(table: pa.Table, task: LearningTask) -> pa.Table:
    """The inputs as a table; its schema holds the dtypes in which the estimator gets them."""
    selected = table.select(list(task.inputs))
    return numbers_as_floats(selected) if with_texts(task, table.schema).categories else selected


def model_inputs(table: Any, task: LearningTask) -> Any:
    """Inputs of an estimator: a matrix of float64, or a frame of pandas where an input is a category.

    In a frame, numbers and bools are float64, where missing is NaN, and texts are ``str``.

    Raises:
        SchemaMismatch: An input is not there, or neither a number nor a text.
    """
    table = as_table("inputs", table)
    if not with_texts(task, table.schema).categories:
        return matrix(table, task.inputs)
    return frame_of(example_of(table, task))


def numeric(column: pa.ChunkedArray, name: str) -> FloatArray:
    """One column as float64; null is NaN, a bool is 0 or 1.

    Raises:
        SchemaMismatch: The column is neither integer, float nor bool.
    """
    if not is_numeric(column.type):
        raise SchemaMismatch(f"column {name!r} must be a number to be a model input, got {column.type}", column=name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    filled = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    return np.asarray(filled.to_numpy(), dtype=np.float64)


def matrix(table: Any, inputs: tuple[str, ...]) -> FloatArray:
    """The inputs as a row-major array of shape [rows, inputs]; null is NaN.

    Raises:
        SchemaMismatch: It is no table or frame, or a column is not there, or not a number.
    """
    table = as_table("inputs", table)
    present = set(table.column_names)
    missing = [name for name in inputs if name not in present]
    if missing:
        raise SchemaMismatch(f"inputs {missing} are not columns of the table", columns=missing)
    values = np.empty((table.num_rows, len(inputs)), dtype=np.float64)
    for position, name in enumerate(inputs):
        values[:, position] = numeric(table.column(name), name)
    return values


def target(table: Any, task: LearningTask) -> FloatArray | IntArray:
    """The labels: int64 in 0 to classes - 1 for a classifier, float64 for a regressor; length is the table's rows.

    Raises:
        SchemaMismatch: The label is not there or not a number.
        DataError: A label is null, not finite, or not one of the classes.
    """
    table = as_table("labels", table)
    if task.label not in table.column_names:
        raise SchemaMismatch(f"label {task.label!r} is not a column of the table", column=task.label)
    given = table.column(task.label)
    if pa.types.is_dictionary(given.type) and is_numeric(given.type.value_type):  # a category of pandas
        given = given.cast(given.type.value_type)
    if not is_numeric(given.type):
        rule = "a number" if task.kind == "regressor" else f"the number of a class, from 0 to {task.classes - 1}"
        got = f"{given.type}, such as {str(given.slice(0, 1).to_pylist())[:60]}"
        raise SchemaMismatch(f"label {task.label!r} must be {rule}, got {got}", column=task.label)
    values = numeric(given, task.label)
    if not np.isfinite(values).all():
        raise DataError(
            f"label {task.label!r} must be finite, got {int((~np.isfinite(values)).sum())} rows that are not"
        )
    if task.kind == "regressor":
        return values
    labels = values.astype(np.int64)
    if len(labels) and ((labels != values).any() or labels.min() < 0 or labels.max() >= task.classes):
        got = np.unique(values)[:5].tolist()
        raise DataError(f"label {task.label!r} must be an integer from 0 to {task.classes - 1}, got {got}")
    return labels
