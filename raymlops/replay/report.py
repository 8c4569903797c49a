"""The demo's page: the monitor's report, with the model never retrained beside the loop and every decision below."""

from __future__ import annotations

from pathlib import Path

from raymlops.records.record import canonical_json
from raymlops.replay.player import MODEL
from raymlops.replay.story import Story

__all__ = ["write_report"]

NEVER = "v1, never retrained"
LOOP = "the loop, as its callers saw it"


def write_report(story: Story, path: Path) -> Path:
    """Write one self-contained page, and its figures as JSON beside it; returns the page's path."""
    lines = {
        LOOP: tuple((week.start, week.loop) for week in story.figures),
        NEVER: tuple((week.start, week.frozen) for week in story.figures),
    }
    report = story.platform.monitor.report(MODEL).beside(story.decisions(), lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.html())
    path.with_suffix(".json").write_bytes(canonical_json({"summary": story.summary(), **report.to_dict()}))
    return path
