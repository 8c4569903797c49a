"""Put together what a version consists of: the model's files, and what its monitor starts from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.errors import NotEnoughRows
from raymlops.experiments.task import target
from raymlops.monitoring import (
    DOMAIN_FILE,
    HOLDOUT_FILE,
    LABEL_COLUMN,
    REFERENCE_FILE,
    SCORE_COLUMN,
    DomainClassifier,
    Holdout,
    Reference,
)
from raymlops.monitoring.performance.holdout import ScoreKind
from raymlops.records.learning.labels import label_text
from raymlops.records.learning.signatures import Signature
from raymlops.records.learning.tasks import LearningTask
from raymlops.steps.project.context import EVENT_TIME, TrainingContext
from raymlops.steps.split import Parts
from raymlops.steps.validation.served import load_packaged
from raymlops.steps.validation.skew import as_logged

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
    """The model's directory with ``reference.bin``, ``domain.arrow`` and ``holdout.arrow`` beside the model.

    ``domain.arrow`` is left out where there are too few rows to draw a sample from. The holdout's scores are those of
    the model before the refit, the only one that had not seen its rows.
    """
    known = Parts.model_validate(parts)
    window = None if monitor_window_days is None else timedelta(days=monitor_window_days)
    packaged = load_packaged(model)
    importances = packaged.importances()
    fitted = frame.slice(0, dossier["fitted"]["rows"])
    rows = as_logged(fitted, known.task.inputs).append_column(EVENT_TIME, fitted[EVENT_TIME])
    inputs = Reference.fit(rows, event_time=EVENT_TIME, window=window, importances=importances)
    labels = _labels(fitted, known.task, packaged.signature)
    # only the holdout has scores of rows that the model had not seen; others would look surer than what is to come
    judged = pa.table({SCORE_COLUMN: scores["score"], EVENT_TIME: known.judged(frame)[EVENT_TIME]})
    reference = inputs.joined(Reference.fit(judged, event_time=EVENT_TIME, window=window))
    reference = reference.joined(Reference.fit(labels, event_time=EVENT_TIME, window=window))
    directory = context.scratch("package")
    shutil.copytree(model, directory)
    (directory / REFERENCE_FILE).write_bytes(reference.dumps())
    try:
        domain = DomainClassifier.fit(rows, event_time=EVENT_TIME, window=window, importances=importances)
    except NotEnoughRows:
        pass  # windows are then judged column by column alone
    else:
        (directory / DOMAIN_FILE).write_bytes(domain.dumps())
    holdout = Holdout.fit(
        _score_kind(known.task),
        as_logged(known.judged(frame), known.task.inputs),
        np.asarray(scores["score"].to_numpy(), dtype=np.float64),
        np.asarray(scores["outcome"].to_numpy(), dtype=np.float64),
        importances=importances,
    )
    (directory / HOLDOUT_FILE).write_bytes(holdout.dumps())
    return {"package": directory}


def _labels(rows: pa.Table, task: LearningTask, signature: Signature) -> pa.Table:
    """What was to be predicted, as the labels of predictions will come: texts of classes, or numbers."""
    values = target(rows, task)
    if task.kind == "regressor":
        column = pa.array(values)
    else:
        texts = [label_text(name) for name in signature.classes]
        column = pa.DictionaryArray.from_arrays(pa.array(values), pa.array(texts, pa.string())).dictionary_decode()
    return pa.table({LABEL_COLUMN: column, EVENT_TIME: rows[EVENT_TIME]})


def _score_kind(task: LearningTask) -> ScoreKind:
    if task.kind == "regressor":
        return "regressor"
    return "binary" if task.binary else "multiclass"
