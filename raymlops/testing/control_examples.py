"""Windows, plans, runs and trials for tests of the control loop. Their model is ``m``, their windows days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from raymlops.control.rollout.evidence import Arm, Losses, TrialEvidence
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, RunStatus
from raymlops.records.windows import ColumnDrift, Performance, WindowRecord

__all__ = ["DAY", "START", "example_arm", "example_evidence", "example_plan", "example_run", "example_window"]

START = datetime(2013, 3, 4, tzinfo=UTC)
DAY = timedelta(days=1)


def example_window(day: int, *, champion: int = 1, labelled: int = 500, **changes: Any) -> WindowRecord:
    """The window of day ``day``, counted from 0 at ``START``; nothing is wrong in it unless ``changes`` say so."""
    start = START + day * DAY
    part = Performance(rows=1000, labelled_rows=labelled, metrics={"log_loss": 0.5})
    values: dict[str, Any] = {
        "model": "m",
        "start": start,
        "end": start + DAY,
        "champion": champion,
        "rows": 1000,
        "performance": {champion: part},
    }
    if changes.get("drifted"):
        values["columns"] = {"wind": ColumnDrift(score=0.4, threshold=0.1, p_value=0.0, drifted=True)}
    if changes.get("quality") == "block":
        values["quality_reasons"] = ("column wind is missing",)
    return WindowRecord.model_validate({**values, **changes})


def example_plan(number: int = 1, champion: int = 1, at: datetime = START, **changes: Any) -> ServingPlan:
    """A plan."""
    return ServingPlan.model_validate(
        {"model": "m", "number": number, "champion": champion, "created_at": at, **changes}
    )


def example_run(
    run_id: str = "r", *, at: datetime = START, status: RunStatus = RunStatus.SUCCEEDED, **result: Any
) -> Run:
    """A run of the pipeline ``m`` that gave ``result``."""
    ended_at = at if status.final else None
    return Run(id=run_id, pipeline="m", status=status, created_at=at, ended_at=ended_at, result=result)


def example_arm(
    mean: float = 0.5, *, rows: int = 1000, labelled: int = 1000, faults: int = 0, spread: float = 0.5
) -> Arm:
    """A version's part in a trial whose losses have this mean and standard deviation."""
    square_total = labelled * mean**2 + (labelled - 1) * spread**2 if labelled else 0.0
    return Arm(rows=rows, faults=faults, losses=Losses(rows=labelled, total=mean * labelled, square_total=square_total))


def example_evidence(candidate: Arm | None = None, champion: Arm | None = None) -> TrialEvidence:
    """A trial so far."""
    return TrialEvidence(candidate=candidate or example_arm(), champion=champion or example_arm())
