"""Plots as inline SVG: small, sharp at any size, and without a plotting library to load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape

from raymlops.clock import to_us

__all__ = ["Curve", "Line", "Marker", "Span", "bar_pairs", "strip_chart", "time_chart", "volume_chart", "xy_chart"]

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 960, 52, 14, 26, 26
GRID, TEXT, FAINT = "var(--line)", "var(--soft)", "var(--faint)"
"""Names of colours in the page's style sheet, which defines them for light and dark screens."""

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Line:
    """One series over time.

    Attributes:
        name: For the legend and for hovering.
        color: CSS colour.
        points: ``(instant, value)``, by instant; a value of NaN breaks the line.
        band: ``(instant, low, high)``, drawn behind the line.
        dashed: Whether it is drawn as dashes, without dots.
        alarms: Instants whose dot is ringed in red.
        dots_only: Whether no line joins the dots.
    """

    name: str
    color: str
    points: Sequence[tuple[datetime, float]]
    band: Sequence[tuple[datetime, float, float]] = ()
    dashed: bool = False
    alarms: frozenset[datetime] = field(default_factory=frozenset)
    dots_only: bool = False


@dataclass(frozen=True)
class Marker:
    """A vertical line at an instant, with a short label on top."""

    at: datetime
    label: str
    color: str = FAINT


@dataclass(frozen=True)
class Span:
    """A stretch of time on a strip."""

    start: datetime
    end: datetime
    color: str
    title: str
    label: str = ""


@dataclass(frozen=True)
class Curve:
    """One series over numbers.

    Attributes:
        name: For hovering.
        color: CSS colour.
        points: ``(x, y)``, by x.
        band: ``(x, low, high)``, drawn behind the line.
        dashed: Whether it is drawn as dashes, without dots.
        dots_only: Whether no line joins the dots.
        named: Whether its name is written beside its last point.
        digits: Digits of the value that is shown under the mouse.
    """

    name: str
    color: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    dashed: bool = False
    dots_only: bool = False
    named: bool = False
    digits: int = 4


def xy_chart(curves: Sequence[Curve], *, x_name: str, height: int = 280, label: str = "chart") -> str:
    """Curves over numbers, with bands and dots; the name of the x axis stands at its end."""
    values = [value for curve in curves for _, value in curve.points]
    values += [bound for curve in curves for _, *pair in curve.band for bound in pair]
    across = [at for curve in curves for at, _ in curve.points]
    if not values:
        return _nothing("no values")
    low, high, step = _nice(min(values), max(values))
    left, end, tick = _nice(min(across), max(across))
    right = min(end, max(left + tick, *across))
    x, y = _scale(left, right, LEFT, WIDTH - RIGHT), _scale(low, high, height - BOTTOM, TOP)
    parts = [_grid(low, high, step, y)]
    for index in range(math.floor((right - left) / tick + 1e-9) + 1):
        at = left + index * tick
        anchor = "end" if x(at) > WIDTH - RIGHT - 20 else "middle"
        parts.append(f'<text x="{x(at):.1f}" y="{height - 6}" text-anchor="{anchor}">{at:,.6g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{height - BOTTOM - 6}" text-anchor="end">{escape(x_name)}</text>')
    for curve in curves:
        parts += [_curve_band(curve, x, y), _curve(curve, x, y)]
    parts += _names([curve for curve in curves if curve.named and curve.points], x, y, height - BOTTOM - 3)
    return _svg(height, parts, label)


def time_chart(
    lines: Sequence[Line],
    span: tuple[datetime, datetime],
    *,
    markers: Sequence[Marker] = (),
    height: int = 260,
    label: str = "chart over time",
) -> str:
    """Lines over time, with bands, ringed alarms and vertical markers."""
    values = [value for line in lines for _, value in line.points if math.isfinite(value)]
    values += [bound for line in lines for _, *pair in line.band for bound in pair if math.isfinite(bound)]
    if not values:
        return _nothing("no values in this period")
    low, high, step = _nice(min(values), max(values))
    x, y = _time_scale(span), _scale(low, high, height - BOTTOM, TOP)
    parts = [_grid(low, high, step, y), _months(span, x, height)]
    parts += [_marker(marker, x, height) for marker in markers if span[0] <= marker.at <= span[1]]
    parts += [_band(line, x, y) for line in lines]
    parts += [_line(line, x, y) for line in lines]
    return _svg(height, parts, label)


def strip_chart(spans: Sequence[Span], span: tuple[datetime, datetime], label: str) -> str:
    """Stretches of time in a row, under the time axis of the other charts."""
    x, height, parts = _time_scale(span), 22, []
    for one in spans:
        left, width = x(to_us(one.start)), max(1.0, x(to_us(one.end)) - x(to_us(one.start)) - 1)
        parts.append(
            f"<g><title>{escape(one.title)}</title>"
            f'<rect x="{left:.1f}" y="2" width="{width:.1f}" height="18" rx="2" fill="{escape(one.color)}"/></g>'
        )
        if one.label and width > 9 * len(one.label):
            middle = left + width / 2
            parts.append(
                f'<text x="{middle:.1f}" y="15" text-anchor="middle" fill="#fff" font-weight="600">'
                f"{escape(one.label)}</text>"
            )
    return _svg(height, parts, label)


