from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.errors import InvalidTransition, RunNotFound
from raymlops.pipelines import PipelineRunner
from raymlops.records.runs import Run, StepRun


class InMemoryRunLog:
    """A run log as the metadata store keeps it, without the disk."""

    def __init__(self) -> None:
        self.run_of: dict[str, Run] = {}
        self.artifact_of: dict[str, tuple[str, str]] = {}
        self.events: set[tuple[str, str, str, str]] = set()

    @property
    def runs(self) -> InMemoryRunLog:
        return self

    artifacts = runs

    def create_run(self, run: Run) -> Run:
        return self.run_of.setdefault(run.id, run)

    def get_run(self, run_id: str) -> Run:
        if run_id not in self.run_of:
            raise RunNotFound(f"run {run_id!r} does not exist")
        return self.run_of[run_id]

    def update_run(self, run_id: str, **changes: Any) -> Run:
        run = self.get_run(run_id)
        if run.status.final and changes.get("status", run.status) != run.status:
            raise InvalidTransition(f"run {run_id!r} is final")
        self.run_of[run_id] = Run.model_validate({**run.model_dump(), **changes})
        return self.run_of[run_id]

    def record_step(self, run_id: str, step: StepRun) -> None:
        run = self.get_run(run_id)
        steps = {(s.step, s.attempt): s for s in run.steps} | {(step.step, step.attempt): step}
        self.run_of[run_id] = run.model_copy(update={"steps": tuple(steps.values())})

    def record_artifact(self, digest: str, kind: str, uri: str, metadata: dict[str, Any]) -> None:
        self.artifact_of.setdefault(digest, (kind, uri))

    def record_event(self, run_id: str, step: str, digest: str, direction: str) -> None:
        assert digest in self.artifact_of
        self.events.add((run_id, step, digest, direction))


@pytest.fixture
def log() -> InMemoryRunLog:
    return InMemoryRunLog()


@pytest.fixture
def make_runner(tmp_path: Path, log: InMemoryRunLog) -> Callable[..., PipelineRunner]:
    """A runner as a new process would make it: on the same disk and log."""

    def make(**options: Any) -> PipelineRunner:
        return PipelineRunner(tmp_path / "artifacts", log, ManualClock(datetime(2013, 3, 1, tzinfo=UTC)), **options)

    return make
