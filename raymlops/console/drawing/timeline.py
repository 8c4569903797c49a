"""All models on one time line: windows, triggers, runs, trials and swaps, a row for each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from markupsafe import Markup, escape

from raymlops.clock import to_us

__all__ = ["Bar", "Event", "Row", "draw_timeline"]

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 1200, 168, 16, 30, 62
_TRIANGLE = "M{0} {1}l6 11h-12z"
_FILLS = {
    "ok": "var(--good-mark)",
    "drifted": "var(--warn-mark)",
    "degraded": "var(--bad-mark)",
    "broken": "var(--bad-mark)",
    "run": "var(--run)",
    "failed": "var(--bad-mark)",
}
_HEIGHTS = {"ok": 7, "drifted": 14, "degraded": 22, "broken": 22}
"""A state is told by height as well as by colour."""


@dataclass(frozen=True)
class Bar:
    """A stretch of time: a window, a run or a trial.

    Attributes:
        start: Its first instant.
        end: Its last.
        kind: ``ok``, ``drifted``, ``degraded``, ``broken``: a window; ``run``, ``failed``: a run; ``trial``.
        title: What it is, for people.
        href: The page about it, if there is one.
    """

    start: datetime
    end: datetime
    kind: str
    title: str
    href: str = ""


@dataclass(frozen=True)
class Event:
    """Something at an instant: ``trigger``, or ``swap`` of champions, which carries a label."""

    at: datetime
    kind: str
    title: str
    label: str = ""
    href: str = ""


@dataclass(frozen=True)
class Row:
    """The lane of one model."""

    name: str
    href: str
    bars: Sequence[Bar] = field(default_factory=tuple)
    events: Sequence[Event] = field(default_factory=tuple)


class _Axis:
    """Instants to places."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start, self.end = start, max(end, start + timedelta(minutes=1))
        self._from, self._length = to_us(self.start), to_us(self.end) - to_us(self.start)

    def x(self, at: datetime) -> float:
        share = (to_us(at) - self._from) / self._length
        return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)

    def shows(self, start: datetime, end: datetime) -> bool:
        return end >= self.start and start <= self.end


def draw_timeline(rows: Sequence[Row], start: datetime, end: datetime) -> Markup:
    """The time line; its table of the same facts stands beside it on the page."""
    axis = _Axis(start, end)
    height = _TOP + _ROW * len(rows) + 8
    parts = [_ticks(axis, height), *(_row(row, _TOP + place * _ROW, axis) for place, row in enumerate(rows))]
    return Markup(
        '<svg class="line" viewBox="0 0 {} {}" role="group" aria-label="time line of {} models">{}</svg>'
    ).format(_WIDTH, height, len(rows), Markup("").join(parts))


def _ticks(axis: _Axis, height: int) -> Markup:
    span = axis.end - axis.start
    form = "%d %b" if span > timedelta(days=4) else "%d %b %H:%M"
    parts = []
    for step in range(8):
        at = axis.start + span * step / 8
        x = axis.x(at)
        parts.append(
            Markup(
                '<line x1="{0:.1f}" x2="{0:.1f}" y1="20" y2="{1}" stroke="var(--line)"/>'
                '<text x="{0:.1f}" y="14" font-size="11.5">{2}</text>'
            ).format(x, height, f"{at:{form}}")
        )
    return Markup("").join(parts)


def _row(row: Row, top: int, axis: _Axis) -> Markup:
    base = top + 34
    label = row.name if len(row.name) <= 22 else row.name[:21] + "…"
    parts = [
        Markup(
            '<line x1="0" x2="{}" y1="{}" y2="{}" stroke="var(--line)"/>'
            '<a href="{}"><text x="2" y="{}" fill="var(--link)" font-size="13" font-weight="600">'
            "{}<title>{}</title></text></a>"
        ).format(_WIDTH, top + _ROW - 4, top + _ROW - 4, row.href, base, label, row.name)
    ]
    parts += [_bar(bar, base, axis) for bar in row.bars if axis.shows(bar.start, bar.end)]
    parts += [_event(event, top, base, axis) for event in row.events if axis.shows(event.at, event.at)]
    return Markup("").join(parts)


def _bar(bar: Bar, base: int, axis: _Axis) -> Markup:
    left = axis.x(bar.start)
    width = max(axis.x(bar.end) - left - 1, 2.5)
    if bar.kind in _HEIGHTS:
        height = _HEIGHTS[bar.kind]
        shape = _rect(left, base - height, width, height, _FILLS[bar.kind])
        if bar.kind == "broken":
            shape += Markup(
                '<text x="{:.1f}" y="{}" text-anchor="middle" font-size="12" font-weight="700">!</text>'
            ).format(left + width / 2, base - height - 2)
    elif bar.kind == "trial":
        shape = Markup(
            '<rect x="{:.1f}" y="{}" width="{:.1f}" height="7" rx="3" fill="none"'
            ' stroke="var(--swap)" stroke-width="2"/>'
        ).format(left, base + 12, width)
    else:
        shape = _rect(left, base + 4, max(width, 4.0), 6, _FILLS[bar.kind])
    return _titled(shape, bar.title, bar.href)


def _event(event: Event, top: int, base: int, axis: _Axis) -> Markup:
    x = axis.x(event.at)
    if event.kind == "swap":
        late = x > _WIDTH - _RIGHT - 34
        shape = Markup(
            '<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}" stroke="var(--swap)" stroke-width="2"/>'
            '<text x="{3:.1f}" y="{4}" text-anchor="{6}" fill="var(--swap)" font-size="12" font-weight="700">{5}</text>'
        ).format(x, top + 2, base, x + (-4 if late else 4), top + 11, event.label, "end" if late else "start")
    else:
        shape = Markup('<path d="{}" fill="var(--run)"/>').format(_TRIANGLE.format(f"{x:.1f}", base + 2))
    return _titled(shape, event.title, event.href)


def _rect(left: float, top: float, width: float, height: float, fill: str) -> Markup:
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5" fill="{}"/>').format(
        left, top, width, height, fill
    )


def _titled(shape: Markup, title: str, href: str) -> Markup:
    if not href:
        return Markup("<g><title>{}</title>{}</g>").format(title, shape)
    return Markup('<a href="{}" aria-label="{}"><title>{}</title>{}</a>').format(href, title, escape(title), shape)