def volume_chart(
    rows: Sequence[tuple[datetime, datetime, int, int]], span: tuple[datetime, datetime], *, height: int = 150
) -> str:
    """Rows per window as bars, their labelled part darker; one entry is ``(start, end, rows, labelled rows)``."""
    if not rows or not max(entry[2] for entry in rows):
        return _nothing("no predictions in this period")
    low, high, step = _nice(0.0, float(max(entry[2] for entry in rows)))
    x, y = _time_scale(span), _scale(low, high, height - BOTTOM, TOP)
    parts = [_grid(low, high, step, y), _months(span, x, height)]
    for start, end, total, labelled in rows:
        left, width = x(to_us(start)), max(1.0, x(to_us(end)) - x(to_us(start)) - 2)
        title = f"{start:%d %b %Y}: {total:,} predictions, {labelled:,} labelled"
        bars = "".join(
            f'<rect x="{left:.1f}" y="{y(count):.1f}" width="{width:.1f}" height="{y(0) - y(count):.1f}" '
            f'fill="{color}"/>'
            for count, color in ((total, "var(--bar)"), (labelled, "#4c76b8"))
        )
        parts.append(f"<g><title>{escape(title)}</title>{bars}</g>")
    return _svg(height, parts, "predictions per window")


def bar_pairs(labels: Sequence[str], before: Sequence[float], after: Sequence[float]) -> str:
    """Two distributions over the same bins, side by side: the reference in grey, the window in colour."""
    width, height, base = 300, 114, 96
    top = max([*before, *after, 1e-9])
    slot = width / max(1, len(labels))
    parts = []
    for index, (label, was, now) in enumerate(zip(labels, before, after, strict=True)):
        left, bar = index * slot, max(1.0, slot * 0.4)
        rects = "".join(
            f'<rect x="{left + offset:.1f}" y="{base - share / top * (base - 6):.1f}" width="{bar:.1f}" '
            f'height="{share / top * (base - 6):.1f}" fill="{color}"/>'
            for share, offset, color in ((was, slot * 0.08, "var(--bar)"), (now, slot * 0.5, "#d1603d"))
        )
        parts.append(f"<g><title>{escape(label)}: {was:.1%} in the reference, {now:.1%} now</title>{rects}</g>")
    parts.append(f'<line x1="0" x2="{width}" y1="{base}" y2="{base}" stroke="{FAINT}"/>')
    if labels:
        parts.append(f'<text x="0" y="{height - 5}" fill="{TEXT}" font-size="10">{escape(_short(labels[0]))}</text>')
        parts.append(
            f'<text x="{width}" y="{height - 5}" fill="{TEXT}" font-size="10" text-anchor="end">'
            f"{escape(_short(labels[-1]))}</text>"
        )
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="distribution">{"".join(parts)}</svg>'


def _curve_band(curve: Curve, x: Scale, y: Scale) -> str:
    there = [f"{x(at):.1f},{y(high):.1f}" for at, _, high in curve.band]
    back = [f"{x(at):.1f},{y(low):.1f}" for at, low, _ in reversed(curve.band)]
    return f'<polygon points="{" ".join(there + back)}" fill="{curve.color}" opacity="0.14"/>' if there else ""


def _curve(curve: Curve, x: Scale, y: Scale) -> str:
    parts = []
    if len(curve.points) > 1 and not curve.dots_only:
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in curve.points)
        dash = ' stroke-dasharray="5 4"' if curve.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{curve.color}" stroke-width="1.8"{dash}/>')
    for at, value in () if curve.dashed else curve.points:
        parts.append(
            f"<g><title>{escape(curve.name)}: {at:,.6g}, {value:.{curve.digits}f}</title>"
            f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="{5 if curve.dots_only else 3}" fill="{curve.color}"/></g>'
        )
    return "".join(parts)


