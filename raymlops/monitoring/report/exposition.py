"""The newest windows as Prometheus metrics, in the text format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from raymlops.monitoring.alerts.alarm import AlarmRule, AlarmState
from raymlops.records.windows import ColumnDrift, EstimatedPerformance, Performance, WindowRecord

__all__ = ["CONTENT_TYPE", "ModelHistory", "add_sample", "exposition", "metric_of", "page_of"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_VERDICTS = ("ok", "warn", "block")
_PREDICTIONS = "score"
"""Column name of the model's own scores."""

_FAMILIES: dict[str, tuple[str, str]] = {
    "windows_total": ("counter", "Closed windows, by the verdict on their data."),
    "drifted_windows_total": ("counter", "Closed windows whose inputs had drifted."),
    "window_start_timestamp_seconds": ("gauge", "Start of the newest closed window."),
    "window_end_timestamp_seconds": ("gauge", "End of the newest closed window."),
    "window_age_seconds": ("gauge", "Time since the end of the newest closed window."),
    "champion": ("gauge", "Version that is champion in the newest closed window."),
    "rows": ("gauge", "Rows answered in the newest closed window."),
    "errors": ("gauge", "Rows of it whose prediction failed."),
    "fallbacks": ("gauge", "Rows of it that a fallback answered."),
    "unknown_labels": ("gauge", "Labels in it for predictions that nobody knows."),
    "quality": ("gauge", "Verdict on its data: 1 for the one that holds."),
    "drifted": ("gauge", "Whether its inputs have drifted."),
    "drift_alarm": ("gauge", "Whether drift has lasted and is not over."),
    "degraded": ("gauge", "Whether the champion is significantly worse than its reference."),
    "columns": ("gauge", "Columns that were compared with the reference."),
    "drifted_columns": ("gauge", "Columns of them that have drifted."),
    "column_drift_score": ("gauge", "Distance of a column from its reference; of the most important columns."),
    "column_drift_threshold": ("gauge", "Distance above which the column counts as drifted."),
    "column_drifted": ("gauge", "Whether the column has drifted."),
    "column_missing_ratio": ("gauge", "Share of the column's values that are missing."),
    "column_importance_ratio": ("gauge", "The champion's relative importance of the column."),
    "realised_metric": ("gauge", "Performance over the labelled rows of the newest window that has any."),
    "realised_metric_low": ("gauge", "Lower end of its 95% interval."),
    "realised_metric_high": ("gauge", "Upper end of its 95% interval."),
    "estimated_metric": ("gauge", "Performance that is expected without labels. Does not see concept drift."),
    "estimated_metric_low": ("gauge", "Lower end of its 95% interval."),
    "estimated_metric_high": ("gauge", "Upper end of its 95% interval."),
    "reference_metric": ("gauge", "The champion's performance on its holdout."),
    "label_coverage_ratio": ("gauge", "Share of the newest window's rows that have a label, by version."),
    "label_lean": ("gauge", "Mean score of the newest window's labelled rows less that of all, by version."),
}
"""Metric -> type and help, in the order they are exposed."""

_Sample = tuple[str, dict[str, str], float]


@dataclass
class ModelHistory:
    """The metrics of a model's windows between two scrapes.

    Attributes:
        newest: The newest closed window.
        labelled: The newest one with labels.
        counts: Verdict on the data -> windows.
        drifted: Windows that drifted.
        state: Of the alarm.
    """

    newest: WindowRecord | None = None
    labelled: WindowRecord | None = None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_VERDICTS, 0))
    drifted: int = 0
    state: AlarmState = field(default_factory=AlarmState)

    def add(self, window: WindowRecord, rule: AlarmRule) -> None:
        """Take a window in: the next one, or one that is known, with the labels that came late."""
        if self.newest is None or window.start > self.newest.start:
            self.counts[window.quality] = self.counts.get(window.quality, 0) + 1
            self.drifted += window.drifted
            self.state = self.state.after(window, rule)
            self.newest = window
        elif window.start == self.newest.start:
            self.newest = window
        has_labels = any(performance.labelled_rows for performance in window.performance.values())
        if has_labels and (self.labelled is None or window.start >= self.labelled.start):
            self.labelled = window


