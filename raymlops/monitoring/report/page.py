"""The report's page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby, pairwise

from markupsafe import Markup

from raymlops.monitoring.data_quality.feature_ages import age_text
from raymlops.monitoring.report.answers import drift_weight, explain, overall_drift
from raymlops.monitoring.report.charts import Line, Marker, Span, bar_pairs, strip_chart, time_chart, volume_chart
from raymlops.monitoring.report.heat import heat_rows, plot_data
from raymlops.monitoring.report.html import allowed_by, page_file, page_style, page_template
from raymlops.monitoring.report.monitor_report import MonitorReport, main_metric
from raymlops.records.windows import WindowRecord

__all__ = ["render", "render_body", "window_length_text"]

VERSION_COLORS = ("#2f6db3", "#b84f14", "#277a4c", "#7d4fa8", "#8a6508", "#b03a5b", "#14747d", "#6b6b6b")
"""Dark enough for white letters on them, light enough to be seen on a dark page."""
_QUALITY_COLORS = {"ok": "#277a4c", "warn": "#a87408", "block": "#b3261e"}


def render(report: MonitorReport) -> str:
    """The page of a report, whole in itself."""
    windows, script, style = report.windows, page_file("page.js"), page_style()
    body = render_body(report)
    return page_template("raymlops.monitoring.report").render(
        report=report,
        windows=windows,
        span=_span(report),
        window_length=window_length_text(windows),
        body=body,
        plots='id="columns-data"' in body,
        style=style,
        style_hash=allowed_by(style),
        script=script,
        script_hash=allowed_by(script),
    )


def _span(report: MonitorReport) -> tuple[datetime, datetime]:
    windows = report.windows
    return (windows[0].start, windows[-1].end) if windows else (report.created_at, report.created_at)


def render_body(report: MonitorReport) -> Markup:
    """The body of a report, for a page that has the style sheet; no element has a style of its own."""
    windows, span = report.windows, _span(report)
    rows, hidden = heat_rows(windows)
    metric = main_metric(windows)
    body = page_template("raymlops.monitoring.report", "body.html.j2").make_module(
        dict(
            report=report,
            windows=windows,
            metric=metric,
            metric_name=(metric or "").replace("_", " "),
            summary=summary(windows, metric),
            versions=[(version, version_color(version)) for version in _versions(windows)],
            performance=_performance_chart(report, metric, span),
            calibration=_calibration_chart(windows, span),
            volume=_volume(windows, span),
            answers=report.answers,
            explaining=[one for one in explain(windows) if one.drift.drifted][:10],
            overall=overall_drift(windows),
            reigns=_reigns(windows, span),
            qualities=_qualities(windows, span),
            coverage=_coverage_chart(windows, span),
            plots=plot_data(windows) if rows else "",
            columns=len(rows) + hidden - any(window.prediction_drift for window in windows),
            heat=rows,
            most_important=max((row.importance or 0.0 for row in rows), default=0.0) or 1.0,
            hidden=hidden,
            ticks=_ticks(windows),
            bars=[(d, bar_pairs(d.labels, d.reference, d.window)) for d in report.distributions],
            comparisons=list(zip(report.comparisons, _COMPARISON_COLORS * len(report.comparisons), strict=False)),
            checks=report.estimate_checks,
            abrupt=bool(_abrupt(windows)),
            ages=next((window for window in reversed(windows) if window.feature_ages), None),
            age_text=age_text,
            estimates=any(window.estimated for window in windows),
            segmented=next((window for window in reversed(windows) if window.segments), None),
            table=[_table_row(window, metric) for window in reversed(windows)],
        )
    )
    return body.__html__()


_COMPARISON_COLORS = ("#9aa3b0", "#c7a76c", "#8fb8a5")


def version_color(version: int) -> str:
    """The colour that stands for a version everywhere on the page."""
    return VERSION_COLORS[(version - 1) % len(VERSION_COLORS)]


def summary(windows: Sequence[WindowRecord], metric: str | None) -> list[tuple[str, str, str]]:
    """The tiles on top: ``(figure, what it is, tone)``; tone is ``good``, ``bad`` or empty."""
    if not windows:
        return []
    rows = sum(window.rows for window in windows)
    labelled = sum(p.labelled_rows for window in windows for p in window.performance.values())
    answered = sum(p.rows for window in windows for p in window.performance.values())
    degraded = sum(window.degraded for window in windows)
    drifted = sum(window.drifted for window in windows)
    broken = sum(window.quality == "block" for window in windows)
    tiles = [
        (f"v{windows[-1].champion}", "champion in the newest window", ""),
        (f"{rows:,}", f"predictions in {len(windows)} windows", ""),
        (f"{labelled / answered:.0%}" if answered else "0%", "of them labelled in time", ""),
    ]
    mean = _champion_mean(windows, metric)
    if mean is not None and metric is not None:
        tiles.append((f"{mean:.4f}", f"champion's {metric.replace('_', ' ')}, all windows", ""))
    tiles += [
        (str(degraded), "windows with a worse model", "bad" if degraded else "good"),
        (str(drifted), "windows with drift", "bad" if drifted else "good"),
        (str(broken), "windows with broken data", "bad" if broken else "good"),
    ]
    return tiles


def _champion_mean(windows: Sequence[WindowRecord], metric: str | None) -> float | None:
    pairs = [
        (performance.metrics[metric], performance.labelled_rows)
        for window in windows
        if metric is not None and (performance := window.performance.get(window.champion)) is not None
        if metric in performance.metrics
    ]
    rows = sum(count for _, count in pairs)
    return sum(value * count for value, count in pairs) / rows if rows else None


def _versions(windows: Sequence[WindowRecord]) -> list[int]:
    return sorted({version for window in windows for version in (window.champion, *window.performance)})


def _middle(window: WindowRecord) -> datetime:
    return window.start + (window.end - window.start) / 2


def _changes(windows: Sequence[WindowRecord]) -> list[Marker]:
    """Marks of the windows in which another version became champion."""
    pairs = pairwise(windows)
    first = [Marker(windows[0].start, f"v{windows[0].champion}", version_color(windows[0].champion))] if windows else []
    return first + [
        Marker(later.start, f"v{later.champion}", version_color(later.champion))
        for earlier, later in pairs
        if later.champion != earlier.champion
    ]


def _abrupt(windows: Sequence[WindowRecord]) -> list[Marker]:
    """Marks of the instants at which the champion's loss rose abruptly."""
    return [
        Marker(change.at, "", _QUALITY_COLORS["block"])
        for window in windows
        for change in window.error_changes
        if change.after > change.before
    ]


