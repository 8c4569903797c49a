"""Put together what a version consists of: the model's files and the reference that its monitor starts from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops.experiments.task import numeric
from raymlops.monitoring import REFERENCE_FILE, SCORE_COLUMN, Reference
from raymlops.steps.context import EVENT_TIME, TrainingContext
from raymlops.steps.served import load_packaged
from raymlops.steps.split import Parts

__all__ = ["package"]


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
    inputs = _reference_of_inputs(
        frame.slice(0, dossier["fitted"]["rows"]),
        known.task.inputs,
        window=window,
        importances=load_packaged(model).importances(),
    )
    # only the holdout has scores of rows that the model had not seen; others would look surer than what is to come
    judged = scores.append_column(EVENT_TIME, known.judged(frame)[EVENT_TIME]).rename_columns(
        [SCORE_COLUMN, EVENT_TIME]
    )
    reference = inputs.joined(Reference.fit(judged, event_time=EVENT_TIME, window=window))
    directory = context.scratch("package")
    shutil.copytree(model, directory)
    (directory / REFERENCE_FILE).write_bytes(reference.dumps())
    return {"package": directory}


def _reference_of_inputs(
    rows: pa.Table, inputs: tuple[str, ...], *, window: timedelta | None, importances: Mapping[str, float]
) -> Reference:
    """What the inputs look like in the rows that the model was fitted on, as numbers, which is how events hold them."""
    columns = {name: pa.array(numeric(rows[name], name), from_pandas=True) for name in inputs}
    table = pa.table({**columns, EVENT_TIME: rows[EVENT_TIME]})
    return Reference.fit(table, event_time=EVENT_TIME, window=window, importances=importances)
