"""Stores that trace runs and what the ledger records, as OpenTelemetry's ``cicd.pipeline.run`` spans.

A loop spans days, so no trace holds it. Each run and each entry is a trace of its own, whose ids follow from its name;
spans link to one another by these names: a run to the decision that ordered it, a decision to the run it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from raymlops.clock import to_us
from raymlops.errors import RaymlopsError
from raymlops.metadata.stores import Metadata
from raymlops.records.ledger import LedgerEntry
from raymlops.records.record import Instant
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus
from raymlops.tracing import NamedIds, context_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

__all__ = ["TracedLedger", "TracedRuns", "decision_name", "run_name"]

_log = logging.getLogger(__name__)

_RESULTS = {RunStatus.SUCCEEDED: "success", RunStatus.FAILED: "failure", RunStatus.CANCELED: "cancellation"}
_STEP_RESULTS = {StepStatus.SUCCEEDED: "success", StepStatus.CACHED: "skip", StepStatus.FAILED: "failure"}
_ORDERS_A_RUN = "retrain"
_CHANGES_WHAT_IS_SERVED = frozenset(
    {"deploy", "undeploy", "start_trial", "trial", "ramp", "promote", "rollback", "roll_back", "fall_back", "take_back"}
)


def run_name(run_id: str) -> str:
    """The name that the ids of a run's span follow from."""
    return f"run/{run_id}"


def decision_name(action: str, key: str, run_id: str | None) -> str:
    """The name that the ids of an entry's span follow from; an order of a run is found by the run."""
    return f"{_ORDERS_A_RUN}/{run_id}" if action == _ORDERS_A_RUN and run_id is not None else f"entry/{key}"


class _Spans:
    def __init__(self, tracer: Tracer, ids: NamedIds) -> None:
        self._tracer = tracer
        self._ids = ids

    def begin(
        self,
        name: str,
        title: str,
        at: Instant,
        attributes: Mapping[str, str],
        *,
        links: Iterable[str] = (),
        parent: Span | None = None,
    ) -> Span:
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, set_span_in_context

        self._ids.name_next(name)
        return self._tracer.start_span(
            title,
            context=Context() if parent is None else set_span_in_context(parent, Context()),
            attributes=dict(attributes),
            links=[Link(context_of(link)) for link in links],
            start_time=to_us(at) * 1000,
        )


@contextmanager
def _untroubled(what: str) -> Iterator[None]:
    """Trace something that is recorded already: a fault of the trace is logged, and fails no run and no decision."""
    try:
        yield
    except Exception:
        _log.exception("%s could not be traced", what)


class TracedRuns:
    """A ``RunStore`` that makes a span of each run when it ends, with one for each attempt of a step.

    Args:
        runs: The store that is traced.
        tracer: Makes the spans.
        ids: Names them.
    """

    def __init__(self, runs: Any, tracer: Tracer, ids: NamedIds) -> None:
        self._runs = runs
        self._spans = _Spans(tracer, ids)
        self.create_run = runs.create_run
        self.get_run = runs.get_run
        self.list_runs = runs.list_runs
        self.count_runs = runs.count_runs
        self.record_step = runs.record_step

    def update_run(self, run_id: str, **changes: object) -> Run:
        ended_before = "status" in changes and self._runs.get_run(run_id).status.final
        updated: Run = self._runs.update_run(run_id, **changes)
        if "status" in changes and updated.status.final and not ended_before:
            with _untroubled(f"run {run_id}"):
                self._trace(updated)
        return updated

    def _trace(self, run: Run) -> None:
        ended_at = run.ended_at or run.created_at
        attributes = {
            "cicd.pipeline.name": run.pipeline,
            "cicd.pipeline.run.id": run.id,
            "cicd.pipeline.action.name": "RUN",
            "cicd.pipeline.run.state": "executing",
            "cicd.pipeline.result": _RESULTS[run.status],
            "raymlops.reason": run.reason,
        }
        if run.bundle is not None:
            attributes["raymlops.bundle"] = run.bundle
        if run.error is not None:
            attributes["error.type"] = run.error.partition(":")[0]
        links = [decision_name(_ORDERS_A_RUN, "", run.id)]
        span = self._spans.begin(run_name(run.id), f"RUN {run.pipeline}", run.created_at, attributes, links=links)
        for step in run.steps:
            self._trace_step(run, step, span, ended_at)
        _end(span, ended_at, run.error)

    def _trace_step(self, run: Run, step: StepRun, parent: Span, ended_at: Instant) -> None:
        name = f"{run_name(run.id)}/{step.step}/{step.attempt}"
        attributes = {
            "cicd.pipeline.task.name": step.step,
            "cicd.pipeline.task.run.id": f"{step.step}/{step.attempt}",
            # a step that still runs when its run ends was ended with it
            "cicd.pipeline.task.run.result": _STEP_RESULTS.get(step.status, "cancellation"),
        }
        _end(
            self._spans.begin(name, step.step, step.started_at, attributes, parent=parent),
            step.ended_at or ended_at,
            step.error,
        )


class TracedLedger:
    """A ``Ledger`` that makes a span of each entry, linked to the run that the entry is about.

    Args:
        metadata: The stores; its ``ledger`` is what is traced, its ``models`` tell which run made a version.
        tracer: Makes the spans.
        ids: Names them.
    """

    def __init__(self, metadata: Metadata, tracer: Tracer, ids: NamedIds) -> None:
        self._ledger = metadata.ledger
        self._models = metadata.models
        self._spans = _Spans(tracer, ids)
        self._newest = 0
        self.entries = metadata.ledger.entries
        self.newest_entries = metadata.ledger.newest_entries
        self.verify_ledger = metadata.ledger.verify_ledger

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, object] | None = None, *, key: str
    ) -> LedgerEntry:
        entry = self._ledger.append_entry(subject, action, reason, evidence, key=key)
        if entry.sequence > self._newest:  # a repeat returns an entry that was traced
            self._newest = entry.sequence
            with _untroubled(f"entry {entry.sequence} of the ledger"):
                self._trace(entry)
        return entry

    def _trace(self, entry: LedgerEntry) -> None:
        run_id = self._run_of(entry)
        attributes = {
            "raymlops.decision.id": entry.key,
            "raymlops.decision.action": entry.action,
            "raymlops.subject": entry.subject,
            "raymlops.reason": entry.reason,
        }
        if entry.action in _CHANGES_WHAT_IS_SERVED:
            attributes |= {
                "cicd.pipeline.name": entry.subject,
                "cicd.pipeline.run.id": entry.key,
                "cicd.pipeline.action.name": "SYNC",
                "cicd.pipeline.result": "success",
            }
        named = decision_name(entry.action, entry.key, _text(entry.evidence.get("run_id")))
        links = [] if run_id is None else [run_name(run_id)]
        if (given_up := _text(entry.evidence.get("decision"))) is not None:
            links.append(f"entry/{given_up}")
        title = f"{entry.action} {entry.subject}"
        _end(self._spans.begin(named, title, entry.at, attributes, links=links), entry.at, None)

    def _run_of(self, entry: LedgerEntry) -> str | None:
        """The run that an entry names, or that made the version it is about."""
        if (run_id := _text(entry.evidence.get("run_id"))) is not None:
            return run_id
        version = entry.evidence.get("version", entry.evidence.get("champion"))
        if not isinstance(version, int):
            return None
        try:
            return self._models.get_version(entry.subject, version).run_id
        except RaymlopsError as error:
            _log.debug("entry %d is linked to no run: %s", entry.sequence, error)
            return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _end(span: Span, at: Instant, error: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(to_us(at) * 1000)
