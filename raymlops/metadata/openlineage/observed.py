"""A run store that emits an OpenLineage event for each change."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from raymlops.clock import Clock
from raymlops.metadata.openlineage.emitter import Emitter
from raymlops.metadata.openlineage.events import run_event, step_event
from raymlops.metadata.stores import Metadata
from raymlops.records.delivering.environments import project_of_run
from raymlops.records.learning.artifacts import Artifact
from raymlops.records.models import ModelVersion
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus

__all__ = ["ObservedRuns"]


class ObservedRuns:
    """A ``RunStore`` that emits an OpenLineage event for each change, also when a run fails since its job was killed.

    Args:
        metadata: The stores; its ``runs`` are what is observed.
        emitter: Sends the events.
        clock: Gives the instants of changes.
        namespace: Of jobs and datasets.
    """

    def __init__(self, metadata: Metadata, emitter: Emitter, clock: Clock, namespace: str = "raymlops") -> None:
        self._metadata = metadata
        self._runs = metadata.runs
        self._emitter = emitter
        self._clock = clock
        self._namespace = namespace
        self.get_run = metadata.runs.get_run
        self.list_runs = metadata.runs.list_runs
        self.count_runs = metadata.runs.count_runs

    def create_run(self, run: Run) -> Run:
        created = self._runs.create_run(run)
        if created.status is not RunStatus.PENDING:
            self._tell_run(created.id, created.status)
        return created

    def update_run(self, run_id: str, **changes: object) -> Run:
        updated = self._runs.update_run(run_id, **changes)
        if "status" in changes and updated.status is not RunStatus.PENDING:
            self._tell_run(run_id, updated.status)
        return updated

    def record_step(self, run_id: str, step: StepRun) -> None:
        self._runs.record_step(run_id, step)
        at = step.ended_at or step.started_at
        if step.status is StepStatus.CACHED:
            started = step.model_copy(update={"status": StepStatus.RUNNING, "outputs": {}})
            self._emitter.emit(lambda: self._step_event(run_id, started, step.started_at))
        self._emitter.emit(lambda: self._step_event(run_id, step, at))

    def _tell_run(self, run_id: str, status: RunStatus) -> None:
        at = self._clock.now()
        self._emitter.emit(lambda: self._run_event(run_id, status, at))

    def _run_event(self, run_id: str, status: RunStatus, at: datetime) -> dict[str, Any] | None:
        run = self.get_run(run_id)
        if status is RunStatus.RUNNING:
            # it may have ended since
            run = run.model_copy(update={"status": status, "error": None, "result": {}})
        return run_event(run, run.ended_at or at if status.final else at, self._namespace, self._version(run))

    def _version(self, run: Run) -> ModelVersion | None:
        number = run.result.get("version")
        if run.bundle is None or not isinstance(number, int):
            return None
        project = project_of_run(self._metadata.deployments.get_bundle(run.bundle).project, run.pipeline)
        return self._metadata.models.get_version(project.model, number)

    def _step_event(self, run_id: str, step: StepRun, at: datetime) -> dict[str, Any]:
        run = self.get_run(run_id)
        if step.status is StepStatus.RUNNING:
            return step_event(run, step, at, self._namespace)
        read = [
            event.digest
            for event in self._metadata.artifacts.run_events(run_id, step.step)
            if event.direction == "input"
        ]
        inputs, outputs = self._artifacts(read), self._artifacts(step.outputs.values())
        return step_event(run, step, at, self._namespace, inputs, outputs)

    def _artifacts(self, digests: Iterable[str]) -> list[Artifact]:
        return [self._metadata.artifacts.get_artifact(digest) for digest in digests]
