"""Records that the metadata tests are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from raymlops.clock import Clock
from raymlops.records.bundles import BundleManifest, ProjectSpec
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.runs import Run
from raymlops.records.windows import Performance, WindowRecord

__all__ = [
    "EPOCH",
    "HOUR",
    "MovableClock",
    "example_bundle",
    "example_draft",
    "example_plan",
    "example_run",
    "example_window",
]

EPOCH = datetime(2013, 1, 1, tzinfo=UTC)
"""The first instant of the examples."""
HOUR = timedelta(hours=1)


class MovableClock(Clock, Protocol):
    """A clock that a test moves."""

    def advance_to(self, instant: datetime) -> None:
        """Move forward to ``instant``."""
        ...


def example_run(run_id: str = "run-1", pipeline: str = "flights", created_at: datetime = EPOCH) -> Run:
    """A pending run."""
    return Run(id=run_id, pipeline=pipeline, parameters={"weeks": 8, "tags": ["a"]}, created_at=created_at)


def example_draft(name: str = "churn") -> ModelVersion:
    """A version that is not registered yet."""
    signature = Signature(task="classifier", inputs=(ColumnSpec(name="age", dtype="FP64"),), classes=(0, 1))
    manifest = ModelManifest(flavor="xgboost", signature=signature, files={"model.ubj": "0" * 64}, libraries={})
    metrics = {"log_loss": 0.4, "auc": float("nan")}
    return ModelVersion(
        name=name, version=0, path=f"/models/{name}", manifest=manifest, digest="1" * 64, metrics=metrics,
        created_at=EPOCH,
    )  # fmt: skip


def example_plan(number: int = 1, model: str = "churn", champion: int = 1) -> ServingPlan:
    """A plan with a trial."""
    trial = Trial(version=champion + 1)
    return ServingPlan(model=model, number=number, champion=champion, trial=trial, created_at=EPOCH)


def example_window(model: str = "churn", start: datetime = EPOCH, rows: int = 10) -> WindowRecord:
    """A closed window of one hour, with a metric that has no value."""
    performance = {1: Performance(rows=rows, labelled_rows=0, metrics={"auc": float("nan")})}
    return WindowRecord(model=model, start=start, end=start + HOUR, champion=1, rows=rows, performance=performance)


def example_bundle(digest: str = "b" * 64, pipeline: str = "flights") -> BundleManifest:
    """A bundle's manifest."""
    project = ProjectSpec(name=pipeline, model="delay", definitions="d:all", service="s", spine="d:spine")
    return BundleManifest(
        digest=digest, project=project, archive_sha256="a" * 64, files={"project.yaml": "c" * 64},
        lock_sha256="d" * 64, tests={"passed": 1, "failed": 0, "skipped": 0}, built_at=EPOCH,
    )  # fmt: skip
