"""The page of a replay: one file, no script, and the look of the other pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from raymlops.monitoring.report.charts import Line, Marker, Span, strip_chart, time_chart
from raymlops.monitoring.report.html import allowed_by, page_file, page_style, page_template
from raymlops.monitoring.report.page import version_color
from raymlops.replay.outcome.story import Story, WindowFigures

__all__ = ["render"]

_HERE = "raymlops.replay.outcome"
_BLUE, _ORANGE, _GREY = "#2f6db3", "#b84f14", "#7b8594"
_MARKED = {"promote": "new", "roll_back": "out", "fall_back": "back"}
_EVEN = 0.001
"""Shares of a loss that are smaller count as no difference."""


def render(story: Story) -> str:
    """The page of a replay whose figures are computed."""
    style = page_style() + page_file("page.css", "raymlops.laboratory.report")
    plan, figures = story.plan, story.figures
    span = (plan.trained_until, plan.end)
    decisions = story.decisions()
    return page_template(_HERE).render(
        story=story,
        plan=plan,
        figures=figures,
        style=style,
        style_hash=allowed_by(style),
        loss=story.loss_of.name,
        rows=sum(one.rows for one in figures),
        answers=_answers(story),
        tiles=_tiles(story),
        calendar_text=_calendar_text(story),
        loss_chart=time_chart(_loss_lines(story), span, markers=_markers(story), label="loss of each window"),
        saved_chart=time_chart(_saved_lines(story), span, markers=_markers(story), height=200, label="loss saved"),
        strip=strip_chart(_reigns(story), span, "versions that answered"),
        decisions=decisions,
        by_hand=any(entry.key.startswith("user/") for entry in decisions),
        when=_when(plan.window),
    )


def _answers(story: Story) -> list[tuple[str, str, str, str]]:
    """Question, answer, reason, tone."""
    loop, never, calendar = (story.total(which) for which in ("loop", "never", "calendar"))
    retrainings, loss = story.count("retrain"), story.loss_of.name
    failed, asked = story.tally.failed, story.tally.requests
    against_calendar = (
        f"{loss} {loop:.4g} beside {calendar:.4g} of a model that is retrained {_calendar_text(story)}"
        if story.calendar_at
        else "the loop did not retrain, and neither did the calendar"
    )
    return [
        (
            "Better than never retraining?",
            _better(loop, never),
            f"{loss} {loop:.4g} beside {never:.4g} of the first version, with {_counted(retrainings, 'retraining')}",
            _tone(loop, never),
        ),
        (
            "Better than a calendar?",
            _better(loop, calendar),
            against_calendar,
            _tone(loop, calendar),
        ),
        (
            "Did callers notice?",
            f"{failed:,} failed" if failed else "no",
            f"{asked:,} requests, {failed:,} of which failed",
            "yes" if failed else "no",
        ),
    ]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _share(loop: float, other: float) -> float:
    return 1 - loop / other if other else 0.0


def _better(loop: float, other: float) -> str:
    share = _share(loop, other)
    return "no difference" if abs(share) < _EVEN else f"{'yes' if share > 0 else 'no'}, {share:+.1%}"


def _tone(loop: float, other: float) -> str:
    """Of a page's answers: ``no`` is the calm one."""
    share = _share(loop, other)
    return "no" if share >= _EVEN else "yes" if share <= -_EVEN else "suspected"


def _tiles(story: Story) -> list[tuple[str, str]]:
    loss = story.loss_of.name
    return [
        (f"{story.tally.requests:,}", "requests over HTTP"),
        (f"{story.total('loop'):.4g}", f"{loss}, the loop"),
        (f"{story.total('never'):.4g}", f"{loss}, never retrained"),
        (f"{story.total('calendar'):.4g}", f"{loss}, retrained by calendar"),
        (str(story.count("retrain")), "retrained"),
        (str(story.count("promote")), "promoted"),
        (str(story.count("refuse") + story.count("roll_back")), "refused or rolled back"),
    ]


def _calendar_text(story: Story) -> str:
    """How often the calendar retrains."""
    count = len(story.calendar_at)
    times = {0: "never, as the loop was not retrained either", 1: "once, half way", 2: "twice, at even intervals"}
    return times.get(count, f"{count} times, at even intervals")


def _loss_lines(story: Story) -> list[Line]:
    names = [("never", "never retrained", _GREY), ("calendar", "calendar", _ORANGE), ("loop", "the loop", _BLUE)]
    return [
        Line(name, color, [(one.start, getattr(one, which)) for one in story.figures])
        for which, name, color in names
        if which != "calendar" or story.calendar_at
    ]


def _saved_lines(story: Story) -> list[Line]:
    whole = story.total("never") * sum(one.rows for one in story.figures) or 1.0
    lines = [Line("the loop", _BLUE, _saved(story.figures, "loop", whole, story.plan.window))]
    if story.calendar_at:
        lines.insert(0, Line("calendar", _ORANGE, _saved(story.figures, "calendar", whole, story.plan.window)))
    return lines


def _saved(
    figures: Sequence[WindowFigures], which: str, whole: float, window: timedelta
) -> list[tuple[datetime, float]]:
    """Loss saved by the end of each window, in percent of all."""
    saved, points = 0.0, []
    for one in figures:
        saved += (one.never - getattr(one, which)) * one.rows
        points.append((one.start + window, 100 * saved / whole))
    return points


def _markers(story: Story) -> list[Marker]:
    return [Marker(entry.at, _MARKED[entry.action]) for entry in story.decisions() if entry.action in _MARKED]


def _reigns(story: Story) -> list[Span]:
    """Windows, each in the colour of the version that answered most of it; neighbours of one version are joined."""
    spans: list[Span] = []
    for one in story.figures:
        version = max(one.versions, key=lambda each: one.versions[each])
        end, color = one.start + story.plan.window, version_color(version)
        if spans and spans[-1].label == f"v{version}":
            before = spans.pop()
            spans.append(Span(before.start, end, color, before.title, before.label))
        else:
            spans.append(Span(one.start, end, color, f"version {version}", f"v{version}"))
    return spans


def _when(window: timedelta) -> Callable[[datetime], str]:
    """Writes instants as short as the windows allow."""
    form = "%d %b %Y" if window >= timedelta(days=1) else "%d %b %Y %H:%M"
    return lambda at: at.strftime(form)
