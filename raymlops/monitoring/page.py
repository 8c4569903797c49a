"""The report's page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import pairwise

from jinja2 import Environment, StrictUndefined, Template

from raymlops.monitoring.charts import Line, Marker, bar_pairs, time_chart, volume_chart
from raymlops.monitoring.report import MonitorReport, main_metric
from raymlops.records.windows import ColumnDrift, WindowRecord

__all__ = ["render"]

VERSION_COLORS = ("#2f6db3", "#c2571a", "#2e8b57", "#7d4fa8", "#b8860b", "#b03a5b", "#17808a", "#6b6b6b")
SHOWN_COLUMNS = 40
HEAT = ((247, 248, 250), (249, 223, 166), (226, 120, 63), (148, 32, 48))
"""Colours of score over threshold at 0, 1, 2 and 4 and more."""


@dataclass(frozen=True)
class HeatCell:
    """One column in one window."""

    color: str
    title: str
    flagged: bool


@dataclass(frozen=True)
class HeatRow:
    """One column over all windows."""

    name: str
    importance: float | None
    cells: tuple[HeatCell, ...]
    flagged: int


def render(report: MonitorReport) -> str:
    """The page of a report."""
    windows = report.windows
    span = (windows[0].start, windows[-1].end) if windows else (report.created_at, report.created_at)
    rows, hidden = heat_rows(windows)
    metric = main_metric(windows)
    return _template().render(
        report=report,
        windows=windows,
        span=span,
        metric=metric,
        metric_name=(metric or "").replace("_", " "),
        summary=summary(windows, metric),
        versions=[(version, version_color(version)) for version in _versions(windows)],
        performance=_performance_chart(report, metric, span),
        calibration=_calibration_chart(windows, span),
        volume=_volume(windows, span),
        heat=rows,
        hidden=hidden,
        ticks=_ticks(windows),
        bars=[(d, bar_pairs(d.labels, d.reference, d.window)) for d in report.distributions],
        comparisons=list(zip(report.comparisons, _COMPARISON_COLORS * len(report.comparisons), strict=False)),
        table=[_table_row(window, metric) for window in reversed(windows)],
    )


_COMPARISON_COLORS = ("#9aa3b0", "#c7a76c", "#8fb8a5")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("raymlops.monitoring").joinpath("page.html.j2").read_text("utf-8"))


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


def heat_rows(windows: Sequence[WindowRecord]) -> tuple[list[HeatRow], int]:
    """Columns over windows, the most worrying first, and how many columns are left out; the scores come on top."""
    importances: dict[str, float | None] = {}
    for window in windows:
        importances |= {name: column.importance for name, column in window.columns.items()}

    def worry(name: str) -> float:
        found = [window.columns[name] for window in windows if name in window.columns]
        return sum(min(_ratio(column), 4.0) for column in found) * math.sqrt(importances[name] or 0.01)

    ranked = sorted(importances, key=lambda name: (-worry(name), name))
    rows = [
        _heat_row(name, importances[name], [window.columns.get(name) for window in windows], windows)
        for name in ranked[:SHOWN_COLUMNS]
    ]
    if any(window.prediction_drift for window in windows):
        predictions = [window.prediction_drift for window in windows]
        rows.insert(0, _heat_row("the model's scores", None, predictions, windows))
    return rows, max(0, len(ranked) - SHOWN_COLUMNS)


def _heat_row(
    name: str, importance: float | None, columns: Sequence[ColumnDrift | None], windows: Sequence[WindowRecord]
) -> HeatRow:
    cells = []
    for column, window in zip(columns, windows, strict=True):
        when = f"{name}, {window.start:%d %b %Y}"
        if column is None:
            cells.append(HeatCell("transparent", f"{when}: not known", False))
            continue
        title = f"{when}: score {column.score:.3f}, threshold {column.threshold:.3f}, p {column.p_value:.2g}"
        title += f", {column.missing_share:.0%} missing" if column.missing_share else ""
        title += f", {column.test}" if column.drifted else ""
        title += f", {column.problem}" if column.problem else ""
        cells.append(HeatCell(heat_color(_ratio(column)), title, column.drifted))
    return HeatRow(name, importance, tuple(cells), sum(cell.flagged for cell in cells))


def heat_color(ratio: float) -> str:
    """Colour of a score ``ratio`` times its threshold."""
    place = min(max(ratio, 0.0), 4.0)
    place = place if place <= 2 else 2 + (place - 2) / 2
    low = min(int(place), len(HEAT) - 2)
    mixed = (round(a + (b - a) * (place - low)) for a, b in zip(HEAT[low], HEAT[low + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _ratio(column: ColumnDrift) -> float:
    return column.score / column.threshold if column.threshold > 0 else 0.0


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
    """Where another version became champion."""
    pairs = pairwise(windows)
    first = [Marker(windows[0].start, f"v{windows[0].champion}", version_color(windows[0].champion))] if windows else []
    return first + [
        Marker(later.start, f"v{later.champion}", version_color(later.champion))
        for earlier, later in pairs
        if later.champion != earlier.champion
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
    lines.append(Line("reference", "#5b6472", reference, dashed=True))
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
    return time_chart(lines, span, markers=_changes(windows), height=300)


def _calibration_chart(windows: Sequence[WindowRecord], span: tuple[datetime, datetime]) -> str:
    champions = [(w, w.performance[w.champion]) for w in windows if w.champion in w.performance]
    pairs = ("mean_probability", "positive_share", "#2f6db3"), ("mean_value", "mean_label", "#2f6db3")
    for score, label, color in pairs:
        known = [(_middle(w), p) for w, p in champions if score in p.metrics]
        if known:
            lines = [
                Line("labels", "#2b2f36", [(at, p.metrics[label]) for at, p in known]),
                Line("champion", color, [(at, p.metrics[score]) for at, p in known]),
            ]
            return time_chart(lines, span, markers=_changes(windows), height=190)
    return time_chart([], span)


def _volume(windows: Sequence[WindowRecord], span: tuple[datetime, datetime]) -> str:
    rows = [
        (w.start, w.end, w.rows, min(w.rows, sum(p.labelled_rows for p in w.performance.values()))) for w in windows
    ]
    return volume_chart(rows, span)


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
        key=lambda name: -_ratio(window.columns[name]) * ((window.columns[name].importance or 0.0) + 0.01),
    )
    return {
        "window": window,
        "labelled": performance.labelled_rows if performance else 0,
        "value": "-" if value is None else f"{value:.4f}",
        "interval": "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        "reference": f"{window.reference_metrics[metric]:.4f}" if metric in window.reference_metrics else "-",
        "drifted": flagged[:4],
        "more": max(0, len(flagged) - 4),
    }
