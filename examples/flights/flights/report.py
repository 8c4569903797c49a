"""The demo's page: the monitor's report, with never retraining, a calendar and the oracle beside the loop."""

from __future__ import annotations

from pathlib import Path

from flights.replay import MODEL
from flights.story import Story
from raymlops.records.record import canonical_json

__all__ = ["write_report"]

NEVER = "v1, never retrained"
LOOP = "the loop, as its callers saw it"


def write_report(story: Story, path: Path) -> Path:
    """Write one self-contained page, and its figures as JSON beside it; returns the page's path."""
    never = tuple((week.start, week.frozen) for week in story.figures)
    lines = {LOOP: tuple((week.start, week.loop) for week in story.figures), NEVER: never}
    if story.comparison is not None:
        lines |= story.comparison.lines(never)
    report = story.platform.monitor.report(MODEL).beside(story.decisions(), lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.html())
    path.with_suffix(".json").write_bytes(
        canonical_json({"summary": story.summary(), "comparison": story.comparison, **report.to_dict()})
    )
    return path