def _performance_chart(report: MonitorReport, metric: str | None, span: tuple[datetime, datetime]) -> str:
    windows = report.windows
    if metric is None:
        return time_chart([], span)
    middles = {window.start: _middle(window) for window in windows}
    lines = [
        Line(name, color, [(middles.get(at, at), value) for at, value in points], dots_only=False)
        for (name, points), color in zip(
            report.comparisons.items(), _COMPARISON_COLORS * len(report.comparisons), strict=False
        )
    ]
    reference = [(_middle(w), w.reference_metrics.get(metric, math.nan)) for w in windows]
    lines.append(Line("reference", "var(--soft)", reference, dashed=True))
    for version in _versions(windows):
        own = [(w, w.performance[version]) for w in windows if version in w.performance]
        for champion in (True, False):
            seen = [
                (_middle(w), p.metrics[metric], p.intervals.get(metric, (p.metrics[metric],) * 2), w.degraded)
                for w, p in own
                if metric in p.metrics and (w.champion == version) is champion
            ]
            if seen:
                lines.append(
                    Line(
                        f"v{version}" if champion else f"v{version}, not champion",
                        version_color(version),
                        [(at, value) for at, value, _, _ in seen],
                        band=[(at, *interval) for at, _, interval, _ in seen] if champion and len(seen) > 1 else (),
                        alarms=frozenset(at for at, *_, degraded in seen if degraded and champion),
                        dots_only=not champion,
                    )
                )
        lines += _estimate_lines(windows, version, metric)
    markers = [*_changes(windows), *_abrupt(windows)]
    return time_chart(lines, span, markers=markers, height=300, label=f"{metric.replace('_', ' ')} over time")


def _estimate_lines(windows: Sequence[WindowRecord], version: int, metric: str) -> list[Line]:
    """The expected metric of the version while it was champion, dashed, with its intervals."""
    seen = [
        (_middle(w), w.estimated[version].metrics[metric], w.estimated[version].intervals[metric])
        for w in windows
        if w.champion == version and version in w.estimated and metric in w.estimated[version].intervals
    ]
    if not seen:
        return []
    band = [(at, *interval) for at, _, interval in seen] if len(seen) > 1 else ()
    points = [(at, value) for at, value, _ in seen]
    return [Line(f"v{version}, estimated", version_color(version), points, band=band, dashed=True)]


