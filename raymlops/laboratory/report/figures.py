"""Figures of a report, drawn from its JSON values, for its own page and for the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from raymlops.monitoring.report.charts import Curve, xy_chart

__all__ = [
    "BLUE",
    "ORACLE",
    "POLICY_COLORS",
    "age_chart",
    "compute_front",
    "front",
    "names_of_windows",
    "ranked",
    "strips",
]

BLUE, _ORANGE, _GREEN, _GREY = "#2f6db3", "#b84f14", "#277a4c", "var(--soft)"
POLICY_COLORS = {"never": "#7b8594", "drift": "#8a6508", "performance": "#b03a5b", "regret": "#14747d"}
ORACLE = "oracle"
"""Name of the schedule of least cost in hindsight, among the policies of a report."""
_CALENDAR = "#8fb8a5"
_SHOWN_FIRINGS = 60

Figures = Mapping[str, Any]
"""As ``LabReport.to_dict`` gives them."""


def age_chart(figures: Figures) -> str:
    """Loss against age, in percent of the loss of a window."""
    shown = [one for one in figures["age"] if one["windows"] >= 3] or figures["age"]
    points = [(float(one["age"]), 100 * one["excess"]) for one in shown]
    band = [
        (
            float(one["age"]),
            100 * (one["excess"] - 2 * one["standard_error"]),
            100 * (one["excess"] + 2 * one["standard_error"]),
        )
        for one in shown
    ]
    curves = [Curve("mean over windows", BLUE, points, band=band, digits=2)]
    return xy_chart(curves, x_name="age of the model, windows", label="excess loss by age of the model, in percent")


def front(figures: Figures) -> str:
    """Quality against retrainings: each policy a dot, and the best that so many retrainings can reach."""
    policies = figures["policies"]
    most = max(one["retrainings"] for name, one in policies.items() if name != ORACLE)
    best = [(float(one["retrainings"]), one["loss"]) for one in figures["frontier"] if one["retrainings"] <= most]
    calendars = sorted((float(one["retrainings"]), one["loss"]) for name, one in policies.items() if _is_calendar(name))
    curves = [Curve("best in hindsight", _GREY, best, dashed=True), Curve("calendars", _CALENDAR, calendars)]
    curves += [_dot(figures, name, policies[name]["retrainings"]) for name in _marked(figures)]
    return xy_chart(curves, x_name="retrainings", height=320, label="loss against the number of retrainings")


def compute_front(figures: Figures) -> str:
    """Quality against seconds of fits; empty where they were not measured."""
    policies = figures["policies"]
    told = {name: one["compute_s"] for name, one in policies.items() if one["compute_s"] is not None}
    if not told:
        return ""
    calendars = sorted((told[name], policies[name]["loss"]) for name in told if _is_calendar(name))
    curves = [Curve("calendars", _CALENDAR, calendars)]
    curves += [_dot(figures, name, told[name]) for name in _marked(figures) if name in told]
    return xy_chart(curves, x_name="seconds of fits", height=300, label="loss against seconds of fits")


def strips(figures: Figures) -> list[tuple[str, str, Sequence[Mapping[str, Any]]]]:
    """Policy, its line of windows as a picture, and its firings."""
    found = [name for name in _marked(figures) if name != "never"]
    policies = figures["policies"]
    return [(name, _strip(figures, name), policies[name]["firings"][:_SHOWN_FIRINGS]) for name in found]


def ranked(figures: Figures) -> list[tuple[str, Mapping[str, Any]]]:
    """The policies, the cheapest first, and the best in hindsight after them."""
    policies: Mapping[str, Any] = figures["policies"]
    own = sorted(((name, one) for name, one in policies.items() if name != ORACLE), key=lambda pair: pair[1]["cost"])
    return [*own, (ORACLE, policies[ORACLE])]


def names_of_windows(figures: Figures) -> dict[int, str]:
    """Name of a window: the day it starts, or its number."""
    windows = range(figures["first"], figures["first"] + figures["windows"])
    starts = [datetime.fromisoformat(at) for at in figures["starts"]]
    if not starts:
        return {window: f"window {window}" for window in windows}
    form = "%d %b %Y" if (starts[1] - starts[0]).total_seconds() >= 86_400 else "%d %b %Y %H:%M"
    return {window: start.strftime(form) for window, start in zip(windows, starts, strict=False)}


def _is_calendar(name: str) -> bool:
    return name.startswith("every ")


def _marked(figures: Figures) -> list[str]:
    return [name for name in figures["policies"] if not _is_calendar(name)]


def _dot(figures: Figures, name: str, at: float) -> Curve:
    loss = figures["policies"][name]["loss"]
    return Curve(name, _color(figures, name), [(float(at), loss)], dots_only=True, named=True)


def _color(figures: Figures, name: str) -> str:
    if name == figures["recommended"] and name != "never":
        return BLUE
    return _GREEN if name == ORACLE else POLICY_COLORS.get(name, "#7d4fa8")


def _strip(figures: Figures, name: str) -> str:
    """Windows in a row; a bar where the policy fired, as high as what that was worth, up or down."""
    policies, first = figures["policies"], figures["first"]
    slot = 700 / figures["windows"]
    most = max((abs(each["worth"]) for one in policies.values() for each in one["firings"]), default=0.0) or 1.0
    when = names_of_windows(figures)
    parts = ['<line x1="0" x2="700" y1="22" y2="22" stroke="var(--line)"/>']
    for each in policies[name]["firings"]:
        left, height = (each["window"] - first) * slot, max(2.0, 20 * (abs(each["worth"]) / most) ** 0.5)
        good = each["worth"] > figures["price"]
        top = 22 - height if each["worth"] >= 0 else 22.0
        parts.append(
            f"<g><title>{when[each['window']]}: worth {each['worth']:+.3f} losses of a window</title>"
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(2.0, slot - 1.5):.1f}" height="{height:.1f}" '
            f'fill="{_GREEN if good else _ORANGE}"/></g>'
        )
    label = f"when {escape(name)} fired: {len(policies[name]['firings'])} times"
    return f'<svg viewBox="0 0 700 44" role="img" aria-label="{label}">{"".join(parts)}</svg>'
