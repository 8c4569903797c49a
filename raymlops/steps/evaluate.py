"""Evaluate the packaged model on the rows it was fitted on, and on the holdout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops.errors import ConfigError
from raymlops.experiments import (
    LearningTask,
    Resampling,
    constant_predictions,
    metrics,
    score,
    target,
    time_blocks,
)
from raymlops.experiments import evaluate as evaluate_predictions
from raymlops.steps.served import load_packaged, predictions_of
from raymlops.steps.split import Parts, event_times_us

__all__ = ["evaluate", "slice_columns"]


def evaluate(
    context: object,
    *,
    frame: pa.Table,
    parts: Mapping[str, int],
    task: Mapping[str, Any],
    model: Path,
    manifest: Mapping[str, Any],
    seed: int,
    confidence: float,
    bootstrap_rounds: int,
    block_hours: float,
    slices: list[str],
    slice_min_rows: int,
) -> Mapping[str, Any]:
    """Metrics on both sets of rows; intervals, calibration and slices on the holdout; the constant baseline beside them.

    Raises:
        ConfigError: A slice is not a column.
    """
    del context
    learned, places = LearningTask.model_validate(task), Parts(**parts)
    fitted, judged = places.before_holdout(frame), places.judged(frame)
    packaged = load_packaged(model, manifest)
    fitted_labels, labels = target(fitted, learned), target(judged, learned)
    predictions = predictions_of(packaged, judged)
    resampling = Resampling(rounds=bootstrap_rounds, confidence=confidence, block_hours=block_hours, seed=seed)
    evaluation = evaluate_predictions(
        labels,
        predictions,
        task=learned,
        blocks=time_blocks(event_times_us(judged), resampling),
        resampling=resampling,
        slices=slice_columns(judged, slices),
        slice_min_rows=slice_min_rows,
    )
    constant = constant_predictions(fitted_labels, judged.num_rows, learned)
    return {
        "evaluation": {
            "train": metrics(fitted_labels, predictions_of(packaged, fitted), learned),
            "train_rows": fitted.num_rows,
            "holdout": evaluation,
            "baseline": metrics(labels, constant, learned),
        },
        "scores": pa.table({"score": score(predictions, learned)}),
    }


def slice_columns(table: pa.Table, names: list[str]) -> dict[str, pa.ChunkedArray]:
    """The columns to slice by.

    Raises:
        ConfigError: A name is not a column.
    """
    unknown = [name for name in names if name not in table.column_names]
    if unknown:
        raise ConfigError(f"slices {unknown} are not columns of the training set: {table.column_names}")
    return {name: table[name] for name in names}
