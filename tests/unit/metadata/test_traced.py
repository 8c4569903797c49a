from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.config.infrastructure.tracing import TracingConfig
from raymlops.metadata import MetadataService
from raymlops.metadata.traced import TracedLedger, TracedRuns, decision_name, run_name
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus
from raymlops.tracing import context_of, open_loop_tracer

sdk = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
T = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


class World:
    """Traced stores over a database, and the spans they made."""

    def __init__(self, path: Path) -> None:
        self.exporter = sdk.InMemorySpanExporter()
        self.clock = ManualClock(T)
        self.metadata = MetadataService(path / "metadata.db", clock=self.clock)
        tracer, ids = open_loop_tracer(TracingConfig(enabled=True), self.exporter)
        self._provider: Any = tracer
        self.metadata.runs = TracedRuns(self.metadata.runs, tracer, ids)
        self.metadata.ledger = TracedLedger(self.metadata, tracer, ids)

    def spans(self) -> dict[str, Any]:
        self._provider.span_processor.force_flush()
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.metadata.close()


def test_a_run_is_a_span_with_its_steps_linked_to_the_decision_that_ordered_it(world: World) -> None:
    runs, ledger = world.metadata.runs, world.metadata.ledger
    ledger.append_entry("churn", "retrain", "it pays", {"run_id": "r1", "occasion": "w"}, key="controller/churn/w/1")
    runs.create_run(Run(id="r1", pipeline="train", created_at=T))
    runs.update_run("r1", status=RunStatus.RUNNING)
    runs.record_step(
        "r1", StepRun(step="tune", status=StepStatus.FAILED, key="k", started_at=T, ended_at=T + HOUR, error="OOM")
    )
    runs.record_step("r1", StepRun(step="fit", status=StepStatus.RUNNING, key="k", started_at=T + HOUR))
    world.clock.advance_to(T + 2 * HOUR)
    assert set(world.spans()) == {"retrain churn"}
    for _ in range(2):  # a repeat is no second span
        runs.update_run("r1", status=RunStatus.FAILED, error="OOM: killed")
    spans = world.spans()
    assert len(world.exporter.get_finished_spans()) == 4
    run, ordered = spans["RUN train"], spans["retrain churn"]
    assert run.attributes["cicd.pipeline.run.id"] == "r1"
    assert (run.attributes["cicd.pipeline.result"], run.attributes["error.type"]) == ("failure", "OOM")
    assert run.end_time - run.start_time == 2 * 3600 * 10**9
    assert [link.context.span_id for link in run.links] == [ordered.context.span_id]
    assert [link.context.span_id for link in ordered.links] == [run.context.span_id]
    for name, result in (("tune", "failure"), ("fit", "cancellation")):
        assert spans[name].parent.span_id == run.context.span_id
        assert spans[name].attributes["cicd.pipeline.task.run.result"] == result
    assert spans["fit"].end_time == run.end_time


def test_what_changes_the_plan_is_a_deploy_and_a_decision_given_up_is_linked(world: World) -> None:
    ledger = world.metadata.ledger
    ledger.append_entry("churn", "start_trial", "try it", {"run_id": "r1", "version": 2}, key="a")
    ledger.append_entry("churn", "abandon", "no use", {"decision": "a"}, key="b")
    ledger.append_entry("churn", "abandon", "no use", {"decision": "a"}, key="b")
    spans = world.spans()
    trial, abandoned = spans["start_trial churn"], spans["abandon churn"]
    assert trial.attributes["cicd.pipeline.action.name"] == "SYNC"
    assert trial.links[0].context.trace_id == context_of(run_name("r1")).trace_id
    assert "cicd.pipeline.name" not in abandoned.attributes
    assert abandoned.links[0].context.span_id == trial.context.span_id
    assert trial.context.span_id == context_of(decision_name("start_trial", "a", "r1")).span_id
    assert len(world.exporter.get_finished_spans()) == 2


def test_a_trace_that_fails_fails_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def start_span(self, *args: object, **kwargs: object) -> None:
            raise RuntimeError("no span")

    world.metadata.ledger._spans._tracer = Broken()  # type: ignore[attr-defined]
    assert world.metadata.ledger.append_entry("churn", "deploy", "why", key="a").sequence == 1
    assert "entry 1 of the ledger could not be traced" in caplog.text
