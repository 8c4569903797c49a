"""The laboratory's page: one file, no script, and the look of the monitor report."""

from __future__ import annotations

import math

from raymlops.laboratory.report.figures import (
    BLUE,
    POLICY_COLORS,
    age_chart,
    compute_front,
    front,
    names_of_windows,
    strips,
)
from raymlops.laboratory.report.lab_report import FITS_A_RETRAINING, LabReport
from raymlops.laboratory.simulation import Outcome
from raymlops.monitoring.report.charts import Curve, Line, Marker, time_chart, xy_chart
from raymlops.monitoring.report.html import allowed_by, page_file, page_style, page_template

__all__ = ["render"]

_HERE = "raymlops.laboratory.report"


def render(report: LabReport) -> str:
    """The page of a report."""
    chosen, facts = report.outcomes[report.recommended], report.to_dict()
    style = page_style() + page_file("page.css", _HERE)
    return page_template(_HERE).render(
        report=report,
        style=style,
        style_hash=allowed_by(style),
        facts=facts,
        answers=_answers(report, chosen),
        tiles=_tiles(report, chosen),
        age_chart=age_chart(facts),
        front=front(facts),
        compute_front=compute_front(facts),
        fits=FITS_A_RETRAINING,
        loss_chart=_loss_chart(report, chosen),
        strips=strips(facts),
        ranked=sorted(report.outcomes.values(), key=lambda one: one.cost(report.price)),
        chosen=chosen,
        when=names_of_windows(facts),
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


def _loss_chart(report: LabReport, chosen: Outcome) -> str:
    windows, starts = report.matrix.windows, report.matrix.facts.starts
    never = report.outcomes["never"]
    shown = [("never", POLICY_COLORS["never"], never), *([(chosen.name, BLUE, chosen)] if chosen is not never else [])]
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
    markers = [Marker(starts[each.window], "", BLUE) for each in chosen.firings]
    return time_chart(lines, (starts[windows[0]], starts[-1]), markers=markers, label="loss by window")
