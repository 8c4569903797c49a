"""Validation of training data. A fault in the data ends the run, and the champion keeps serving."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from raymlops.clock import from_us, to_us
from raymlops.errors import DataError, SchemaMismatch
from raymlops.experiments.task import IntArray, is_numeric, is_text, numeric, target, with_texts
from raymlops.pipelines.step import Halt
from raymlops.records.learning.blessings import Blessing
from raymlops.records.learning.tasks import LearningTask
from raymlops.steps.outcome import blocked
from raymlops.steps.project.context import LABEL_TIME, TrainingContext
from raymlops.steps.project.parameters import QualityRules
from raymlops.steps.split import event_times_us, holdout_start
from raymlops.steps.validation.skew import values_skew

__all__ = ["validate_data"]

_DAY_US = 86_400_000_000
_MIN_ROWS_TO_FREEZE = 100


def validate_data(
    context: TrainingContext,
    *,
    frame: pa.Table,
    task: Mapping[str, Any],
    training_set: Mapping[str, Any],
    pin: Mapping[str, Any],
    project: Mapping[str, Any],
    window: Mapping[str, Any],
    quality: Mapping[str, Any],
) -> Mapping[str, Any] | Halt:
    """Check schema, amount, age, missing shares, frozen features, duplicates and labels; grants the data blessing.

    Schema skew and broken values stop the run. Values that moved away from those the champion was fitted on are
    recorded: they are what a retraining is for.
    """
    digest = training_set["digest"]
    rules, learned = QualityRules.model_validate(quality), LearningTask.model_validate(task)
    problems = _schema(frame, learned)
    if problems:
        return blocked(problems, training_set=digest)
    times = event_times_us(frame)
    holdout = holdout_start(times, window["holdout_days"])
    problems = _amount(times, holdout, datetime.fromisoformat(pin["as_of"]), rules)
    if problems:
        return blocked(problems, training_set=digest)
    inputs = {name: _values(frame[name], name) for name in learned.inputs}
    missing = {
        name: (float(np.isnan(v[:holdout]).mean()), float(np.isnan(v[holdout:]).mean())) for name, v in inputs.items()
    }
    requested = set(project["request_columns"])
    features = {name: values for name, values in inputs.items() if name not in requested}
    shares, label_problems = _labels(frame, learned, holdout, rules)
    duplicates = _duplicate_share(frame)
    problems = [*_missing(missing, holdout, len(times), rules), *_frozen(frame, features, holdout, rules)]
    problems += label_problems
    problems += [f"infinite: input {name!r} holds infinite numbers" for name, v in inputs.items() if np.isinf(v).any()]
    if rules.max_duplicate_share is not None and duplicates > rules.max_duplicate_share:
        problems.append(
            f"duplicates: {duplicates:.1%} of the rows repeat another, at most {rules.max_duplicate_share:.1%}"
        )
    if problems:
        return blocked(problems, training_set=digest)
    report: dict[str, Any] = {
        "training_set": digest,
        "rows": len(times),
        "holdout_rows": len(times) - holdout,
        "first": from_us(int(times[0])).isoformat(),
        "last": from_us(int(times[-1])).isoformat(),
        "missing_shares": {name: {"older": old, "holdout": new} for name, (old, new) in missing.items()},
        "class_shares": shares,
        "duplicate_share": duplicates,
        "values_skew": values_skew(context, pin["champion"], frame.slice(holdout), learned.inputs),
    }
    moved = report["values_skew"]["drifted"]
    reason = f"{len(times)} rows pass every rule" + (f"; moved since the champion was fitted: {moved}" if moved else "")
    return {"report": report, "blessing": Blessing(kind="data", granted=True, subject=digest, reason=reason)}


def _schema(frame: pa.Table, task: LearningTask) -> list[str]:
    """Inputs and label: there, of types that can be learned from, and labels that can be learned."""
    if LABEL_TIME in task.inputs:
        return [f"schema skew: {LABEL_TIME!r} is known too late to be a model input"]
    columns = [*task.inputs, task.label]
    present = set(frame.column_names)
    missing = [name for name in columns if name not in present]
    if missing:
        return [f"schema skew: columns {missing} are missing"]
    if not is_numeric(frame.schema.field(task.label).type):
        return [f"schema skew: label {task.label!r} must be a number, got {frame.schema.field(task.label).type}"]
    try:
        with_texts(task, frame.schema)
    except SchemaMismatch as error:
        return [f"schema skew: {error}"]
    try:
        target(frame, task)
    except DataError as error:
        return [f"label: {error}"]
    return []


def _values(column: pa.ChunkedArray, name: str) -> npt.NDArray[np.float64]:
    """A column as numbers, NaN where it is missing; of texts, a number for each."""
    if not is_text(column.type):
        return numeric(column, name)
    texts = column.cast(pa.string()).combine_chunks().dictionary_encode()
    return np.asarray(texts.indices.cast(pa.float64()).fill_null(float("nan")).to_numpy(), dtype=np.float64)


def _amount(times_us: IntArray, holdout: int, as_of: datetime, rules: QualityRules) -> list[str]:
    rows, newest = len(times_us), len(times_us) - holdout
    problems = []
    if rows < rules.min_rows:
        problems.append(f"too few: {rows} labelled rows, at least {rules.min_rows}")
    if newest < rules.min_holdout_rows:
        problems.append(f"too few: {newest} rows in the holdout, at least {rules.min_holdout_rows}")
    if rows and rules.max_staleness_days is not None:
        age_days = (to_us(as_of) - int(times_us[-1])) / _DAY_US
        if age_days > rules.max_staleness_days:
            problems.append(f"stale: the newest row is {age_days:.1f} days old, at most {rules.max_staleness_days:g}")
    return problems


def _missing(shares: Mapping[str, tuple[float, float]], holdout: int, rows: int, rules: QualityRules) -> list[str]:
    problems = []
    for name, (older, newest) in shares.items():
        overall = (older * holdout + newest * (rows - holdout)) / rows if holdout else newest
        if rules.max_missing_share is not None and overall > rules.max_missing_share:
            problems.append(f"missing: {overall:.1%} of input {name!r}, at most {rules.max_missing_share:.1%}")
        elif rules.max_missing_increase is not None and newest - older > rules.max_missing_increase:
            problems.append(f"missing: {newest:.1%} of input {name!r} in the newest rows, {older:.1%} before")
    return problems


def _frozen(
    frame: pa.Table, features: Mapping[str, npt.NDArray[np.float64]], holdout: int, rules: QualityRules
) -> list[str]:
    """Features with one value in the holdout that used to vary; what comes with a request is the caller's."""
    problems = []
    for name, values in features.items():
        newest, older = values[holdout:], values[:holdout]
        newest, older = newest[~np.isnan(newest)], older[~np.isnan(older)]
        if rules.frozen_mode_share is None or min(len(newest), len(older)) < _MIN_ROWS_TO_FREEZE:
            continue
        if newest.min() < newest.max():
            continue
        mode_share = np.unique(older, return_counts=True)[1].max() / len(older)
        if mode_share < rules.frozen_mode_share:
            shown = f"{newest[0]:g}" if is_numeric(frame[name].type) else repr(frame[name].drop_null()[-1].as_py())
            problems.append(f"frozen: feature {name!r} is {shown} in all {len(newest)} newest rows, it varied before")
    return problems


