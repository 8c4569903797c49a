"""Three questions kept apart: is the data broken, has the distribution moved, is the model worse?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from raymlops.monitoring.alerts.alarm import AlarmRule, AlarmState, several_columns
from raymlops.records.windows import ColumnDrift, WindowRecord

__all__ = [
    "Answer",
    "ExplainingColumn",
    "OverallDrift",
    "answer_questions",
    "drift_weight",
    "explain",
    "over_threshold",
    "overall_drift",
]

Question = Literal["Is the data broken?", "Has the data moved?", "Is the model worse?"]
Verdict = Literal["yes", "suspected", "no", "not known"]


@dataclass(frozen=True)
class Answer:
    """The answer of the windows to one question, as of the newest window.

    Attributes:
        question: The question.
        verdict: ``yes``, ``suspected`` (one window says so, or an estimate), ``no``, or ``not known``.
        reason: Why, for people.
        windows: Windows of the report that said yes.
    """

    question: Question
    verdict: Verdict
    reason: str
    windows: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ExplainingColumn:
    """A column of the newest window, with how much it matters that it has moved.

    Attributes:
        column: Name.
        weight: Score over threshold, at most 10, times the square root of the importance: a column that the model
            hardly uses explains little, however far it has moved.
        drift: Its scores.
    """

    column: str
    weight: float
    drift: ColumnDrift

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"column": self.column, "weight": self.weight, **self.drift.model_dump(mode="json")}


@dataclass(frozen=True)
class OverallDrift:
    """Drift of something else than one input.

    Attributes:
        what: The predictions, the labels known when the window closed, or the inputs looked at all at once.
        score: How far it lies from the reference: a distance, or the area under a classifier's curve.
        threshold: What it must exceed.
        p_value: Chance of such a score where nothing has changed.
        drifted: Whether it has.
        columns: The inputs that tell most -> their share, where several are looked at.
    """

    what: Literal["predictions", "labels", "several columns together"]
    score: float
    threshold: float
    p_value: float
    drifted: bool
    columns: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def answer_questions(windows: Sequence[WindowRecord], rule: AlarmRule | None = None) -> tuple[Answer, Answer, Answer]:
    """The three answers, none of which follows from another.

    Args:
        windows: Of one model, oldest first.
        rule: When drift lasts.
    """
    return _broken(windows), _moved(windows, rule or AlarmRule()), _worse(windows)


def explain(windows: Sequence[WindowRecord]) -> tuple[ExplainingColumn, ...]:
    """All columns of the newest window that compares any: flagged ones first, then by importance-weighted drift."""
    window = next((window for window in reversed(windows) if window.columns), None)
    if window is None:
        return ()
    columns = window.columns
    ranked = sorted(columns, key=lambda name: (not columns[name].drifted, -drift_weight(columns[name]), name))
    return tuple(ExplainingColumn(name, drift_weight(columns[name]), columns[name]) for name in ranked)


def overall_drift(windows: Sequence[WindowRecord]) -> tuple[OverallDrift, ...]:
    """Predictions, labels and several columns together, of the newest window that compares any of them."""
    return next((found for window in reversed(windows) if (found := _overall(window))), ())


def _overall(window: WindowRecord) -> tuple[OverallDrift, ...]:
    found = []
    predictions, labels, together = window.prediction_drift, window.label_drift, window.multivariate
    if predictions is not None and predictions.test:
        values = (predictions.score, predictions.threshold, predictions.p_value, predictions.drifted)
        found.append(OverallDrift("predictions", *values))
    if labels is not None and labels.test:  # without a test there was nothing to test: no label had come
        found.append(OverallDrift("labels", labels.score, labels.threshold, labels.p_value, labels.drifted))
    if together is not None:
        values = (together.score, together.threshold, together.p_value, together.drifted)
        found.append(OverallDrift("several columns together", *values, dict(together.importances)))
    return tuple(found)


def drift_weight(column: ColumnDrift) -> float:
    """How much a column's distance from its reference matters."""
    return min(over_threshold(column), 10.0) * math.sqrt(1.0 if column.importance is None else column.importance)


def over_threshold(column: ColumnDrift) -> float:
    """Score over threshold; 0 where there is no threshold."""
    return column.score / column.threshold if column.threshold > 0 else 0.0


def _broken(windows: Sequence[WindowRecord]) -> Answer:
    blocked = sum(window.quality == "block" for window in windows)
    if not windows:
        return Answer("Is the data broken?", "not known", "no window has closed", 0)
    newest = windows[-1]
    reason = _listed(newest.quality_reasons) or "nothing was found wrong with the newest window"
    verdicts: dict[str, Verdict] = {"block": "yes", "warn": "suspected"}
    return Answer("Is the data broken?", verdicts.get(newest.quality, "no"), reason, blocked)


def _moved(windows: Sequence[WindowRecord], rule: AlarmRule) -> Answer:
    drifted, state = sum(window.drifted for window in windows), AlarmState()
    for window in windows:
        state = state.after(window, rule)
    if not windows or not (windows[-1].columns or windows[-1].prediction_drift):
        return Answer("Has the data moved?", "not known", "the newest window has no reference to compare with", drifted)
    newest, explaining = windows[-1], [one for one in explain(windows[-1:]) if one.drift.drifted]
    names = ", ".join(one.column for one in explaining[:3])
    together = several_columns(newest)
    columns = f"{len(explaining)} of {len(newest.columns)} columns, most of all {names}"
    where = columns if names else together or "the predictions"
    if state.alarm is not None:
        since = f"since {state.alarm.raised_at:%d %b %Y %H:%M}"
        moved = explaining or (newest.drifted and together)
        reason = where if moved else "the newest window is near its thresholds still"
        return Answer("Has the data moved?", "yes", f"{since}: {reason}", drifted)
    if newest.drifted:
        return Answer("Has the data moved?", "suspected", f"in the newest window alone: {where}", drifted)
    flagged = f"{columns}, which is too little to count" if explaining else "no column lies beyond its threshold"
    if together:
        flagged = f"{flagged}; but {together}, which does not count by itself"
    return Answer("Has the data moved?", "no", flagged, drifted)


def _worse(windows: Sequence[WindowRecord]) -> Answer:
    degraded = sum(window.degraded for window in windows)
    if not windows:
        return Answer("Is the model worse?", "not known", "no window has closed", 0)
    newest = windows[-1]
    performance = newest.performance.get(newest.champion)
    if newest.degraded:
        why = newest.degraded_reason or "see its metrics"
        labels = "" if performance is None else f"; {performance.labels_text}"
        return Answer("Is the model worse?", "yes", f"{why}{labels}", degraded)
    if newest.estimated_degraded:
        reason = f"by the estimate without labels: {newest.estimated_degraded}"
        return Answer("Is the model worse?", "suspected", reason, degraded)
    worse = [change for change in newest.error_changes if change.after > change.before]
    if worse:
        rise = f"its mean loss rose abruptly from {worse[-1].before:.4g} to {worse[-1].after:.4g}"
        return Answer("Is the model worse?", "suspected", f"{rise} by {worse[-1].at:%d %b %Y %H:%M}", degraded)
    if performance is None or not performance.labelled_rows:
        return Answer("Is the model worse?", "not known", "the newest window has no labels", degraded)
    reason = f"not shown by the labelled rows of the newest window: {performance.labels_text}"
    return Answer("Is the model worse?", "no", reason, degraded)


def _listed(reasons: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(reasons) - shown} more" if len(reasons) > shown else ""
    return "; ".join(reasons[:shown]) + more
