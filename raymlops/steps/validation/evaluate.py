"""Evaluate the packaged model on the rows it was fitted on, and on the holdout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError
from raymlops.experiments.bootstrap import Resampling, time_blocks
from raymlops.experiments.evaluation import evaluate as evaluate_predictions
from raymlops.experiments.metrics import constant_predictions, metrics, score
from raymlops.experiments.task import FloatArray, IntArray, target
from raymlops.pipelines.step import Halt
from raymlops.records.learning.tasks import LearningTask
from raymlops.steps.outcome import refused_unevaluated
from raymlops.steps.split import Parts, event_times_us
from raymlops.steps.validation.served import load_packaged, predictions_of

__all__ = ["Judging", "evaluate"]


class Judging(Resampling):
    """How intervals are drawn, and which slices are looked at."""

    slices: tuple[str, ...] = ()
    """Columns whose values are judged apart."""
    slice_min_rows: int = 200

    def columns(self, table: pa.Table) -> dict[str, pa.ChunkedArray]:
        """The columns to slice by.

        Raises:
            ConfigError: A name is not a column.
        """
        unknown = [name for name in self.slices if name not in table.column_names]
        if unknown:
            raise ConfigError(f"slices {unknown} are not columns of the training set: {table.column_names}")
        return {name: table[name] for name in self.slices}


def evaluate(
    context: object,
    *,
    frame: pa.Table,
    parts: Mapping[str, Any],
    model: Path,
    fit: Mapping[str, Any],
    judging: Mapping[str, Any],
) -> Mapping[str, Any] | Halt:
    """Metrics on both; intervals, calibration, slices and the constant baseline on the holdout.

    Refused where an answer is not finite: nothing can be said about such a model.

    ``scores`` holds what the prediction log would hold of the holdout's rows, and what came of them: the label, or, of
    several classes, whether the class that was named is right.

    Raises:
        ConfigError: A slice is not a column.
    """
    del context
    known, how = Parts.model_validate(parts), Judging.model_validate(judging)
    task, fitted, judged = known.task, known.before_holdout(frame), known.judged(frame)
    packaged = load_packaged(model)
    fitted_labels, labels = target(fitted, task), target(judged, task)
    predictions, of_fitted = predictions_of(packaged, judged), predictions_of(packaged, fitted)
    for name, values in (("the holdout", predictions), ("the rows it was fitted on", of_fitted)):
        odd = int((~np.isfinite(values)).sum())
        if odd:
            return refused_unevaluated(f"{odd} predictions for {name} are not finite")
    evaluation = evaluate_predictions(
        labels,
        predictions,
        task=task,
        blocks=time_blocks(event_times_us(judged), how),
        resampling=how,
        slices=how.columns(judged),
        slice_min_rows=how.slice_min_rows,
    )
    constant = constant_predictions(fitted_labels, judged.num_rows, task)
    return {
        "evaluation": {
            "fit": fit,
            "train": metrics(fitted_labels, of_fitted, task),
            "train_rows": fitted.num_rows,
            "holdout": evaluation,
            "baseline": metrics(labels, constant, task),
            "baseline_train": metrics(fitted_labels, constant_predictions(fitted_labels, fitted.num_rows, task), task),
        },
        "scores": pa.table({"score": score(predictions, task), "outcome": _outcomes(labels, predictions, task)}),
    }


def _outcomes(labels: FloatArray | IntArray, predictions: FloatArray, task: LearningTask) -> FloatArray:
    if task.kind == "classifier" and not task.binary:
        labels = predictions.argmax(axis=1) == labels
    return np.asarray(labels, dtype=np.float64)
