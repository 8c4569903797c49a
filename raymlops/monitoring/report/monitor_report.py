"""The monitor's report: the same facts as JSON values and as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from raymlops.monitoring.alerts.alarm import AlarmRule
from raymlops.monitoring.performance.estimate_checks import EstimateCheck, check_estimates
from raymlops.monitoring.profiles.profile import LABEL_COLUMN, SCORE_COLUMN, Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.monitoring.report.answers import Answer, answer_questions, drift_weight, explain, overall_drift
from raymlops.records.ledger import LedgerEntry
from raymlops.records.people.reasons import Reason
from raymlops.records.shown import frame_of, shown
from raymlops.records.windows import WindowRecord

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["Distribution", "MonitorReport", "distributions", "main_metric"]

SHOWN_DISTRIBUTIONS = 6


@dataclass(frozen=True)
class Distribution:
    """One column of one window beside the reference, as shares per bin.

    Attributes:
        column: Name of the column.
        start: Start of the window.
        labels: The label of each bin; bins for infinite and missing values are there where they hold any.
        reference: The reference's shares.
        window: The window's shares.
    """

    column: str
    start: datetime
    labels: tuple[str, ...]
    reference: tuple[float, ...]
    window: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "column": self.column,
            "start": self.start.isoformat(),
            "labels": list(self.labels),
            "reference": list(self.reference),
            "window": list(self.window),
        }


@shown()
@dataclass(frozen=True)
class MonitorReport:
    """A model's windows, made of aggregates alone: no row of data is in it.

    Attributes:
        model: Name of the model.
        created_at: When it was made.
        windows: Closed windows, by start.
        distributions: Columns of the newest window that have moved most.
        decisions: The controller's decisions meanwhile, for the page; none unless given.
        comparisons: Name -> ``(window start, main metric)`` of others to plot beside the model, for example of one
            that was never retrained.
        late_rows: Start of a window -> rows that came after it had closed and are no part of its verdicts.
        alarm: When drift lasts, which is more than that the newest window has drifted.
        reasons: Reasons against a retraining now; ``None`` where the controller was not asked.
    """

    model: str
    created_at: datetime
    windows: tuple[WindowRecord, ...]
    distributions: tuple[Distribution, ...] = ()
    decisions: tuple[LedgerEntry, ...] = ()
    comparisons: Mapping[str, tuple[tuple[datetime, float], ...]] = field(default_factory=dict)
    late_rows: Mapping[datetime, int] = field(default_factory=dict)
    alarm: AlarmRule = field(default_factory=AlarmRule)
    reasons: tuple[Reason, ...] | None = None

    def beside(
        self,
        decisions: Sequence[LedgerEntry] = (),
        comparisons: Mapping[str, Sequence[tuple[datetime, float]]] | None = None,
    ) -> MonitorReport:
        """The same report with decisions and with other models' results to compare with."""
        others = {name: tuple(points) for name, points in (comparisons or {}).items()}
        return replace(self, decisions=tuple(decisions), comparisons=others)

    @property
    def answers(self) -> tuple[Answer, Answer, Answer]:
        """Is the data broken, has it moved, is the model worse? As of the newest window."""
        return answer_questions(self.windows, self.alarm)

    @property
    def estimate_checks(self) -> tuple[EstimateCheck, ...]:
        """How far estimates made without labels lay from the truth, where it has come."""
        return check_estimates(self.windows)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "model": self.model,
            "created_at": self.created_at.isoformat(),
            "answers": [answer.to_dict() for answer in self.answers],
            "explanation": [column.to_dict() for column in explain(self.windows)],
            "overall_drift": [one.to_dict() for one in overall_drift(self.windows)],
            "windows": [window.model_dump(mode="json", exclude={"error_stream"}) for window in self.windows],
            "label_coverage": {
                window.start.isoformat(): {str(version): p.label_coverage for version, p in window.performance.items()}
                for window in self.windows
            },
            "late_rows": {start.isoformat(): rows for start, rows in self.late_rows.items()},
            "against_retraining": (
                None if self.reasons is None else [reason.model_dump(mode="json") for reason in self.reasons]
            ),
            "estimate_checks": [check.to_dict() for check in self.estimate_checks],
            "distributions": [distribution.to_dict() for distribution in self.distributions],
            "decisions": [entry.model_dump(mode="json") for entry in self.decisions],
            "comparisons": {
                name: [[at.isoformat(), value] for at, value in points] for name, points in self.comparisons.items()
            },
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row for each window."""
        return frame_of(self.windows)

    def html(self) -> str:
        """One page that needs nothing else: no network, and no script but its own, which draws plots when asked to."""
        from raymlops.monitoring.report.page import render

        return render(self)


def main_metric(windows: Sequence[WindowRecord]) -> str | None:
    """The metric that performance is plotted by; ``None`` where nothing is labelled and nothing is estimated."""
    known = {metric for window in windows for p in window.performance.values() for metric in p.metrics}
    known |= {metric for window in windows for p in window.estimated.values() for metric in p.metrics}
    return next((metric for metric in ("log_loss", "rmse", "accuracy") if metric in known), None)


def distributions(window: WindowRecord, reference: Reference, profile: Profile) -> tuple[Distribution, ...]:
    """The columns of a window that have moved most: flagged ones first, then by importance-weighted drift."""
    columns = dict(window.columns)
    if window.prediction_drift is not None:
        columns[SCORE_COLUMN] = window.prediction_drift
    if window.label_drift is not None:
        columns[LABEL_COLUMN] = window.label_drift
    ranked = sorted(columns, key=lambda name: (not columns[name].drifted, -drift_weight(columns[name]), name))
    shown = [name for name in ranked if name in profile.counts and profile.counts[name].sum()]
    return tuple(_distribution(name, window, reference, profile) for name in shown[:SHOWN_DISTRIBUTIONS])


def _distribution(name: str, window: WindowRecord, reference: Reference, profile: Profile) -> Distribution:
    labels = [*reference.bins(name).labels(), "infinite", "missing"]
    before, after = _shares(reference.counts(name).tolist()), _shares(profile.counts[name].tolist())
    bins = len(labels) - 2
    kept = [index for index in range(len(labels)) if index < bins or before[index] or after[index]]
    return Distribution(
        column=name,
        start=window.start,
        labels=tuple(labels[index] for index in kept),
        reference=tuple(before[index] for index in kept),
        window=tuple(after[index] for index in kept),
    )


def _shares(counts: Sequence[int]) -> tuple[float, ...]:
    return tuple(count / max(1, sum(counts)) for count in counts)
