"""The demo's page: one file, with its plots in it."""

from __future__ import annotations

from pathlib import Path

from flights.story import Story

__all__ = ["write_report"]


def write_report(story: Story, path: Path) -> Path:
    """Write the page; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(story.platform.monitor.report("flight-delay").html())
    return path
