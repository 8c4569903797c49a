"""A monitor report in the terminal: three answers, then what they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raymlops.monitoring.data_quality.feature_ages import age_text
from raymlops.monitoring.report.answers import explain, over_threshold, overall_drift
from raymlops.monitoring.report.monitor_report import MonitorReport, main_metric
from raymlops.monitoring.windows.rollup import PeriodProfile
from raymlops.records.people.alerts import AlertStatus
from raymlops.records.windows import Performance, WindowRecord

__all__ = ["render_alerts", "render_periods", "render_report"]

SHOWN_MOVED = 4
_STYLES = {"yes": "bold red", "suspected": "bold yellow", "no": "bold green", "not known": "bold"}
_QUALITY_STYLES = {"ok": "green", "warn": "yellow", "block": "red"}


def render_report(report: MonitorReport, *, columns: int = 8, windows: int = 10) -> RenderableType:
    """A report on a terminal.

    Args:
        report: The report.
        columns: At most so many columns that explain drift.
        windows: So many of the newest windows.
    """
    if not report.windows:
        return Group(Text(f"{report.model}: no window has been closed yet"), *_against_retraining(report))
    # names come from data: as Text, characters of markup in them are printed as they are
    return Group(*_parts(report, columns, windows))


def render_alerts(found: Sequence[AlertStatus]) -> RenderableType:
    """Alerts, and how their deliveries stand."""
    table = Table("at", "severity", "state", "alert", "sent", box=None, pad_edge=False)
    for status in found:
        alert = status.alert
        state = f"{alert.cause.replace('_', ' ')} {alert.state if alert.state != 'happened' else ''}".strip()
        sent = Text(_sent(status))
        table.add_row(f"{alert.at:%Y-%m-%d %H:%M}", alert.severity, state, Text(alert.summary), sent)
    return table


def render_periods(periods: Sequence[PeriodProfile], segment: str = "") -> RenderableType:
    """Periods of one segment, or of all rows, and the columns that have moved in each, the furthest first."""
    table = Table("from", "to", "champion", "windows", "rows", "late", "moved", box=None, pad_edge=False)
    for period in periods:
        known = any(part.segment == segment and part.role != "shadow" for part in period.parts)
        drift = period.drift(segment) if known else None
        moved = "-" if drift is None else ", ".join(drift.drifted_columns()[:SHOWN_MOVED]) or "nothing"
        more = 0 if drift is None else len(drift.drifted_columns()) - SHOWN_MOVED
        table.add_row(
            f"{period.start:%Y-%m-%d %H:%M}",
            f"{period.end:%Y-%m-%d %H:%M}",
            f"v{period.champion}",
            f"{period.windows:,}",
            f"{period.answered(segment).rows if known else 0:,}",
            f"{period.late_rows:,}",
            Text(f"{moved} and {more} more" if more > 0 else moved),
        )
    return table


def _sent(status: AlertStatus) -> str:
    if not status.deliveries:
        return "to nobody"
    parts = []
    for one in status.deliveries:
        tried = f" after {one.attempts}: {one.problem}" if one.problem else ""
        parts.append(f"{one.endpoint} {one.state.replace('_', ' ')}{tried}")
    return ", ".join(parts)


def _parts(report: MonitorReport, columns: int, windows: int) -> Iterator[RenderableType]:
    newest = report.windows[-1]
    yield Text(
        f"{report.model}, {len(report.windows)} windows to {newest.end:%Y-%m-%d %H:%M} UTC, "
        f"champion v{newest.champion}",
        style="bold",
    )
    answers = Table(box=None, pad_edge=False, show_header=False)
    for answer in report.answers:
        answers.add_row(Text(answer.question), Text(answer.verdict, style=_STYLES[answer.verdict]), Text(answer.reason))
    yield answers
    explaining = [one for one in explain(report.windows) if one.drift.drifted]
    if explaining:
        yield Text("\nColumns that explain the drift, by importance-weighted distance", style="bold")
        table = Table(
            "column", "score", "threshold", "times", "importance", "missing", "test", box=None, pad_edge=False
        )
        for one in explaining[:columns]:
            drift = one.drift
            importance = "-" if drift.importance is None else f"{drift.importance:.1%}"
            figures = (f"{drift.score:.4f}", f"{drift.threshold:.4f}", f"{over_threshold(drift):.1f}", importance)
            table.add_row(Text(one.column), *figures, f"{drift.missing_share:.1%}", Text(drift.test or "-"))
        yield table
        if len(explaining) > columns:
            yield Text(f"and {len(explaining) - columns} more: see `monitor profile`", style="dim")
    yield from _overall(report)
    yield from _against_retraining(report)
    if newest.feature_ages:
        yield Text("\nHow old the features were in the newest window", style="bold")
        ages = Table("view", "median", "95% younger than", "without a row", box=None, pad_edge=False)
        for view, age in newest.feature_ages.items():
            ages.add_row(Text(view), age_text(age.median_s), age_text(age.p95_s), f"{age.missing_share:.1%}")
        yield ages
    yield Text("\nNewest windows", style="bold")
    yield _windows(report, windows)


def _overall(report: MonitorReport) -> Iterator[RenderableType]:
    found = overall_drift(report.windows)
    if not found:
        return
    yield Text("\nBeside single columns", style="bold")
    table = Table("what", "score", "threshold", "p-value", "moved", "told by", box=None, pad_edge=False)
    for one in found:
        moved = Text("drift", style="red") if one.drifted else Text("no")
        told = ", ".join(f"{name} {share:.0%}" for name, share in one.columns.items()) if one.drifted else ""
        table.add_row(one.what, f"{one.score:.4f}", f"{one.threshold:.4f}", f"{one.p_value:.2g}", moved, Text(told))
    yield table


def _against_retraining(report: MonitorReport) -> Iterator[RenderableType]:
    """Reasons against a retraining now, and what would end them."""
    if not report.reasons:
        return
    yield Text("\nWhat stands against a retraining now", style="bold")
    table = Table("what", "why", "what ends it", "until", box=None, pad_edge=False)
    for reason in report.reasons:
        until = "-" if reason.until is None else f"{reason.until:%Y-%m-%d %H:%M}"
        table.add_row(reason.kind.replace("_", " "), Text(reason.text), Text(reason.remedy), until)
    yield table


def _windows(report: MonitorReport, shown: int) -> Table:
    metric = main_metric(report.windows)
    name = (metric or "metric").replace("_", " ")
    heads = ["window", "champion", "rows", "labelled", name, "reference", "estimate", "data", "moved", "model"]
    table = Table(*heads, box=None, pad_edge=False)
    for window in report.windows[-shown:]:
        performance = window.performance.get(window.champion)
        flagged = sum(column.drifted for column in window.columns.values())
        table.add_row(
            f"{window.start:%Y-%m-%d %H:%M}",
            f"v{window.champion}",
            f"{window.rows:,}",
            "-" if performance is None else _labelled(performance),
            _realised(window, metric),
            _number(window.reference_metrics.get(metric or "")),
            _estimated(window, metric),
            Text(window.quality, style=_QUALITY_STYLES.get(window.quality, "")),
            Text(f"{'drift' if window.drifted else 'no'} ({flagged})", style="red" if window.drifted else ""),
            Text("worse", style="red") if window.degraded else Text("ok"),
        )
    return table


def _labelled(performance: Performance) -> str:
    """The share that is labelled and, in brackets, how far the mean score of these rows lies off that of all."""
    lean = "" if performance.label_lean is None else f" ({performance.label_lean:+.2g})"
    return f"{performance.label_coverage:.0%}{lean}"


def _realised(window: WindowRecord, metric: str | None) -> str:
    performance = window.performance.get(window.champion)
    if performance is None or metric not in performance.metrics:
        return "-"
    value, interval = performance.metrics[metric], performance.intervals.get(metric)
    return f"{value:.4f}" if interval is None else f"{value:.4f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _estimated(window: WindowRecord, metric: str | None) -> str:
    estimated = window.estimated.get(window.champion)
    return _number(None if estimated is None else estimated.metrics.get(metric or ""))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
