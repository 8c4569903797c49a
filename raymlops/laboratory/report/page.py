"""The laboratory's page: one file, no script, and the look of the monitor report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raymlops.laboratory.report.lab_report import FITS_A_RETRAINING, LabReport
from raymlops.laboratory.simulation import Outcome
from raymlops.monitoring.report.charts import Curve, Line, Marker, time_chart, xy_chart
from raymlops.monitoring.report.html import allowed_by, page_file, page_style, page_template

__all__ = ["render"]

_BLUE, _ORANGE, _GREEN, _GREY = "#2f6db3", "#b84f14", "#277a4c", "var(--soft)"
_COLORS = {"never": "#7b8594", "drift": "#8a6508", "performance": "#b03a5b", "regret": "#14747d"}
_SHOWN_FIRINGS = 60


_HERE = "raymlops.laboratory.report"


def render(report: LabReport) -> str:
    """The page of a report."""
    chosen = report.outcomes[report.recommended]
    style = page_style() + page_file("page.css", _HERE)
    return page_template(_HERE).render(
        report=report,
        style=style,
        style_hash=allowed_by(style),
        facts=report.to_dict(),
        answers=_answers(report, chosen),
        tiles=_tiles(report, chosen),
        age_chart=_age_chart(report),
        front=_front(report),
        compute_front=_compute_front(report) if report.compute_s else "",
        fits=FITS_A_RETRAINING,
        loss_chart=_loss_chart(report, chosen),
        strips=_strips(report),
        ranked=sorted(report.outcomes.values(), key=lambda one: one.cost(report.price)),
        chosen=chosen,
        when=_when(report),
    )


def _answers(report: LabReport, chosen: Outcome) -> list[tuple[str, str, str, str]]:
    """Question, answer, reason, tone."""
    facts = report.to_dict()
    stale = facts["never"] / facts["every_window"] - 1.0 if facts["every_window"] else 0.0
    paid_at = _paid_at(report)
    last = report.ages[min(len(report.ages) - 1, 8)]
    worth = [each.worth for each in chosen.firings]
    paid = sum(each > report.price for each in worth)
    goes = "yes" if stale >= 0.02 and paid_at is not None else "no" if stale < 0.005 else "a little"
    fast = "not seen" if paid_at is None else f"{paid_at} window{'s' if paid_at > 1 else ''}"
    return [
        (
            "Does a model go stale?",
            goes,
            f"never retrained, it loses {stale:+.1%} beside one that is retrained in every window",
            "yes" if goes == "yes" else "no" if goes == "no" else "suspected",
        ),
        (
            "How fast?",
            fast,
            f"until staleness has cost the price of a retraining, {report.price:g} losses of a window; at an age of "
            f"{last.age} windows a model loses {last.excess:+.1%} ± {2 * last.standard_error:.1%}",
            "no" if paid_at is None else "yes" if paid_at <= 2 else "suspected",
        ),
        (
            "What is retraining worth?",
            f"{sum(worth):.2f} windows" if worth else "nothing",
            f"{len(worth)} retrainings by {chosen.name!r}; {paid} of them were worth more than their price of "
            f"{report.price:g}",
            "no" if not worth or paid == len(worth) else "suspected",
        ),
    ]


def _paid_at(report: LabReport) -> int | None:
    """The age by which a model has lost the price of a retraining, in the mean; ``None`` where none has."""
    lost = 0.0
    for one in report.ages:
        lost += one.excess
        if lost >= report.price:
            return max(1, one.age)
    return None


def _tiles(report: LabReport, chosen: Outcome) -> list[tuple[str, str]]:
    facts = report.to_dict()
    return [
        (f"{facts['windows']}", f"windows served, after {report.matrix.first} to learn from"),
        (f"{facts['rows']:,}", "rows scored"),
        (f"{facts['never']:.4g}", f"{facts['metric']}, never retrained"),
        (f"{facts['every_window']:.4g}", "retrained in every window"),
        (f"{chosen.loss:.4g}", f"the recommended: {chosen.name}"),
        (f"{len(chosen.retrainings)}", "retrainings by it"),
        (f"{len(report.oracle.retrainings)}", "by the best in hindsight"),
    ]


def _age_chart(report: LabReport) -> str:
    shown = [one for one in report.ages if one.windows >= 3] or list(report.ages)
    points = [(float(one.age), 100 * one.excess) for one in shown]
    band = [
        (float(one.age), 100 * (one.excess - 2 * one.standard_error), 100 * (one.excess + 2 * one.standard_error))
        for one in shown
    ]
    curves = [
        Curve("mean over windows", _BLUE, points, band=band, digits=2),
    ]
    return xy_chart(curves, x_name="age of the model, windows", label="excess loss by age of the model, in percent")


def _front(report: LabReport) -> str:
    most = max(len(one.retrainings) for one in report.outcomes.values())
    best = [(float(len(one.retrainings)), one.loss) for one in report.best if len(one.retrainings) <= most]
    curves = [Curve("best in hindsight", _GREY, best, dashed=True)]
    curves.append(Curve("calendars", "#8fb8a5", _points(report, calendars=True)))
    curves += [_dot(report, one, len(one.retrainings)) for one in _marked(report)]
    return xy_chart(curves, x_name="retrainings", height=320, label="loss against the number of retrainings")


def _compute_front(report: LabReport) -> str:
    told = report.compute_s
    calendars = sorted((told[one.name], one.loss) for one in report.outcomes.values() if _is_calendar(one))
    curves = [Curve("calendars", "#8fb8a5", calendars)]
    curves += [_dot(report, one, told[one.name]) for one in _marked(report) if one.name in told]
    return xy_chart(curves, x_name="seconds of fits", height=300, label="loss against seconds of fits")


def _points(report: LabReport, *, calendars: bool) -> list[tuple[float, float]]:
    found = [one for one in report.outcomes.values() if _is_calendar(one) is calendars]
    return sorted((float(len(one.retrainings)), one.loss) for one in found)


def _is_calendar(one: Outcome) -> bool:
    return one.name.startswith("every ")


def _marked(report: LabReport) -> list[Outcome]:
    return [*(one for one in report.outcomes.values() if not _is_calendar(one)), report.oracle]


def _dot(report: LabReport, one: Outcome, at: float) -> Curve:
    return Curve(one.name, _color(report, one.name), [(float(at), one.loss)], dots_only=True, named=True)


def _color(report: LabReport, name: str) -> str:
    if name == report.recommended and name != "never":
        return _BLUE
    return _GREEN if name == "oracle" else _COLORS.get(name, "#7d4fa8")


def _when(report: LabReport) -> dict[int, str]:
    """What a window is called: the day it starts, or its number."""
    starts, windows = report.matrix.facts.starts, report.matrix.windows
    if not starts:
        return {window: f"window {window}" for window in windows}
    form = "%d %b %Y" if (starts[1] - starts[0]).total_seconds() >= 86_400 else "%d %b %Y %H:%M"
    return {window: starts[window].strftime(form) for window in windows}


def _loss_chart(report: LabReport, chosen: Outcome) -> str:
    windows, starts = report.matrix.windows, report.matrix.facts.starts
    never = report.outcomes["never"]
    shown = [("never", _COLORS["never"], never), *([(chosen.name, _BLUE, chosen)] if chosen is not never else [])]
    if not starts:
        curves = [
            Curve(name, color, [(float(w), y) for w, y in zip(windows, one.by_window, strict=True) if math.isfinite(y)])
            for name, color, one in shown
        ]
        return xy_chart(curves, x_name="window", label="loss by window")
    middles = {window: starts[window] + (starts[window + 1] - starts[window]) / 2 for window in windows}
    lines = [
        Line(name, color, [(middles[w], y) for w, y in zip(windows, one.by_window, strict=True)])
        for name, color, one in shown
    ]
    markers = [Marker(starts[each.window], "", _BLUE) for each in chosen.firings]
    return time_chart(lines, (starts[windows[0]], starts[-1]), markers=markers, label="loss by window")


def _strips(report: LabReport) -> list[tuple[str, str, Sequence[tuple[int, float]]]]:
    """Policy, its line of windows as a picture, and its firings."""
    names = [*(one.name for one in _marked(report) if one.name != "never")]
    found = [one for one in (*report.outcomes.values(), report.oracle) if one.name in names]
    return [
        (one.name, _strip(report, one), [(f.window, f.worth) for f in one.firings][:_SHOWN_FIRINGS]) for one in found
    ]


def _strip(report: LabReport, one: Outcome) -> str:
    """Windows in a row; a bar where the policy fired, as high as what that was worth, up or down."""
    windows = list(report.matrix.windows)
    slot = 700 / len(windows)
    most = (
        max((abs(f.worth) for o in (*report.outcomes.values(), report.oracle) for f in o.firings), default=0.0) or 1.0
    )
    when = _when(report)
    parts = ['<line x1="0" x2="700" y1="22" y2="22" stroke="var(--line)"/>']
    for each in one.firings:
        left, height = (each.window - windows[0]) * slot, max(2.0, 20 * (abs(each.worth) / most) ** 0.5)
        good = each.worth > report.price
        top = 22 - height if each.worth >= 0 else 22.0
        parts.append(
            f"<g><title>{when[each.window]}: worth {each.worth:+.3f} losses of a window</title>"
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(2.0, slot - 1.5):.1f}" height="{height:.1f}" '
            f'fill="{_GREEN if good else _ORANGE}"/></g>'
        )
    label = f"when {one.name} fired: {len(one.firings)} times"
    return f'<svg viewBox="0 0 700 44" role="img" aria-label="{label}">{"".join(parts)}</svg>'
