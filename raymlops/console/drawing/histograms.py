"""Small drawings of how the values of a feature are distributed."""

from __future__ import annotations

from itertools import pairwise

from markupsafe import Markup

from raymlops.records.people.discovery import FieldStatistics

__all__ = ["draw_mini"]

_WIDTH, _HEIGHT, _MOST = 132, 30, 12


def draw_mini(field: FieldStatistics) -> Markup:
    """Bars: of a number, density between its quantiles; of a text or a truth value, its most frequent values."""
    bars = _density(field) or _frequent(field)
    if not bars:
        return Markup("")
    top = max(height for _, _, height in bars)
    shapes = [
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="var(--run)"/>').format(
            left * _WIDTH, _HEIGHT - height / top * _HEIGHT, max(width * _WIDTH - 0.8, 0.8), height / top * _HEIGHT
        )
        for left, width, height in bars
    ]
    return Markup(
        '<svg class="mini" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, f"distribution of {field.name}", Markup("").join(shapes))


def _density(field: FieldStatistics) -> list[tuple[float, float, float]]:
    """``(left, width, height)`` as shares, out of the quantiles; what lies in the tails beyond 1% is left out."""
    known = [
        (float(share), float(value))
        for share, value in field.quantiles.items()
        if isinstance(value, int | float) and 0.005 <= float(share) <= 0.995
    ]
    known.sort()
    if len(known) < 2 or known[0][1] >= known[-1][1]:
        return []
    low, high = known[0][1], known[-1][1]
    bars = []
    for (share, value), (next_share, next_value) in pairwise(known):
        width = (next_value - value) / (high - low)
        if width > 0:
            bars.append(((value - low) / (high - low), width, (next_share - share) / max(width, 0.01)))
    return bars


def _frequent(field: FieldStatistics) -> list[tuple[float, float, float]]:
    shown = field.frequent[:_MOST]
    return [(place / len(shown), 1 / len(shown), float(one.rows)) for place, one in enumerate(shown) if one.rows > 0]
