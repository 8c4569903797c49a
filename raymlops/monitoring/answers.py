"""Three questions kept apart: is the data broken, has the distribution moved, is the model worse?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from raymlops.monitoring.alarm import AlarmRule, AlarmState
from raymlops.records.windows import ColumnDrift, WindowRecord

__all__ = ["Answer", "ExplainingColumn", "answer_questions", "drift_weight", "explain", "over_threshold"]

Question = Literal["Is the data broken?", "Has the data moved?", "Is the model worse?"]
Verdict = Literal["yes", "suspected", "no", "not known"]


@dataclass(frozen=True)
class Answer:
    """What the windows say to one question, as of the newest.

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
    where = f"{len(explaining)} of {len(newest.columns)} columns, most of all {names}" if names else "the predictions"
    if state.alarm is not None:
        since = f"since {state.alarm.raised_at:%d %b %Y %H:%M}"
        reason = where if explaining else "the newest window is near its thresholds still"
        return Answer("Has the data moved?", "yes", f"{since}: {reason}", drifted)
    if newest.drifted:
        return Answer("Has the data moved?", "suspected", f"in the newest window alone: {where}", drifted)
    flagged = f"{where}, which is too little to count" if explaining else "no column lies beyond its threshold"
    return Answer("Has the data moved?", "no", flagged, drifted)


def _worse(windows: Sequence[WindowRecord]) -> Answer:
    degraded = sum(window.degraded for window in windows)
    if not windows:
        return Answer("Is the model worse?", "not known", "no window has closed", 0)
    newest = windows[-1]
    performance = newest.performance.get(newest.champion)
    coverage = 0.0 if performance is None else performance.label_coverage
    if newest.degraded:
        return Answer("Is the model worse?", "yes", newest.degraded_reason or "see its metrics", degraded)
    if newest.estimated_degraded:
        reason = f"by the estimate without labels: {newest.estimated_degraded}"
        return Answer("Is the model worse?", "suspected", reason, degraded)
    if performance is None or not performance.labelled_rows:
        return Answer("Is the model worse?", "not known", "the newest window has no labels", degraded)
    reason = f"not shown by the {performance.labelled_rows:,} labelled rows ({coverage:.0%}) of the newest window"
    return Answer("Is the model worse?", "no", reason, degraded)


def _listed(reasons: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(reasons) - shown} more" if len(reasons) > shown else ""
    return "; ".join(reasons[:shown]) + more
