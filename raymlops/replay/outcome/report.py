"""Files of a replay: its page, its figures as JSON, and the monitor's page with the comparison in it."""

from __future__ import annotations

from pathlib import Path

import orjson

from raymlops.errors import StorageError
from raymlops.records.record import canonical_json
from raymlops.replay.outcome.page import render
from raymlops.replay.outcome.story import Story

__all__ = ["write_files", "write_report"]

NEVER = "v1, never retrained"
LOOP = "the loop, as its callers saw it"


def write_report(story: Story, path: Path) -> Path:
    """Write the monitor's page with the model never retrained beside the loop and every decision below.

    Its figures lie as JSON beside it. Returns the page's path.
    """
    never = tuple((window.start, window.never) for window in story.figures)
    lines = {LOOP: tuple((window.start, window.loop) for window in story.figures), NEVER: never}
    if story.comparison is not None:
        lines |= story.comparison.lines(never)
    report = story.platform.monitor.report(story.model).beside(story.decisions(), lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.html())
    figures = {"summary": story.summary(), "comparison": story.comparison, **report.to_dict()}
    path.with_suffix(".json").write_bytes(canonical_json(figures))
    return path


def write_files(story: Story, *, html: Path | None, json: Path | None) -> None:
    """Write the replay's page and its figures.

    Raises:
        StorageError: A file cannot be written.
    """
    if html is not None:
        _write(html, render(story).encode())
    if json is not None:
        _write(json, orjson.dumps(story.to_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", path=str(path)) from error
