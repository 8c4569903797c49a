"""Runs of pipelines: all of them, page by page."""

from __future__ import annotations

from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sources import Sources
from raymlops.errors import DataError
from raymlops.records.runs import RunStatus

__all__ = ["runs_page"]

_ROWS = 50


def runs_page(sources: Sources, request: PageRequest) -> Page:
    """Runs, newest first, by pipeline and status."""
    pipeline, status, before = (request.text(name) or None for name in ("pipeline", "status", "before"))
    known = [str(each) for each in RunStatus]
    if status is not None and status not in known:
        raise DataError(f"'status' must be one of {known}, got {status!r}")
    browser = sources.metadata.browser
    asked = request.ask("the metadata actor", browser.run_page, pipeline, status, before, _ROWS)
    trained = request.ask("the metadata actor", browser.models_of_pipelines)
    found = asked.need()
    older = None if found.before is None else url("runs", pipeline=pipeline, status=status, before=found.before)
    values = {
        "runs": found.runs,
        "older": older,
        "pipeline": pipeline or "",
        "status": status or "",
        "statuses": known,
        "pipelines": sorted(trained.get() or {}),
    }
    return Page("runs", "Runs", values)
