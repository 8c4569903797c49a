"""Fit a winner and package what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.errors import DataError
from raymlops.experiments import LearningTask, estimators, matrix, target
from raymlops.serving.model_files import save_model
from raymlops.steps.context import TrainingContext
from raymlops.steps.served import EXPECTED

__all__ = ["fit_and_package", "probe_rows"]

_PROBES = 64


def probe_rows(table: pa.Table, inputs: tuple[str, ...]) -> pa.Table:
    """Model inputs to try a packaged model with: rows from all over the table, and one where everything is missing."""
    places = np.unique(np.linspace(0, table.num_rows - 1, num=min(_PROBES, table.num_rows)).astype(np.int64))
    rows = table.select(list(inputs)).take(pa.array(places))
    schema = pa.schema([pa.field(field.name, field.type, nullable=True) for field in rows.schema])
    nothing = pa.table([pa.nulls(1, field.type) for field in schema], schema=schema)
    return pa.concat_tables([rows.cast(schema), nothing]).combine_chunks()


def fit_and_package(
    context: TrainingContext, rows: pa.Table, task: LearningTask, winner: Mapping[str, Any], probes: pa.Table
) -> dict[str, Any]:
    """Fit a winner's parameters on ``rows`` and package the model.

    Returns:
        ``model``, the directory; ``probes``, the probe rows with what the estimator itself says to them.

    Raises:
        DataError: The estimator's predictions are not finite.
    """
    estimator = estimators.build(winner["family"], winner["params"], seed=winner["seed"], task=task)
    estimators.fit(estimator, matrix(rows, task.inputs), target(rows, task))
    probes = probes.select(list(task.inputs))
    expected = estimators.predict(estimator, matrix(probes, task.inputs), task.kind).reshape(probes.num_rows, -1)
    if not np.isfinite(expected).all():
        raise DataError(
            f"predictions of family {winner['family']!r} must be finite, and some for the probe rows are not"
        )
    for place in range(expected.shape[1]):
        probes = probes.append_column(f"{EXPECTED}{place}", pa.array(expected[:, place]))
    directory = context.scratch("model")
    save_model(directory, estimator, example=rows.select(list(task.inputs)).slice(0, 100))
    return {"model": directory, "probes": probes}
