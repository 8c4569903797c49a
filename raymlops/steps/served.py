"""Models as they will be served: packaged, loaded by the serving code, asked by tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.errors import DataError
from raymlops.experiments import LearningTask, matrix, target
from raymlops.experiments import estimators as families
from raymlops.experiments.task import FloatArray
from raymlops.records.models import ModelManifest
from raymlops.records.record import sha256_of
from raymlops.serving.model import Model, columns_of
from raymlops.serving.model_files import load_model, save_model
from raymlops.steps.context import TrainingContext

__all__ = ["fit_and_package", "load_packaged", "predictions_of", "probe_rows"]

_PROBES = 64


def load_packaged(directory: Path, manifest: Mapping[str, Any]) -> Model:
    """Load a packaged model.

    Raises:
        ModelLoadFailed: A file is missing or altered.
    """
    known = ModelManifest.model_validate(manifest)
    return load_model(directory, known, sha256_of(known))


def predictions_of(model: Model, table: pa.Table) -> FloatArray:
    """Probabilities [rows, classes] of a classifier, values [rows] of a regressor.

    Raises:
        SchemaMismatch: The table lacks an input of the model.
    """
    outputs = model.predict(columns_of(table, model.signature))
    return np.asarray(outputs["probability" if model.signature.task == "classifier" else "value"], dtype=np.float64)


def probe_rows(table: pa.Table, inputs: tuple[str, ...]) -> pa.Table:
    """Model inputs to try a packaged model with: rows from all over the table, and one where everything is missing."""
    places = np.unique(np.linspace(0, table.num_rows - 1, num=min(_PROBES, table.num_rows)).astype(np.int64))
    rows = table.select(list(inputs)).take(pa.array(places))
    nothing = pa.table({field.name: pa.nulls(1, field.type) for field in rows.schema}, schema=_nullable(rows.schema))
    return pa.concat_tables([rows.cast(_nullable(rows.schema)), nothing]).combine_chunks()


def fit_and_package(
    context: TrainingContext,
    rows: pa.Table,
    task: LearningTask,
    winner: Mapping[str, Any],
    *,
    seed: int,
    probes: pa.Table,
) -> dict[str, Any]:
    """Fit a winner's parameters on ``rows`` and package the model.

    Returns:
        ``model``, the directory; ``manifest``, its manifest; ``expected``, what the estimator itself says to ``probes``.

    Raises:
        DataError: The estimator's predictions are not finite.
    """
    estimator = families.build(winner["family"], winner["params"], seed=seed, task=task)
    families.fit(estimator, matrix(rows, task.inputs), target(rows, task))
    expected = families.predict(estimator, matrix(probes, task.inputs), task.kind)
    if not np.isfinite(expected).all():
        raise DataError(
            f"predictions of {winner['family']!r} must be finite, got others for {probes.num_rows} probe rows"
        )
    directory = context.scratch("model")
    manifest = save_model(directory, estimator, example=rows.select(list(task.inputs)).slice(0, 100))
    return {"model": directory, "manifest": manifest, "expected": expected.tolist()}


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, field.type, nullable=True) for field in schema])
