"""Runs of pipelines: all of them, one with its steps, logs and artifacts, and two beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sight import Sight, own_pipelines, seen_runs
from raymlops.console.sources import Sources
from raymlops.errors import DataError, RunNotFound
from raymlops.records.learning.artifacts import Artifact, ArtifactEvent
from raymlops.records.runs import Run, RunStatus, StepRun

__all__ = ["compare_page", "run_page", "runs_page", "step_edges"]

_ROWS = 50
_LOG_CHARACTERS = 100_000
"""Characters of the end of a log that a page shows."""
_MISSING = "-"


def runs_page(sources: Sources, request: PageRequest) -> Page:
    """Runs, newest first, by pipeline and status."""
    pipeline, status, before = (request.text(name) or None for name in ("pipeline", "status", "before"))
    known = [str(each) for each in RunStatus]
    if status is not None and status not in known:
        raise DataError(f"'status' must be one of {known}, got {status!r}")
    browser, sight = sources.metadata.browser, request.sight
    trained = request.ask("the metadata actor", browser.models_of_pipelines)
    chosen: str | list[str] | None = pipeline
    if not sight.everything:
        own = own_pipelines(sight, trained.need())
        chosen = sorted(own) if pipeline is None else [pipeline] if pipeline in own else []
    found = request.ask("the metadata actor", browser.run_page, chosen, status, before, _ROWS).need()
    shown = request.ask("the metadata actor", seen_runs, sources, sight, found.runs).need()
    older = None if found.before is None else url("runs", pipeline=pipeline, status=status, before=found.before)
    values = {
        "runs": shown,
        "older": older,
        "pipeline": pipeline or "",
        "status": status or "",
        "statuses": known,
        "pipelines": sorted(own_pipelines(sight, trained.get() or {})),
    }
    return Page("runs/index", "Runs", values)


def run_page(sources: Sources, request: PageRequest) -> Page:
    """One run: its steps as a graph and a table, with their artifacts and logs."""
    (run_id,) = request.parts
    ask, metadata = request.ask, sources.metadata
    step = request.text("step") or None
    asked = ask("the metadata actor", _seen_run, sources, request.sight, run_id)
    events_asked = ask("the metadata actor", metadata.artifacts.run_events, run_id)
    artifacts_asked = ask("the metadata actor", metadata.artifacts.run_artifacts, [run_id])
    logs_asked = ask("the home", sources.runs.logs, run_id, step)
    run = asked.need()
    events, artifacts = events_asked.get() or [], artifacts_asked.get() or []
    log = logs_asked.find() or ""
    values = {
        "run": run,
        "step": step,
        "steps": run.steps,
        "graph": _graph(run, events),
        "artifacts": _rows_of(artifacts, events),
        "log": log[-_LOG_CHARACTERS:],
        "cut": _LOG_CHARACTERS if len(log) > _LOG_CHARACTERS else None,
    }
    return Page("runs/run", run_id, values, live=True)


def compare_page(sources: Sources, request: PageRequest) -> Page:
    """Two runs beside each other: what differs is marked."""
    chosen = request.many("run")
    if len(chosen) != 2:
        raise DataError(f"two runs are compared: tick two of the list, got {len(chosen)}")
    asked = [request.ask("the metadata actor", _seen_run, sources, request.sight, each) for each in chosen]
    first, second = (each.need() for each in asked)
    one, other = _flat(first), _flat(second)
    rows = [
        (name, one.get(name, _MISSING), other.get(name, _MISSING), one.get(name) == other.get(name))
        for name in [*one, *(each for each in other if each not in one)]
    ]
    return Page("runs/compare", "Two runs", {"first": first, "second": second, "rows": rows})


def _seen_run(sources: Sources, sight: Sight, run_id: str) -> Run:
    """A run; one that is not to be seen is not told from one that does not exist."""
    run = sources.metadata.runs.get_run(run_id)
    if not seen_runs(sources, sight, [run]):
        raise RunNotFound(f"run {run_id!r} does not exist", run_id=run_id)
    return run


def step_edges(steps: Sequence[StepRun], events: Iterable[ArtifactEvent]) -> list[tuple[str, str]]:
    """Edges from the writer of an artifact to its reader; the order of the steps where inputs were not recorded."""
    wrote: dict[str, str] = {}
    read: list[tuple[str, str]] = []
    for event in events:
        if event.direction == "output":
            wrote[event.digest] = event.step
        else:
            read.append((event.digest, event.step))
    names = list(dict.fromkeys(step.step for step in steps))
    found = {(wrote[digest], step) for digest, step in read if digest in wrote and wrote[digest] != step}
    known = sorted((one, other) for one, other in found if one in names and other in names)
    return known or list(pairwise(names))


def _graph(run: Run, events: Iterable[ArtifactEvent]) -> Mapping[str, Any]:
    last = {step.step: step for step in run.steps}
    nodes = [
        {
            "id": name,
            "kind": str(step.status),
            "name": name,
            "href": url("runs", run.id, step=name) + "#log",
            "mark": "bad" if str(step.status) == "failed" else "",
        }
        for name, step in last.items()
    ]
    return {"label": f"steps of run {run.id}", "nodes": nodes, "edges": step_edges(run.steps, events)}


def _rows_of(artifacts: Iterable[Artifact], events: Iterable[ArtifactEvent]) -> list[tuple[Artifact, str, str]]:
    """Each artifact with the steps that wrote and read it."""
    wrote: dict[str, list[str]] = {}
    read: dict[str, list[str]] = {}
    for event in events:
        (wrote if event.direction == "output" else read).setdefault(event.digest, []).append(event.step)
    return [
        (one, ", ".join(dict.fromkeys(wrote.get(one.digest, []))), ", ".join(dict.fromkeys(read.get(one.digest, []))))
        for one in artifacts
    ]


def _flat(run: Run) -> dict[str, object]:
    """Values by which two runs are compared: name -> value."""
    took = None if run.ended_at is None else run.ended_at - run.created_at
    known: dict[str, object] = {
        "pipeline": run.pipeline,
        "status": str(run.status),
        "reason": run.reason,
        "bundle": run.bundle or _MISSING,
        "took": _MISSING if took is None else f"{took.total_seconds():,.1f} s",
        "error": run.error or _MISSING,
    }
    return {**known, **_leaves("parameter", run.parameters), **_leaves("result", run.result)}


def _leaves(name: str, value: object) -> dict[str, object]:
    if isinstance(value, Mapping):
        return {path: leaf for key, inner in value.items() for path, leaf in _leaves(f"{name}.{key}", inner).items()}
    return {name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value}
