"""Fit the winner: on all that lies before the holdout, and, once accepted, on everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.clock import from_us
from raymlops.errors import DataError
from raymlops.experiments.metrics import constant_predictions, loss, metrics
from raymlops.experiments.task import target
from raymlops.pipelines.step import Halt
from raymlops.steps.fitting import fit_and_package, probe_rows
from raymlops.steps.outcome import refused, refused_unevaluated
from raymlops.steps.project.context import TrainingContext
from raymlops.steps.split import Parts, event_times_us
from raymlops.steps.validation.served import load_packaged, predictions_of

__all__ = ["refit_winner", "train"]

_SLACK = 1.02
_CHECKED_ROWS = 20_000
"""Evenly spread; more would tell nothing new about a model that went wrong."""


def train(
    context: TrainingContext, *, frame: pa.Table, parts: Mapping[str, Any], winner: Mapping[str, Any]
) -> Mapping[str, Any] | Halt:
    """Fit the winner's parameters on the training and validation rows; refused where its answers are not finite."""
    known = Parts.model_validate(parts)
    probes = probe_rows(frame, known.task.inputs)
    try:
        return fit_and_package(context, known.before_holdout(frame), known.task, winner, probes)
    except DataError as error:
        return refused_unevaluated(str(error))


def refit_winner(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, Any],
    winner: Mapping[str, Any],
    model: Path,
    probes: pa.Table,
    dossier: Mapping[str, Any],
    refit: bool,
) -> Mapping[str, Any] | Halt:
    """Fit the accepted parameters on all rows, and check that nothing went wrong on the way.

    No rows are left to judge the new model by: the holdout's metrics stay those of the model before. What can be
    asked is that, on the rows it has seen, it is no worse than the model that had seen fewer of them.
    """
    known = Parts.model_validate(parts)
    task, times = known.task, event_times_us(frame)
    rows = known.rows if refit else known.holdout
    fitted = {
        "refit": refit,
        "rows": rows,
        "trained_until": from_us(int(times[rows - 1])).isoformat(),
        "holdout_from": from_us(int(times[known.holdout])).isoformat(),
    }
    if not refit:
        return {"model": model, "probes": probes, "dossier": {**dossier, "winner": winner, "fitted": fitted}}
    try:
        made = fit_and_package(context, frame, task, winner, probes)
    except DataError as error:
        return refused(f"refit is not sane: {error}", dossier)
    del made["fit"]
    sample = frame.take(pa.array(np.arange(0, frame.num_rows, -(-frame.num_rows // _CHECKED_ROWS))))
    labels = target(sample, task)
    predictions = predictions_of(load_packaged(made["model"]), sample)
    own = float(np.mean(loss(labels, predictions, task)))
    before = float(np.mean(loss(labels, predictions_of(load_packaged(model), sample), task)))
    constant = float(np.mean(loss(labels, constant_predictions(labels, len(labels), task), task)))
    if not own <= min(before * _SLACK, constant):
        return refused(
            f"refit is not sane: loss {own:.4f} on its own rows, {before:.4f} before it had seen all of them, "
            f"{constant:.4f} of the constant baseline",
            dossier,
        )
    checked = {
        "rows": sample.num_rows,
        "loss": own,
        "loss_before": before,
        "metrics": metrics(labels, predictions, task),
    }
    fitted["checked"] = checked
    return {**made, "dossier": {**dossier, "winner": winner, "fitted": fitted}}
