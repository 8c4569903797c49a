"""Fit the winner: on all that lies before the holdout, and, once accepted, on everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.experiments import LearningTask, constant_predictions, loss, metrics, target
from raymlops.pipelines import Halt
from raymlops.steps.context import TrainingContext
from raymlops.steps.outcome import refused
from raymlops.steps.served import fit_and_package, load_packaged, predictions_of, probe_rows
from raymlops.steps.split import Parts

__all__ = ["refit_winner", "train"]

_SLACK = 1.02


def train(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, int],
    task: Mapping[str, Any],
    winner: Mapping[str, Any],
    seed: int,
) -> Mapping[str, Any]:
    """Fit the winner's parameters on the training and validation rows."""
    learned = LearningTask.model_validate(task)
    probes = probe_rows(frame, learned.inputs)
    rows = Parts(**parts).before_holdout(frame)
    return {"probes": probes, **fit_and_package(context, rows, learned, winner, seed=seed, probes=probes)}


def refit_winner(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, int],
    task: Mapping[str, Any],
    winner: Mapping[str, Any],
    model: Path,
    manifest: Mapping[str, Any],
    expected: list[Any],
    probes: pa.Table,
    evaluation: Mapping[str, Any],
    comparison: Mapping[str, Any],
    seed: int,
    refit: bool,
) -> Mapping[str, Any] | Halt:
    """Fit the accepted parameters on all rows, and check that nothing went wrong on the way.

    No rows are left to judge the new model by: the holdout's metrics stay those of the model before. What can be
    asked is that, on the rows it has seen, it is no worse than the model that had seen fewer of them.
    """
    if not refit:
        rows = Parts(**parts).holdout
        kept = {"model": model, "manifest": manifest, "expected": expected}
        return {**kept, "refit": {"refit": False, "rows": rows, "metrics": evaluation["train"]}}
    learned = LearningTask.model_validate(task)
    labels = target(frame, learned)
    fitted = fit_and_package(context, frame, learned, winner, seed=seed, probes=probes)
    packaged = load_packaged(fitted["model"], fitted["manifest"].model_dump(mode="json"))
    predictions = predictions_of(packaged, frame)
    own = float(np.mean(loss(labels, predictions, learned)))
    before = float(np.mean(loss(labels, predictions_of(load_packaged(model, manifest), frame), learned)))
    constant = float(np.mean(loss(labels, constant_predictions(labels, len(labels), learned), learned)))
    if not own <= min(before * _SLACK, constant):
        return refused(
            f"refit is not sane: loss {own:.4f} on its own rows, {before:.4f} before it had seen all of them, "
            f"{constant:.4f} of the constant baseline",
            metrics=evaluation["holdout"]["metrics"],
            champion_metrics=comparison["champion_metrics"],
            comparison=comparison["comparison"],
        )
    record = {"refit": True, "rows": frame.num_rows, "metrics": metrics(labels, predictions, learned)}
    return {**fitted, "refit": {**record, "loss": own, "loss_before": before}}
