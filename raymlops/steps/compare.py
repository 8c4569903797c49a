"""Compare the candidate with the champion, on rows that neither has seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.clock import to_us
from raymlops.experiments import (
    Comparison,
    LearningTask,
    Resampling,
    Rule,
    constant_predictions,
    metrics,
    target,
    time_blocks,
    verdict,
)
from raymlops.experiments import compare as compare_predictions
from raymlops.experiments.task import FloatArray
from raymlops.pipelines import Halt
from raymlops.records.models import ModelVersion
from raymlops.serving.model_files import load_model
from raymlops.steps.context import TrainingContext
from raymlops.steps.evaluate import slice_columns
from raymlops.steps.outcome import refused
from raymlops.steps.served import load_packaged, predictions_of
from raymlops.steps.split import Parts, event_times_us

__all__ = ["TRAINED_UNTIL", "compare"]

TRAINED_UNTIL = "trained_until"
"""Parameter of a model version: event time of the newest row it was fitted on."""


def compare(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, int],
    task: Mapping[str, Any],
    model: Path,
    manifest: Mapping[str, Any],
    pin: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    seed: int,
    confidence: float,
    bootstrap_rounds: int,
    block_hours: float,
    slices: list[str],
    slice_min_rows: int,
    slice_tolerance: float | None,
    rule: Rule,
    tolerance: float,
    min_rows: int,
) -> Mapping[str, Any] | Halt:
    """Compare on the same rows, pairwise; refused where the rule does not hold.

    Where there is no champion, or the rule is ``absolute``, the candidate must beat the constant baseline. The
    champion may have been fitted on part of the holdout; those rows are left out as long as ``min_rows`` remain.

    Raises:
        ModelLoadFailed: The champion's files are missing or altered.
    """
    learned, places = LearningTask.model_validate(task), Parts(**parts)
    rows, found = places.judged(frame), {"champion": None, "seen_rows": 0}
    measured = evaluation["holdout"]["metrics"]
    champion = None if rule == "absolute" else pin["champion"]
    if champion is None:
        rule = "absolute"
        other = constant_predictions(target(places.before_holdout(frame), learned), rows.num_rows, learned)
    else:
        version = context.metadata.get_version(context.project.model, champion)
        lacking = [c.name for c in version.manifest.signature.inputs if c.name not in frame.column_names]
        if lacking:
            return refused(f"champion {champion} takes {lacking}, which this training set lacks", metrics=measured)
        rows, seen = _unseen(rows, version, min_rows)
        found = {"champion": champion, "seen_rows": seen}
        other = predictions_of(load_model(Path(version.path), version.manifest, version.digest), rows)
    labels = target(rows, learned)
    resampling = Resampling(rounds=bootstrap_rounds, confidence=confidence, block_hours=block_hours, seed=seed)
    compared = compare_predictions(
        labels,
        predictions_of(load_packaged(model, manifest), rows),
        other,
        task=learned,
        blocks=time_blocks(event_times_us(rows), resampling),
        resampling=resampling,
        slices=slice_columns(rows, slices),
        slice_min_rows=slice_min_rows,
    )
    passed, reason = verdict(compared, rule=rule, tolerance=tolerance, slice_tolerance=slice_tolerance)
    record = _record(compared, rule=rule, passed=passed, reason=reason, **found)
    theirs = {} if champion is None else metrics(labels, other, learned)
    if not passed:
        return refused(reason, metrics=measured, champion_metrics=theirs, comparison=record)
    return {"comparison": {"reason": reason, "champion_metrics": theirs, "comparison": record}}


def _unseen(rows: pa.Table, version: ModelVersion, min_rows: int) -> tuple[pa.Table, int]:
    """The rows that are newer than all the version was fitted on, and how many rows left it has seen."""
    until = version.parameters.get(TRAINED_UNTIL)
    if not isinstance(until, str):
        return rows, 0
    seen = int(np.searchsorted(event_times_us(rows), to_us(datetime.fromisoformat(until)), side="right"))
    if rows.num_rows - seen < min_rows:
        return rows, seen
    return rows.slice(seen), 0


def _record(
    compared: Comparison, *, rule: str, passed: bool, reason: str, champion: int | None, seen_rows: int
) -> dict[str, Any]:
    return {
        "against": "baseline" if champion is None else "champion",
        "champion": champion,
        "rule": rule,
        "passed": passed,
        "reason": reason,
        "rows": compared.rows,
        "candidate_loss": compared.candidate_loss,
        "champion_loss": compared.champion_loss,
        "difference": compared.difference.mean,
        "difference_low": compared.difference.low,
        "difference_high": compared.difference.high,
        "champion_seen_rows": seen_rows,
        "slices": {name: interval.model_dump() for name, interval in compared.slices.items()},
    }
