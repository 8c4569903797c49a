"""The plots of a model card, as inline SVG: sharp at any size, and nothing to load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "Curve", "bar_chart", "forest_plot", "histogram", "xy_chart"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 280, 56, 14, 14, 40
_ROW, _LABELS = 22, 170

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Curve:
    """Points joined by a line.

    Attributes:
        name: For hovering.
        points: ``(x, y)``, by x.
        color: CSS colour.
        sizes: Radius per point in pixels; all alike where left out.
        joined: Whether a line joins them.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: str = "var(--main)"
    sizes: Sequence[float] = ()
    joined: bool = True


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart or forest plot; ``low`` and ``high`` are its interval, where it has one."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    color: str = "var(--main)"
    note: str = ""


def xy_chart(curves: Sequence[Curve], x_label: str, y_label: str, *, diagonal: bool = False) -> str:
    """Curves over two axes; with ``diagonal``, where both are equal."""
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    if not xs:
        return _nothing()
    if diagonal:
        xs = ys = [*xs, *ys]
    (x_low, x_high, x_step), (y_low, y_high, y_step) = _nice(min(xs), max(xs)), _nice(min(ys), max(ys))
    x, y = _scale(x_low, x_high, LEFT, WIDTH - RIGHT), _scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    parts = [_grid((x_low, x_high, x_step), (y_low, y_high, y_step), x, y), _axes(x_label, y_label)]
    if diagonal:
        parts.append(
            f'<line x1="{x(x_low):.1f}" y1="{y(x_low):.1f}" x2="{x(x_high):.1f}" y2="{y(x_high):.1f}" '
            'stroke="var(--faint)" stroke-dasharray="5 4"/>'
        )
    for curve in curves:
        if curve.joined and len(curve.points) > 1:
            path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve.points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{curve.color}" stroke-width="1.8"/>')
        for place, (a, b) in enumerate(curve.points):
            radius = curve.sizes[place] if curve.sizes else 3.0
            title = f"{curve.name}: {x_label} {a:.4g}, {y_label} {b:.4g}"
            parts.append(
                f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="{radius:.1f}" fill="{curve.color}" fill-opacity="0.75">'
                f"<title>{escape(title)}</title></circle>"
            )
    return _svg(HEIGHT, parts, f"{y_label} by {x_label}")


def histogram(edges: Sequence[float], groups: Sequence[tuple[str, str, Sequence[int]]], x_label: str) -> str:
    """Shares of rows per bin, one outline per group ``(name, colour, counts)``."""
    shares = [(name, color, [count / max(1, sum(counts)) for count in counts]) for name, color, counts in groups]
    highest = max((share for _, _, values in shares for share in values), default=0.0)
    if highest <= 0:
        return _nothing()
    x_axis, y_axis = _nice(edges[0], edges[-1]), _nice(0.0, highest)
    x, y = _scale(x_axis[0], x_axis[1], LEFT, WIDTH - RIGHT), _scale(y_axis[0], y_axis[1], HEIGHT - BOTTOM, TOP)
    parts = [_grid(x_axis, y_axis, x, y), _axes(x_label, "share of rows")]
    for name, color, values in shares:
        for place, share in enumerate(values):
            left, right = x(edges[place]), x(edges[place + 1])
            title = f"{name}: {share:.1%} from {edges[place]:.3g} to {edges[place + 1]:.3g}"
            parts.append(
                f'<rect x="{left:.1f}" y="{y(share):.1f}" width="{max(1.0, right - left - 1):.1f}" '
                f'height="{y(0) - y(share):.1f}" fill="{color}" fill-opacity="0.5">'
                f"<title>{escape(title)}</title></rect>"
            )
    return _svg(HEIGHT, parts, f"rows by {x_label}")


def bar_chart(bars: Sequence[Bar], label: str) -> str:
    """Horizontal bars from 0, with their intervals."""
    return _rows(bars, label, filled=True, mark=None)


