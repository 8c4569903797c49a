"""Compare the candidate with the champion, on rows that neither has seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.clock import to_us
from raymlops.experiments.bootstrap import time_blocks
from raymlops.experiments.evaluation import Rule, verdict
from raymlops.experiments.evaluation import compare as compare_predictions
from raymlops.experiments.metrics import constant_predictions, metrics
from raymlops.experiments.task import FloatArray, is_text, target
from raymlops.pipelines.step import Halt
from raymlops.records.learning.blessings import Blessing
from raymlops.records.learning.datatypes import TEXT
from raymlops.records.models import ModelVersion
from raymlops.serving.models.model import Model
from raymlops.serving.models.model_files import load_model
from raymlops.steps.outcome import refused
from raymlops.steps.project.context import TRAINED_UNTIL, TrainingContext
from raymlops.steps.split import Parts, event_times_us
from raymlops.steps.validation.checks import Limits, model_checks
from raymlops.steps.validation.evaluate import Judging
from raymlops.steps.validation.served import load_packaged, predictions_of

__all__ = ["Gate", "compare"]


class Gate(Limits):
    """What a candidate must reach; see ``experiments.evaluation.verdict``."""

    rule: Rule = "not_worse"
    tolerance: float = 0.0
    slice_tolerance: float | None = None
    min_rows: int = 100
    """Rows that the champion has not seen, to compare on them alone."""


def compare(
    context: TrainingContext,
    *,
    frame: pa.Table,
    parts: Mapping[str, Any],
    model: Path,
    pin: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    judging: Mapping[str, Any],
    gate: Mapping[str, Any],
) -> Mapping[str, Any] | Halt:
    """Compare on the same rows, pairwise; grants the evaluation blessing, or refuses where a check or the rule fails.

    Where there is no champion, or the rule is ``absolute``, the candidate must beat the constant baseline. The
    champion may have been fitted on part of the holdout; those rows are left out as long as ``min_rows`` remain.

    Raises:
        ModelLoadFailed: The champion's files are missing or altered.
    """
    known, asked = Parts.model_validate(parts), Gate.model_validate(gate)
    checks = model_checks(evaluation, known.task.metric, asked)
    dossier = {
        "metrics": evaluation["holdout"]["metrics"],
        "evaluation": evaluation,
        "checks": [check.model_dump(mode="json") for check in checks],
    }
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        reason, passed = f"the model fails {len(failed)} of {len(checks)} checks: {'; '.join(failed)}", False
    else:
        champion = None if asked.rule == "absolute" else pin["champion"]
        how = Judging.model_validate(judging)
        passed, reason, found = _against(context, frame, known, load_packaged(model), champion, how, asked)
        dossier |= found
    blessing = Blessing(kind="evaluation", granted=passed, subject=known.training_set, reason=reason)
    if not passed:
        return refused(reason, dossier, blessing)
    return {"dossier": {**dossier, "reason": reason}, "blessing": blessing}


def _against(
    context: TrainingContext,
    frame: pa.Table,
    parts: Parts,
    model: Model,
    champion: int | None,
    how: Judging,
    asked: Gate,
) -> tuple[bool, str, dict[str, Any]]:
    """The candidate against the champion, or the constant baseline: whether it passes, why, and the figures."""
    task, rows, seen = parts.task, parts.judged(frame), 0
    rule: Rule = "absolute" if champion is None else asked.rule
    other: FloatArray
    if champion is None:
        other = constant_predictions(target(parts.before_holdout(frame), task), rows.num_rows, task)
    else:
        version = context.metadata.models.get_version(context.project.model, champion)
        problem = _incomparable(version, frame, parts)
        if problem:
            return False, f"champion {champion} cannot be compared with: {problem}", {}
        rows, seen = _unseen(rows, version, asked.min_rows)
        other = predictions_of(load_model(Path(version.path), version.manifest, version.digest), rows)
    labels = target(rows, task)
    compared = compare_predictions(
        labels,
        predictions_of(model, rows),
        other,
        task=task,
        blocks=time_blocks(event_times_us(rows), how),
        resampling=how,
        slices=how.columns(rows),
        slice_min_rows=how.slice_min_rows,
    )
    passed, reason = verdict(compared, rule=rule, tolerance=asked.tolerance, slice_tolerance=asked.slice_tolerance)
    if seen:
        reason += f"; the champion was fitted on {seen} of these rows"
    found = {
        "against": "baseline" if champion is None else "champion",
        "champion": champion,
        "rule": rule,
        "passed": passed,
        "champion_seen_rows": seen,
        **compared.model_dump(mode="json"),
    }
    figures = {} if champion is None else metrics(labels, other, task)
    return passed, reason, {"champion_metrics": figures, "comparison": found}


def _incomparable(version: ModelVersion, frame: pa.Table, parts: Parts) -> str:
    """Why a version cannot predict these rows, if so."""
    signature = version.manifest.signature
    present = set(frame.column_names)
    lacking = [column.name for column in signature.inputs if column.name not in present]
    if lacking:
        return f"it takes {lacking}, which this training set lacks"
    others = [c.name for c in signature.inputs if (c.dtype == TEXT) is not is_text(frame.schema.field(c.name).type)]
    if others:
        return f"{others} are texts for the one and numbers for the other"
    if signature.task != parts.task.kind or (
        parts.task.kind == "classifier" and len(signature.classes) != parts.task.classes
    ):
        return f"it is a {signature.task} of {len(signature.classes)} classes"
    return ""


def _unseen(rows: pa.Table, version: ModelVersion, min_rows: int) -> tuple[pa.Table, int]:
    """The rows that are newer than all the version was fitted on, and how many rows left it has seen."""
    until = version.parameters.get(TRAINED_UNTIL)
    if not isinstance(until, str):
        return rows, 0
    seen = int(np.searchsorted(event_times_us(rows), to_us(datetime.fromisoformat(until)), side="right"))
    if rows.num_rows - seen < min_rows:
        return rows, seen
    return rows.slice(seen), 0
