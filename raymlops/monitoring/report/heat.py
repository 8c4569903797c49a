"""Columns over windows: the most worrying ones as a map, all of them as data of plots that are drawn when looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from raymlops.monitoring.report.answers import drift_weight, explain, over_threshold
from raymlops.records.windows import ColumnDrift, WindowRecord

__all__ = ["HeatCell", "HeatRow", "heat_rows", "heat_tone", "plot_data"]

SHOWN_COLUMNS = 40
_TONES = 8
"""Tones between one threshold and the next; their colours are in the style sheet."""


@dataclass(frozen=True)
class HeatCell:
    """One column in one window."""

    tone: str
    """Class of the style sheet: ``h0`` far below the threshold to ``h24`` at 4 times it and more."""
    title: str
    flagged: bool


@dataclass(frozen=True)
class HeatRow:
    """One column over all windows."""

    name: str
    importance: float | None
    cells: tuple[HeatCell, ...]
    flagged: int


def heat_rows(windows: Sequence[WindowRecord]) -> tuple[list[HeatRow], int]:
    """Columns over windows, the most worrying first, and how many columns are left out; the scores come on top."""
    importances = _importances(windows)

    def worry(name: str) -> float:
        found = [window.columns[name] for window in windows if name in window.columns]
        return sum(min(over_threshold(column), 4.0) for column in found) * math.sqrt(importances[name] or 0.01)

    ranked = sorted(importances, key=lambda name: (-worry(name), name))
    rows = [
        _heat_row(name, importances[name], [window.columns.get(name) for window in windows], windows)
        for name in ranked[:SHOWN_COLUMNS]
    ]
    if any(window.prediction_drift for window in windows):
        predictions = [window.prediction_drift for window in windows]
        rows.insert(0, _heat_row("the model's scores", None, predictions, windows))
    return rows, max(0, len(ranked) - SHOWN_COLUMNS)


def heat_tone(ratio: float) -> str:
    """Class of a score ``ratio`` times its threshold: a page under a strict policy has no style beside its sheet."""
    place = min(max(ratio, 0.0), 4.0)
    place = place if place <= 2 else 2 + (place - 2) / 2
    return f"h{round(place * _TONES)}"


def plot_data(windows: Sequence[WindowRecord]) -> Markup:
    """Scores, thresholds and flags of every column, as JSON that may stand inside a ``script`` element."""
    importances = _importances(windows)
    newest = [one.column for one in explain(windows)]
    names = newest + sorted(set(importances) - set(newest))
    data: dict[str, Any] = {
        "at": [window.start.strftime("%d %b %Y %H:%M") for window in windows],
        "champions": [window.champion for window in windows],
        "columns": [_series(name, importances[name], windows) for name in names],
    }
    return script_json(data)


def script_json(value: object) -> Markup:
    """JSON in which nothing can end a ``script`` element, or begin another: every ``<``, ``>`` and ``&`` is escaped."""
    return htmlsafe_json_dumps(value, dumps=_plain_json)


def _plain_json(value: object) -> str:
    # two separators that JSON allows in texts, and old JavaScript does not
    return orjson.dumps(value).decode().replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _importances(windows: Sequence[WindowRecord]) -> dict[str, float | None]:
    importances: dict[str, float | None] = {}
    for window in windows:
        importances |= {name: column.importance for name, column in window.columns.items()}
    return importances


def _series(name: str, importance: float | None, windows: Sequence[WindowRecord]) -> dict[str, Any]:
    found = [window.columns.get(name) for window in windows]
    last = next(column for column in reversed(found) if column is not None)
    missing = [None if column is None else _short(column.missing_share) for column in found]
    return {
        "name": name.encode("utf-8", "replace").decode(),
        "importance": None if importance is None else _short(importance),
        "weight": _short(drift_weight(last)),
        "score": [None if column is None else _short(column.score) for column in found],
        "threshold": [None if column is None else _short(column.threshold) for column in found],
        "flags": "".join("1" if column is not None and column.drifted else "0" for column in found),
        **({"missing": missing} if any(missing) else {}),
        **({"problem": last.problem} if last.problem else {}),
    }


def _short(value: float) -> float | None:
    """Three digits: more cannot be seen in a plot, and 200 columns are to open at once."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


def _heat_row(
    name: str, importance: float | None, columns: Sequence[ColumnDrift | None], windows: Sequence[WindowRecord]
) -> HeatRow:
    cells = []
    for column, window in zip(columns, windows, strict=True):
        when = f"{name}, {window.start:%d %b %Y}"
        if column is None:
            cells.append(HeatCell("", f"{when}: not known", False))
            continue
        title = f"{when}: score {column.score:.3f}, threshold {column.threshold:.3f}, p {column.p_value:.2g}"
        title += f", {column.missing_share:.0%} missing" if column.missing_share else ""
        title += f", {column.test}" if column.drifted else ""
        title += f", {column.problem}" if column.problem else ""
        cells.append(HeatCell(heat_tone(over_threshold(column)), title, column.drifted))
    return HeatRow(name, importance, tuple(cells), sum(cell.flagged for cell in cells))