def forest_plot(bars: Sequence[Bar], label: str, mark: float | None) -> str:
    """Points with their intervals, and a line at ``mark``."""
    return _rows(bars, label, filled=False, mark=mark)


def _rows(bars: Sequence[Bar], label: str, *, filled: bool, mark: float | None) -> str:
    values = [v for bar in bars for v in (bar.value, bar.low, bar.high) if v is not None and math.isfinite(v)]
    if not values:
        return _nothing()
    values += [0.0] if filled else [] if mark is None else [mark]
    low, high, step = _nice(min(values), max(values))
    height = len(bars) * _ROW + TOP + BOTTOM
    x = _scale(low, high, _LABELS, WIDTH - RIGHT - 60)
    parts = [_ticks(low, high, step, x, height)]
    if mark is not None:
        parts.append(
            f'<line x1="{x(mark):.1f}" y1="{TOP}" x2="{x(mark):.1f}" y2="{height - BOTTOM}" stroke="var(--faint)" '
            'stroke-dasharray="5 4"/>'
        )
    for place, bar in enumerate(bars):
        middle = TOP + place * _ROW + _ROW / 2
        title = escape(f"{bar.label}: {bar.value:.4g} {bar.note}")
        shown = escape(bar.label if len(bar.label) < 28 else bar.label[:26] + "…")
        parts.append(f'<text x="{_LABELS - 8}" y="{middle + 4:.1f}" text-anchor="end">{shown}</text>')
        if filled:
            start, end = sorted((x(0.0), x(bar.value)))
            parts.append(
                f'<rect x="{start:.1f}" y="{middle - 7:.1f}" width="{max(1.0, end - start):.1f}" height="14" '
                f'fill="{bar.color}" fill-opacity="0.8"><title>{title}</title></rect>'
            )
        else:
            parts.append(f'<circle cx="{x(bar.value):.1f}" cy="{middle:.1f}" r="4" fill="{bar.color}"/>')
        if bar.low is not None and bar.high is not None:
            parts.append(
                f'<line x1="{x(bar.low):.1f}" y1="{middle:.1f}" x2="{x(bar.high):.1f}" y2="{middle:.1f}" '
                f'stroke="var(--text)" stroke-width="1.4"><title>{title}</title></line>'
            )
        parts.append(f'<text x="{WIDTH - RIGHT}" y="{middle + 4:.1f}" text-anchor="end">{bar.value:.4g}</text>')
    return _svg(height, parts, label)


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _nice(low: float, high: float, wanted: int = 5) -> tuple[float, float, float]:
    """Round bounds and a round step."""
    span = (high - low) or abs(high) or 1.0
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= raw * 0.999)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _steps(low: float, high: float, step: float) -> list[float]:
    return [low + step * place for place in range(round((high - low) / step) + 1)]


def _grid(x_axis: tuple[float, float, float], y_axis: tuple[float, float, float], x: Scale, y: Scale) -> str:
    parts = [_ticks(*x_axis, x, HEIGHT)]
    for value in _steps(*y_axis):
        parts.append(
            f'<line x1="{LEFT}" y1="{y(value):.1f}" x2="{WIDTH - RIGHT}" y2="{y(value):.1f}" stroke="var(--line)"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    return "".join(parts)


def _ticks(low: float, high: float, step: float, x: Scale, height: float) -> str:
    return "".join(
        f'<line x1="{x(value):.1f}" y1="{TOP}" x2="{x(value):.1f}" y2="{height - BOTTOM}" stroke="var(--line)"/>'
        f'<text x="{x(value):.1f}" y="{height - BOTTOM + 15}" text-anchor="middle">{value:.4g}</text>'
        for value in _steps(low, high, step)
    )


def _axes(x_label: str, y_label: str) -> str:
    middle = (HEIGHT - BOTTOM + TOP) / 2
    return (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{escape(y_label)}</text>'
    )


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _nothing() -> str:
    return '<p class="nothing">nothing to draw</p>'
