"""Put together what a version consists of: the model's files and the reference that its monitor starts from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.experiments.task import numeric
from raymlops.monitoring import REFERENCE_FILE, SCORE_COLUMN, Reference
from raymlops.steps.context import EVENT_TIME, TrainingContext
from raymlops.steps.split import Parts

__all__ = ["package", "reference_of"]


def package(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, Any],
    model: Path,
    scores: pa.Table,
    dossier: Mapping[str, Any],
    monitor_window_days: float | None,
) -> Mapping[str, Any]:
    """The model's directory with ``reference.bin`` beside the model."""
    known = Parts.model_validate(parts)
    window = None if monitor_window_days is None else timedelta(days=monitor_window_days)
    rows = frame.slice(0, dossier["fitted"]["rows"])
    reference = reference_of(rows, known.task.inputs, scores["score"], known.holdout, window)
    directory = context.scratch("package")
    shutil.copytree(model, directory)
    (directory / REFERENCE_FILE).write_bytes(reference.dumps())
    return {"package": directory}


def reference_of(
    rows: pa.Table, inputs: tuple[str, ...], scores: pa.ChunkedArray, holdout: int, window: timedelta | None
) -> Reference:
    """What the model's inputs and its own predictions look like.

    Only for the holdout are there predictions for rows that the model had not seen; others would look surer than what
    is to come. They are repeated backwards over the older rows, which keeps their distribution and their order.

    Args:
        rows: What the model was fitted on, in order of time.
        inputs: Its inputs.
        scores: Predictions for the holdout.
        holdout: Place of the holdout's first row, were it in ``rows``.
        window: Length of the windows that will be compared.
    """
    columns = {name: pa.array(numeric(rows[name], name), from_pandas=True) for name in inputs}
    known = scores.to_numpy()
    columns[SCORE_COLUMN] = pa.array(known[(np.arange(rows.num_rows) - holdout) % len(known)])
    columns[EVENT_TIME] = rows[EVENT_TIME]
    return Reference.fit(pa.table(columns), event_time=EVENT_TIME, window=window)
