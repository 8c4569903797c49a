"""The first page: what needs a person, and what the loop did with the models, on one time line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from raymlops.console.drawing.timeline import Bar, Event, Row, draw_timeline
from raymlops.console.needs import find_needs
from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sight import own_pipelines, seen_runs, seen_status
from raymlops.console.sources import Sources
from raymlops.errors import DataError
from raymlops.records.ledger import LedgerEntry
from raymlops.records.people.browsing import WindowMark
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, RunStatus

__all__ = ["loop_page"]

T = TypeVar("T")
_MODELS, _WINDOWS, _PLANS, _ENTRIES, _RUNS = 15, 60, 30, 30, 20
"""Models of one page, and what is shown of each at most."""
_LATELY = timedelta(days=7)
_FAILED = 20
_SPANS, _LONGEST_DAYS = (1, 7, 30, 90), 3660
_DECISIONS = {"retrain": "a retraining is started", "skip": "a trigger is passed over", "block": "a trigger is blocked"}


def loop_page(sources: Sources, request: PageRequest) -> Page:
    """Matters that need a person; then a page of models, those with such a matter first."""
    ask, browser, now = request.ask, sources.metadata.browser, sources.clock.now()
    plans_asked = ask("the metadata actor", sources.metadata.plans.served_plans)
    control_asked = ask("the controller", sources.control.status)
    endpoints_asked = ask("the reconciler", sources.endpoints.statuses)
    sight, pipelines_asked = request.sight, ask("the metadata actor", browser.models_of_pipelines)
    pipelines = own_pipelines(sight, pipelines_asked.get() or {})
    chosen = None if sight.everything else sorted(pipelines)
    failed_asked = ask("the metadata actor", browser.run_page, chosen, RunStatus.FAILED, None, _FAILED)
    plans = {name: plan for name, plan in (plans_asked.get() or {}).items() if sight.model(name)}
    statuses = [seen_status(sight, status) for status in control_asked.get() or () if sight.model(status.model)]
    asking = [name for name, plan in plans.items() if plan.trial is not None]
    asked = ask("the metadata actor", browser.newest_entries, asking, _ENTRIES)
    failed = failed_asked.get()
    recent = [] if failed is None else [run for run in failed.runs if now - run.created_at <= _LATELY]
    lately = ask("the metadata actor", seen_runs, sources, sight, recent).get() or []
    trained = [(pipelines[run.pipeline], run) for run in lately if run.pipeline in pipelines]
    endpoints = endpoints_asked.get() or ()
    needs = find_needs(plans, statuses, endpoints, asked.get() or (), trained)
    troubled = [need.model for need in needs]
    ordered = sorted(plans, key=lambda name: (name not in troubled, name))
    first = (request.number("page") or 0) * _MODELS
    names = ordered[first : first + _MODELS]
    span = request.number("days")
    if span is not None and span > _LONGEST_DAYS:
        raise DataError(f"'days' must be at most {_LONGEST_DAYS}, got {span}")
    rows, start = _rows(sources, request, names, pipelines, None if span is None else now - timedelta(days=span))
    more = first + _MODELS < len(ordered)
    values = {
        "needs": needs,
        "silent": not statuses and bool(plans),
        "names": names,
        "plans": plans,
        "statuses": {status.model: status for status in statuses},
        "drawing": draw_timeline(rows, start or now - timedelta(days=1), now) if rows else "",
        "total": len(ordered),
        "first": first + 1,
        "next": url(page=first // _MODELS + 1, days=span) if more else None,
        "days": span,
        "spans": _SPANS,
    }
    return Page("loop/index", "Loop", values, live=True)


def _rows(
    sources: Sources, request: PageRequest, names: Sequence[str], pipelines: Mapping[str, str], since: datetime | None
) -> tuple[list[Row], datetime | None]:
    """The lanes of some models on the time line, and the instant where it begins."""
    ask, browser = request.ask, sources.metadata.browser
    if not names:
        return [], None
    own = {pipeline: model for pipeline, model in pipelines.items() if model in names}
    marks_asked = ask("the metadata actor", browser.window_marks, names, _WINDOWS)
    plans_asked = ask("the metadata actor", browser.newest_plans, names, _PLANS)
    entries_asked = ask("the metadata actor", browser.newest_entries, names, _ENTRIES)
    runs_asked = ask("the metadata actor", browser.newest_runs, sorted(own), _RUNS) if own else None
    marks = marks_asked.get() or []
    by_model = _by((mark.model, mark) for mark in marks)
    plans = _by((plan.model, plan) for plan in plans_asked.get() or [])
    entries = _by((entry.subject, entry) for entry in entries_asked.get() or [])
    found = (runs_asked.get() if runs_asked else None) or []
    seen = ask("the metadata actor", seen_runs, sources, request.sight, found).get() or []
    runs = _by((own[run.pipeline], run) for run in seen)
    now = sources.clock.now()
    rows = [
        Row(
            name,
            url("models", name),
            [*map(_window, by_model[name]), *(_run(run, now) for run in runs[name]), *_trials(plans[name], now)],
            [*_swaps(plans[name]), *_triggers(entries[name])],
        )
        for name in names
    ]
    known = [*(mark.start for mark in marks), *(run.created_at for some in runs.values() for run in some)]
    return rows, since or min(known, default=None)


def _by(pairs: Iterable[tuple[str, T]]) -> defaultdict[str, list[T]]:
    found: defaultdict[str, list[T]] = defaultdict(list)
    for name, value in pairs:
        found[name].append(value)
    return found


def _window(mark: WindowMark) -> Bar:
    if mark.quality == "block":
        kind, what = "broken", "broken data"
    elif mark.degraded:
        kind, what = "degraded", "worse than its reference"
    elif mark.drifted:
        kind, what = "drifted", "drift"
    else:
        kind, what = "ok", "calm"
    title = f"{mark.model}, window of {mark.start:%d %b %Y %H:%M}: {what}, {mark.rows:,} rows, v{mark.champion}"
    return Bar(mark.start, mark.end, kind, title)


def _run(run: Run, now: datetime) -> Bar:
    kind = "failed" if run.status is RunStatus.FAILED else "run"
    title = f"run {run.id}: {run.status}, {run.created_at:%d %b %Y %H:%M}"
    return Bar(run.created_at, run.ended_at or now, kind, title, url("runs", run.id))


def _trials(plans: Sequence[ServingPlan], now: datetime) -> list[Bar]:
    """Each trial as one stretch, however many plans it had; ``plans`` are newest first."""
    found: list[Bar] = []
    began: ServingPlan | None = None
    for plan in [*reversed(plans), None]:
        same = plan is not None and plan.trial is not None and began is not None and began.trial is not None
        if same and plan is not None and began is not None and _version(plan) == _version(began):
            continue
        if began is not None and began.trial is not None:
            trial, until = began.trial, now if plan is None else plan.created_at
            title = f"trial of v{trial.version} as {trial.mode}, from {began.created_at:%d %b %Y %H:%M}"
            found.append(Bar(began.created_at, until, "trial", title))
        began = plan if plan is not None and plan.trial is not None else None
    return found


def _version(plan: ServingPlan) -> int | None:
    return None if plan.trial is None else plan.trial.version


def _swaps(plans: Sequence[ServingPlan]) -> list[Event]:
    ordered = list(reversed(plans))
    found = [
        Event(after.created_at, "swap", _swap_title(after), f"v{after.champion}")
        for before, after in pairwise(ordered)
        if after.champion != before.champion
    ]
    if ordered and ordered[0].number == 1:
        found.insert(0, Event(ordered[0].created_at, "swap", _swap_title(ordered[0]), f"v{ordered[0].champion}"))
    return found


def _swap_title(plan: ServingPlan) -> str:
    return f"v{plan.champion} becomes champion, {plan.created_at:%d %b %Y %H:%M}: {plan.reason}"


def _triggers(entries: Sequence[LedgerEntry]) -> list[Event]:
    return [
        Event(entry.at, "trigger", f"{_DECISIONS[entry.action]}: {entry.reason}", "", url("ledger", entry.sequence))
        for entry in entries
        if entry.action in _DECISIONS
    ]