def _names(curves: Sequence[Curve], x: Scale, y: Scale, lowest: int) -> list[str]:
    """The curves' names beside their last points; where two would overlap, one moves up or down, within the plot."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for curve in sorted(curves, key=lambda each: y(each.points[-1][1])):
        at, value = curve.points[-1]
        width = 7.2 * len(curve.name)
        before = x(at) + 9 + width > WIDTH
        left, level = x(at) - 9 - width if before else x(at) + 9, y(value) + 4
        near = [height for start, right, height in taken if left < right and start < left + width]
        moved = (level + side * distance for distance in range(lowest) for side in (1, -1))
        free = (top for top in moved if 10 <= top <= lowest and all(abs(top - height) >= 13 for height in near))
        top = next(free, level)
        taken.append((left, left + width, top))
        place = f'x="{left + width if before else left:.1f}" y="{top:.1f}" text-anchor="{"end" if before else "start"}"'
        parts.append(f'<text {place} fill="{curve.color}" font-weight="600">{escape(curve.name)}</text>')
    return parts


def _short(label: str) -> str:
    return label if len(label) <= 20 else label[:19] + "…"


def _svg(height: int, parts: Sequence[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _nothing(text: str) -> str:
    return f'<p class="nothing">{escape(text)}</p>'


def _scale(low: float, high: float, start: float, stop: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (stop - start)


def _time_scale(span: tuple[datetime, datetime]) -> Scale:
    return _scale(to_us(span[0]), max(to_us(span[1]), to_us(span[0]) + 1), LEFT, WIDTH - RIGHT)


def _nice(low: float, high: float) -> tuple[float, float, float]:
    """Round axis limits, and the distance of the grid's lines, for about five of them."""
    if high - low < 1e-12:
        reach = max(abs(high) * 0.1, 0.05)
        low, high = low - reach, high + reach
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def _grid(low: float, high: float, step: float, y: Scale) -> str:
    parts = []
    digits = max(0, (1 if f"{step:e}".startswith("2.5") else 0) - math.floor(math.log10(step) + 1e-9))
    for index in range(round((high - low) / step) + 1):
        value = low + index * step
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{GRID}"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.{digits}f}</text>'
        )
    return "".join(parts)


def _months(span: tuple[datetime, datetime], x: Scale, height: int) -> str:
    """Ticks at the first of each month; at days where the period is short."""
    ticks: list[tuple[datetime, str]] = []
    if span[1] - span[0] > timedelta(days=75):
        months = (span[1] - span[0]) / timedelta(days=30)
        every = max(1, math.ceil(months / 12))
        year, month = span[0].year, span[0].month
        while (at := datetime(year, month, 1, tzinfo=span[0].tzinfo)) < span[1]:
            if at >= span[0] and (month - 1) % every == 0:
                ticks.append((at, f"{at:%b %Y}" if month == 1 or not ticks else f"{at:%b}"))
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    else:
        step = max(timedelta(hours=1), (span[1] - span[0]) / 8)
        ticks = [(span[0] + index * step, f"{span[0] + index * step:%d %b}") for index in range(8)]
    return "".join(
        f'<line x1="{x(to_us(at)):.1f}" x2="{x(to_us(at)):.1f}" y1="{height - BOTTOM}" y2="{height - BOTTOM + 4}" '
        f'stroke="{FAINT}"/><text x="{x(to_us(at)):.1f}" y="{height - 6}" text-anchor="middle">{escape(text)}</text>'
        for at, text in ticks
        if x(to_us(at)) < WIDTH - RIGHT - 10
    )


def _marker(marker: Marker, x: Scale, height: int) -> str:
    at = x(to_us(marker.at))
    return (
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 8}" y2="{height - BOTTOM}" stroke="{marker.color}" '
        f'stroke-dasharray="2 3"/><text x="{at:.1f}" y="{TOP - 12}" text-anchor="middle" fill="{marker.color}" '
        f'font-weight="600">{escape(marker.label)}</text>'
    )


def _runs(points: Sequence[tuple[datetime, float]]) -> list[list[tuple[datetime, float]]]:
    """The stretches between values that are not finite."""
    runs: list[list[tuple[datetime, float]]] = [[]]
    for at, value in points:
        if math.isfinite(value):
            runs[-1].append((at, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _band(line: Line, x: Scale, y: Scale) -> str:
    if not line.band:
        return ""
    there = [f"{x(to_us(at)):.1f},{y(high):.1f}" for at, _, high in line.band]
    back = [f"{x(to_us(at)):.1f},{y(low):.1f}" for at, low, _ in reversed(line.band)]
    return f'<polygon points="{" ".join(there + back)}" fill="{line.color}" opacity="0.14"/>'


def _line(line: Line, x: Scale, y: Scale) -> str:
    parts = []
    for run in _runs(line.points):
        if not line.dots_only and len(run) > 1:
            path = " ".join(f"{x(to_us(at)):.1f},{y(value):.1f}" for at, value in run)
            dash = ' stroke-dasharray="5 4"' if line.dashed else ""
            parts.append(f'<polyline points="{path}" fill="none" stroke="{line.color}" stroke-width="1.8"{dash}/>')
        if line.dashed:
            continue
        for at, value in run:
            ring = '<circle cx="{0}" cy="{1}" r="6.5" fill="none" stroke="#c0392b" stroke-width="1.8"/>'
            place = f"{x(to_us(at)):.1f}", f"{y(value):.1f}"
            fill = "var(--card)" if line.dots_only else line.color
            parts.append(
                f"<g><title>{escape(line.name)}, {at:%d %b %Y}: {value:.4f}</title>"
                f'<circle cx="{place[0]}" cy="{place[1]}" r="3" fill="{fill}" stroke="{line.color}"/>'
                f"{ring.format(*place) if at in line.alarms else ''}</g>"
            )
    return "".join(parts)