def exposition(histories: Mapping[str, ModelHistory], now: datetime, columns: int) -> str:
    """The page that Prometheus reads.

    Args:
        histories: Model -> its windows.
        now: The present instant.
        columns: At most so many columns of a model are exposed one by one, the most important first; the model's
            scores come on top of them.
    """
    metrics = {name: metric_of(f"raymlops_monitor_{name}", kind, text) for name, (kind, text) in _FAMILIES.items()}
    for model in sorted(histories):
        for name, labels, value in _samples(histories[model], now, columns):
            add_sample(metrics[name], f"raymlops_monitor_{name}", {"model": model, **labels}, value)
    return page_of([metric for metric in metrics.values() if metric.samples])


def metric_of(name: str, kind: str, text: str) -> Metric:
    """A metric without samples.

    Args:
        name: Its name, with ``_total`` where it is a counter.
        kind: ``counter``, ``gauge`` or ``histogram``.
        text: Its help.
    """
    return Metric(name.removesuffix("_total") if kind == "counter" else name, text, kind)


def add_sample(metric: Metric, name: str, labels: Mapping[str, str], value: float) -> None:
    """Add a sample; ``name`` has the suffix, such as ``_total`` or ``_bucket``."""
    # a lone surrogate has no UTF-8 form; a scrape must not fail for the name of a column
    metric.add_sample(name, {key: text.encode("utf-8", "replace").decode() for key, text in labels.items()}, value)


def page_of(metrics: Sequence[Metric]) -> str:
    """The metrics in the text format."""
    page: str = generate_latest(_Collected(metrics)).decode()
    return page


class _Collected(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _samples(history: ModelHistory, now: datetime, columns: int) -> Iterator[_Sample]:
    window = history.newest
    if window is None:
        return
    for verdict, count in history.counts.items():
        yield "windows_total", {"quality": verdict}, count
    yield "drifted_windows_total", {}, history.drifted
    yield "window_start_timestamp_seconds", {}, window.start.timestamp()
    yield "window_end_timestamp_seconds", {}, window.end.timestamp()
    yield "window_age_seconds", {}, (now - window.end).total_seconds()
    yield "champion", {}, window.champion
    yield "rows", {}, window.rows
    yield "errors", {}, window.errors
    yield "fallbacks", {}, window.fallbacks
    yield "unknown_labels", {}, window.labels_unknown
    for verdict in _VERDICTS:
        yield "quality", {"verdict": verdict}, window.quality == verdict
    yield "drifted", {}, window.drifted
    yield "drift_alarm", {}, history.state.alarm is not None
    yield "columns", {}, len(window.columns)
    yield "drifted_columns", {}, sum(column.drifted for column in window.columns.values())
    yield from _drift(window, columns)
    yield from _performance(window, history.labelled)


def _drift(window: WindowRecord, columns: int) -> Iterator[_Sample]:
    ranked = sorted(window.columns, key=lambda name: (-(window.columns[name].importance or 0.0), name))[:columns]
    shown: list[tuple[str, ColumnDrift]] = [(name, window.columns[name]) for name in ranked]
    if window.prediction_drift is not None:
        shown.insert(0, (_PREDICTIONS, window.prediction_drift))
    # a model may have an input of the name that its scores go by
    for name, column in shown:
        labels = {"column": name, "kind": "prediction" if column is window.prediction_drift else "input"}
        yield "column_drift_score", labels, column.score
        yield "column_drift_threshold", labels, column.threshold
        yield "column_drifted", labels, column.drifted
        yield "column_missing_ratio", labels, column.missing_share
        if column.importance is not None:
            yield "column_importance_ratio", labels, column.importance


def _performance(window: WindowRecord, labelled: WindowRecord | None) -> Iterator[_Sample]:
    for version, performance in sorted(window.performance.items()):
        yield "label_coverage_ratio", {"version": str(version)}, performance.label_coverage
        if performance.label_lean is not None:
            yield "label_lean", {"version": str(version)}, performance.label_lean
    for version, estimated in sorted(window.estimated.items()):
        yield from _metrics("estimated", version, estimated)
    for metric, value in sorted(window.reference_metrics.items()):
        yield "reference_metric", {"metric": metric}, value
    if labelled is None:
        return
    yield "degraded", {}, labelled.degraded
    for version, performance in sorted(labelled.performance.items()):
        if performance.labelled_rows:
            yield from _metrics("realised", version, performance)


def _metrics(kind: str, version: int, found: Performance | EstimatedPerformance) -> Iterator[_Sample]:
    for metric, value in sorted(found.metrics.items()):
        labels = {"metric": metric, "version": str(version)}
        yield f"{kind}_metric", labels, value
        if metric in found.intervals:
            low, high = found.intervals[metric]
            yield f"{kind}_metric_low", labels, low
            yield f"{kind}_metric_high", labels, high