def _calibration_chart(windows: Sequence[WindowRecord], span: tuple[datetime, datetime]) -> str:
    champions = [(w, w.performance[w.champion]) for w in windows if w.champion in w.performance]
    pairs = ("mean_probability", "positive_share", "#2f6db3"), ("mean_value", "mean_label", "#2f6db3")
    for score, label, color in pairs:
        known = [(_middle(w), p) for w, p in champions if score in p.metrics]
        if known:
            lines = [
                Line("labels", "var(--ink)", [(at, p.metrics[label]) for at, p in known]),
                Line("champion", color, [(at, p.metrics[score]) for at, p in known]),
            ]
            return time_chart(
                lines, span, markers=_changes(windows), height=190, label="mean prediction and mean label"
            )
    return ""


def _reigns(windows: Sequence[WindowRecord], span: tuple[datetime, datetime]) -> str:
    """Which version was champion when."""
    spans = [
        Span(
            start=(reign := list(group))[0].start,
            end=reign[-1].end,
            color=version_color(version),
            title=f"v{version}: {reign[0].start:%d %b %Y} to {reign[-1].end:%d %b %Y}, {len(reign)} windows",
            label=f"v{version}",
        )
        for version, group in groupby(windows, key=lambda window: window.champion)
    ]
    return strip_chart(spans, span, "versions in office")


def _qualities(windows: Sequence[WindowRecord], span: tuple[datetime, datetime]) -> str:
    spans = [
        Span(
            window.start,
            window.end,
            _QUALITY_COLORS[window.quality],
            "; ".join([f"{window.start:%d %b %Y}: {window.quality}", *window.quality_reasons[:3]]),
            "!" if window.quality == "block" else "",
        )
        for window in windows
    ]
    return strip_chart(spans, span, "verdicts on the data")


def _coverage_chart(windows: Sequence[WindowRecord], span: tuple[datetime, datetime]) -> str:
    answered = [(window, sum(p.rows for p in window.performance.values())) for window in windows]
    points = [
        (_middle(window), 100 * sum(p.labelled_rows for p in window.performance.values()) / rows)
        for window, rows in answered
        if rows
    ]
    line = Line("labelled, %", "#4c76b8", points)
    return time_chart([line], span, height=130, label="share of the rows that have a label, in percent")


def _volume(windows: Sequence[WindowRecord], span: tuple[datetime, datetime]) -> str:
    rows = [
        (w.start, w.end, w.rows, min(w.rows, sum(p.labelled_rows for p in w.performance.values()))) for w in windows
    ]
    return volume_chart(rows, span)


def window_length_text(windows: Sequence[WindowRecord]) -> str:
    """How long a window is: ``1 day``; empty without one."""
    if not windows:
        return ""
    hours = (windows[-1].end - windows[-1].start).total_seconds() / 3600
    number, unit = (hours / 24, "day") if hours % 24 == 0 else (hours, "hour") if hours >= 1 else (hours * 60, "minute")
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def _ticks(windows: Sequence[WindowRecord]) -> list[str]:
    """Labels under the heat map: the month where one begins."""
    labels, last = [], None
    for window in windows:
        month = (window.start.year, window.start.month)
        labels.append(f"{window.start:%b}" if month != last else "")
        last = month
    return labels


def _table_row(window: WindowRecord, metric: str | None) -> dict[str, object]:
    performance = window.performance.get(window.champion)
    value = performance.metrics.get(metric or "") if performance else None
    interval = performance.intervals.get(metric or "") if performance else None
    flagged = sorted(
        (name for name, column in window.columns.items() if column.drifted),
        key=lambda name: (-drift_weight(window.columns[name]), name),
    )
    return {
        "window": window,
        "labelled": performance.labelled_rows if performance else 0,
        "labels": performance.labels_text if performance else "no row was answered by the champion",
        "value": "-" if value is None else f"{value:.4f}",
        "interval": "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        "estimate": _estimate_text(window, metric),
        "reference": f"{window.reference_metrics[metric]:.4f}" if metric in window.reference_metrics else "-",
        "drifted": flagged[:4],
        "more": max(0, len(flagged) - 4),
    }


def _estimate_text(window: WindowRecord, metric: str | None) -> str:
    estimated = window.estimated.get(window.champion)
    if estimated is None or metric not in estimated.metrics:
        return "-"
    return f"{'(' if estimated.problem else ''}{estimated.metrics[metric]:.4f}{')' if estimated.problem else ''}"
