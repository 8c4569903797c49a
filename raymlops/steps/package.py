"""Put together what a version consists of: the model's files, and what its monitor starts from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.experiments import LearningTask
from raymlops.experiments.task import numeric
from raymlops.monitoring import HOLDOUT_FILE, REFERENCE_FILE, SCORE_COLUMN, Holdout, Reference
from raymlops.monitoring.holdout import ScoreKind
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
    """The model's directory with ``reference.bin`` and ``holdout.arrow`` beside the model.

    The holdout's scores are those of the model before the refit, the only one that had not seen its rows.
    """
    known = Parts.model_validate(parts)
    window = None if monitor_window_days is None else timedelta(days=monitor_window_days)
    importances = load_packaged(model).importances()
    inputs = _reference_of_inputs(
        frame.slice(0, dossier["fitted"]["rows"]), known.task.inputs, window=window, importances=importances
    )
    # only the holdout has scores of rows that the model had not seen; others would look surer than what is to come
    judged = pa.table({SCORE_COLUMN: scores["score"], EVENT_TIME: known.judged(frame)[EVENT_TIME]})
    reference = inputs.joined(Reference.fit(judged, event_time=EVENT_TIME, window=window))
    directory = context.scratch("package")
    shutil.copytree(model, directory)
    (directory / REFERENCE_FILE).write_bytes(reference.dumps())
    holdout = Holdout.fit(
        _score_kind(known.task),
        _as_logged(known.judged(frame), known.task.inputs),
        np.asarray(scores["score"].to_numpy(), dtype=np.float64),
        np.asarray(scores["outcome"].to_numpy(), dtype=np.float64),
        importances=importances,
    )
    (directory / HOLDOUT_FILE).write_bytes(holdout.dumps())
    return {"package": directory}


def _reference_of_inputs(
    rows: pa.Table, inputs: tuple[str, ...], *, window: timedelta | None, importances: Mapping[str, float]
) -> Reference:
    """What the inputs look like in the rows that the model was fitted on."""
    table = _as_logged(rows, inputs).append_column(EVENT_TIME, rows[EVENT_TIME])
    return Reference.fit(table, event_time=EVENT_TIME, window=window, importances=importances)


def _as_logged(rows: pa.Table, inputs: tuple[str, ...]) -> pa.Table:
    """The inputs as numbers, which is how prediction events hold them."""
    return pa.table({name: pa.array(numeric(rows[name], name), from_pandas=True) for name in inputs})


def _score_kind(task: LearningTask) -> ScoreKind:
    if task.kind == "regressor":
        return "regressor"
    return "binary" if task.binary else "multiclass"
