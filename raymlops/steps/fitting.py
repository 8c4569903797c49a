"""Fit a winner and package what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import DataError, NotEnoughRows, TrainingError
from raymlops.experiments import estimators
from raymlops.experiments.fitting import fit_candidate, loss_curve
from raymlops.experiments.task import FloatArray, example_of, is_text, model_inputs
from raymlops.flavors.guard import foreign_errors
from raymlops.records.learning.tasks import LearningTask
from raymlops.serving.models.model_files import save_model
from raymlops.steps.project.context import TrainingContext
from raymlops.steps.validation.served import EXPECTED

__all__ = ["fit_and_package", "probe_rows"]

_PROBES = 64
_REACH = 10.0
_UNSEEN = "a text that no row holds"
_LARGEST = 1e30
"""What a model is served with must fit into 32 bits."""


def probe_rows(table: pa.Table, inputs: tuple[str, ...]) -> pa.Table:
    """Model inputs to try a packaged model with.

    Rows from all over the table, one where everything is missing, one of zeros, and two that lie ten times the seen
    range beyond its ends: there a division by zero or an overflow shows.
    """
    places = np.unique(np.linspace(0, table.num_rows - 1, num=min(_PROBES, table.num_rows)).astype(np.int64))
    rows = table.select(list(inputs)).take(pa.array(places))
    schema = pa.schema([pa.field(field.name, field.type, nullable=True) for field in rows.schema])
    nothing = pa.table([pa.nulls(1, field.type) for field in schema], schema=schema)
    odd = pa.table([_odd_values(table[field.name]) for field in schema], schema=schema)
    return pa.concat_tables([rows.cast(schema), nothing, odd]).combine_chunks()


def _odd_values(column: pa.ChunkedArray) -> pa.Array:
    """Zero, and what lies far below and far above all values; of texts, one that was never seen."""
    if is_text(column.type):
        return pa.array(["", _UNSEEN, _UNSEEN], column.type)
    if pa.types.is_boolean(column.type):
        return pa.array([False, False, True])
    ends = pc.min_max(column)
    low, high = (0.0 if ends[name].as_py() is None else float(ends[name].as_py()) for name in ("min", "max"))
    reach = _REACH * max(high - low, 1.0)
    values = np.array([0.0, low - reach, high + reach])
    if pa.types.is_floating(column.type):
        return pa.array(np.clip(values, -_LARGEST, _LARGEST)).cast(column.type)
    limits = np.iinfo(column.type.to_pandas_dtype())
    return pa.array([int(max(limits.min, min(limits.max, round(value)))) for value in values], column.type)


def fit_and_package(
    context: TrainingContext, rows: pa.Table, task: LearningTask, winner: Mapping[str, Any], probes: pa.Table
) -> dict[str, Any]:
    """Fit a winner's parameters on ``rows`` and package the model.

    Returns:
        ``model``, the directory; ``probes``, the probe rows with what the estimator itself says to them; ``fit``:
        ``rows`` it was fitted on, whether it ``converged`` and ``takes_missing`` values, and the ``curve`` of its
        loss on them by rounds.

    Raises:
        NotEnoughRows: The rows lack a class: the model could never answer it.
        DataError: The estimator's predictions are not finite, or it cannot be packaged.
    """
    asked = probes.num_rows
    fitted = fit_candidate(winner["family"], winner["params"], seed=winner["seed"], rows=rows, task=task)
    if fitted.seen is not None and not fitted.seen.whole:
        rule = f"the rows that the model is fitted on must hold all {task.classes} classes"
        raise NotEnoughRows(f"{rule}, got none of {fitted.seen.missing}", classes=fitted.seen.missing)
    estimator = fitted.estimator
    probes, expected = _answers(estimator, probes.select(list(task.inputs)), task)
    for place in range(expected.shape[1]):
        probes = probes.append_column(f"{EXPECTED}{place}", pa.array(expected[:, place]))
    directory = context.scratch("model")
    save_model(directory, estimator, example=example_of(rows.slice(0, 100), task))
    curve = loss_curve(estimator, rows, task)
    fit = {
        "rows": fitted.rows,
        "converged": fitted.converged,
        "curve": [list(point) for point in curve],
        "takes_missing": probes.num_rows == asked,
    }
    return {"model": directory, "probes": probes, "fit": fit}


def _answers(estimator: Any, probes: pa.Table, task: LearningTask) -> tuple[pa.Table, FloatArray]:
    """The probe rows that an estimator answers, and its answers [rows, outputs].

    One that takes no missing values is spared the row that holds nothing else: no caller gets that far with it.

    Raises:
        DataError: It fails on a row of values, or an answer is not finite.
    """
    try:
        whole = _predicted(estimator, probes, task)
    except TrainingError:
        whole = None
    if whole is not None and np.isfinite(whole).all():
        return probes, whole
    kept, problems = [], []
    for place in range(probes.num_rows):
        row = probes.slice(place, 1)
        try:
            problem = "" if np.isfinite(_predicted(estimator, row, task)).all() else "the answer is not finite"
            kept.append(place)
        except TrainingError as error:
            problem = "" if not any(column.null_count == 0 for column in row.columns) else str(error)
        problems += [f"{row.to_pylist()[0]}: {problem}"] if problem else []
    if problems:
        raise DataError(f"the estimator must answer every row of values: {'; '.join(problems[:3])}")
    probes = probes.take(pa.array(kept))
    return probes, _predicted(estimator, probes, task)


def _predicted(estimator: Any, rows: pa.Table, task: LearningTask) -> FloatArray:
    cannot = foreign_errors("the estimator cannot answer", TrainingError)
    with cannot, np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what comes of them is looked at
        return estimators.predict(estimator, model_inputs(rows, task), task.kind).reshape(rows.num_rows, -1)