def _labels(
    frame: pa.Table, task: LearningTask, holdout: int, rules: QualityRules
) -> tuple[dict[str, float], list[str]]:
    """Class shares, and what is wrong with them."""
    if task.kind == "regressor":
        return {}, []
    labels = target(frame, task).astype(np.int64)
    shares = np.bincount(labels, minlength=task.classes) / len(labels)
    problems = [
        f"label: class {place} has {share:.2%} of the rows, at least {rules.min_class_share:.2%}"
        for place, share in enumerate(shares)
        if share < rules.min_class_share
    ]
    if rules.max_label_share_change is not None and 0 < holdout < len(labels):
        older = np.bincount(labels[:holdout], minlength=task.classes) / holdout
        newest = np.bincount(labels[holdout:], minlength=task.classes) / (len(labels) - holdout)
        worst = int(np.abs(newest - older).argmax())
        if abs(newest[worst] - older[worst]) > rules.max_label_share_change:
            problems.append(
                f"label: class {worst} has {newest[worst]:.1%} of the newest rows, {older[worst]:.1%} before"
            )
    return {str(place): float(share) for place, share in enumerate(shares)}, problems


def _duplicate_share(frame: pa.Table) -> float:
    """Share of rows that repeat an earlier one in every column."""
    rows: int = frame.num_rows
    distinct = pl.from_arrow(frame, rechunk=False)
    assert isinstance(distinct, pl.DataFrame)
    return 1.0 - distinct.n_unique() / rows if rows else 0.0
