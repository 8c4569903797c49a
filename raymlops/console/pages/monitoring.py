"""Monitoring: the monitor's report of a model, live."""

from __future__ import annotations

from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sources import Sources
from raymlops.monitoring.report.page import render_body, window_length_text

__all__ = ["models_page", "report_page"]

_MODELS = 50
_WINDOWS = 60
"""Of one page; older ones are a page further."""
_DEADLINE_S = 10.0
"""A report of many columns is large."""


def models_page(sources: Sources, request: PageRequest) -> Page:
    """The models that are served, each with its newest window."""
    served = request.ask("the metadata actor", sources.metadata.plans.served_plans)
    every, first = sorted(filter(request.sight.model, served.get() or {})), (request.number("page") or 0) * _MODELS
    names = every[first : first + _MODELS]
    marks = request.ask("the metadata actor", sources.metadata.browser.window_marks, names, 1) if names else None
    newest = {mark.model: mark for mark in (marks.get() if marks else None) or ()}
    more = url("monitoring", page=first // _MODELS + 1) if first + _MODELS < len(every) else None
    return Page("monitoring/index", "Monitoring", {"names": names, "newest": newest, "next": more}, live=True)


def report_page(sources: Sources, request: PageRequest) -> Page:
    """Drift, data quality and performance over a page of windows."""
    (name,) = request.parts
    request.ask.extend(_DEADLINE_S)
    until = request.instant("until")
    browser = sources.metadata.browser
    marks = request.ask("the metadata actor", browser.window_marks, [name], _WINDOWS, until).get() or []
    start = marks[-1].start if marks else None
    report = request.ask("the monitor", sources.monitor.report, name, start, until).get()
    body = "" if report is None else render_body(report)
    values = {
        "name": name,
        "report": report,
        "body": body,
        "length": "" if report is None else window_length_text(report.windows),
        "plots": 'id="columns-data"' in body,
        "marks": marks,
        "older": url("monitoring", name, until=start.isoformat()) if start and len(marks) == _WINDOWS else None,
        "until": until,
    }
    return Page("monitoring/report", f"{name}: monitoring", values)
