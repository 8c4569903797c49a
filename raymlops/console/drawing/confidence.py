"""A trial's evidence: the confidence sequence of the loss against its margin, and e-values against their bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

__all__ = ["Interval", "draw_evidence_bar", "draw_intervals"]

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 760, 128, 24, 34, 26


@dataclass(frozen=True)
class Interval:
    """The difference of the losses at one look: candidate less champion.

    Attributes:
        at: When it was looked.
        difference: Of the means.
        lower: Lower bound, valid however often it is looked; ``None`` before there are rows enough for bounds.
        upper: Upper bound.
        rows: Labelled rows compared.
    """

    at: datetime
    difference: float
    lower: float | None
    upper: float | None
    rows: int


def draw_intervals(intervals: Sequence[Interval], margin: float) -> Markup:
    """The intervals below each other, oldest first, with a line at 0 and one at the margin.

    Args:
        intervals: Of one trial.
        margin: At or below it, the upper bound says that the candidate is as good as the champion.
    """
    values = [0.0, margin, *(one.difference for one in intervals)]
    values += [bound for one in intervals for bound in (one.lower, one.upper) if bound is not None]
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, 1e-9)
    low, high = low - room, high + room

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    height = _TOP + _ROW * len(intervals) + 24
    parts = [
        _line(x(0.0), height, "var(--ink)", "0: equal", ""),
        _line(x(margin), height, "var(--good-mark)", f"margin {margin:.4g}", "5 4"),
        *(_interval(one, _TOP + place * _ROW + 12, x) for place, one in enumerate(intervals)),
        _text(_LEFT, height - 4, "← better than the champion", "start"),
        _text(_WIDTH - _RIGHT, height - 4, "worse →", "end"),
    ]
    told = "; ".join(_told(one) for one in intervals)
    label = f"loss of the candidate less the champion's, against 0 and the margin {margin:.4g}: {told}"
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, height, label, Markup("").join(parts)
    )


def draw_evidence_bar(value: float, bar: float, label: str) -> Markup:
    """An e-value on a logarithmic scale from 1 to its bar: at the bar, what it speaks against is given up."""
    width, share = 320.0, 0.0
    if bar > 1 and value > 1:
        share = min(math.log(value) / math.log(bar), 1.0)
    fill = "var(--bad-mark)" if value >= bar else "var(--run)"
    text = f"{label}: e-value {value:.3g}, gives up at {bar:g}"
    return Markup(
        '<svg viewBox="0 0 {0} 16" role="img" aria-label="{1}">'
        '<rect y="3" width="{0}" height="10" rx="3" fill="var(--chip)" stroke="var(--soft)"/>'
        '<rect y="3" width="{2:.1f}" height="10" rx="3" fill="{3}"/></svg>'
    ).format(width, text, max(share * width, 2.0), fill)


def _told(one: Interval) -> str:
    bounds = "no bounds yet" if one.lower is None or one.upper is None else f"{one.lower:+.4g} to {one.upper:+.4g}"
    return f"{one.difference:+.4g}, {bounds}, over {one.rows:,} rows"


def _interval(one: Interval, y: float, x: Callable[[float], float]) -> Markup:
    shape = Markup("")
    if one.lower is not None and one.upper is not None:
        shape = Markup(
            '<line x1="{0:.1f}" x2="{1:.1f}" y1="{2}" y2="{2}" stroke="var(--run)" stroke-width="3"/>'
            '<line x1="{0:.1f}" x2="{0:.1f}" y1="{3}" y2="{4}" stroke="var(--run)" stroke-width="2"/>'
            '<line x1="{1:.1f}" x2="{1:.1f}" y1="{3}" y2="{4}" stroke="var(--run)" stroke-width="2"/>'
        ).format(x(one.lower), x(one.upper), y, y - 6, y + 6)
    dot = Markup('<circle cx="{:.1f}" cy="{}" r="5" fill="var(--run)"/>').format(x(one.difference), y)
    return Markup("<g><title>{}</title>{}{}</g>{}").format(
        f"{one.at:%d %b %Y %H:%M}: {_told(one)}", shape, dot, _text(2, y + 4, f"{one.at:%d %b %H:%M}", "start")
    )


def _line(x: float, height: int, color: str, label: str, dash: str) -> Markup:
    dashes = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
    return Markup(
        '<line x1="{0:.1f}" x2="{0:.1f}" y1="22" y2="{1}" stroke="{2}"{3}/>'
        '<text x="{0:.1f}" y="{5}" text-anchor="middle" fill="{2}">{4}</text>'
    ).format(x, height - 18, color, dashes, label, 10 if dash else 20)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
