"""Windows, plans, runs and trials for tests of the control loop. Their model is ``m``, their windows days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from raymlops.control.rollout.measuring.evidence import Arm, Labelled, Losses, TrialEvidence
from raymlops.laboratory.probed import Probed, ProbedWindow
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, RunStatus
from raymlops.records.windows import ColumnDrift, Performance, WindowRecord

__all__ = [
    "DAY",
    "START",
    "example_arm",
    "example_evidence",
    "example_losses",
    "example_plan",
    "example_probed",
    "example_run",
    "example_window",
]

START = datetime(2013, 3, 4, tzinfo=UTC)
DAY = timedelta(days=1)


def example_window(day: int, *, champion: int = 1, labelled: int = 500, **changes: Any) -> WindowRecord:
    """The window of day ``day``, counted from 0 at ``START``; nothing is wrong in it unless ``changes`` say so.

    ``fallen``: the champion's log loss is surely above that of the best constant answer.
    """
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
    if changes.pop("fallen", False):
        metrics = {"log_loss": 0.9, "positive_share": 0.5}
        fallen = part.model_copy(update={"metrics": metrics, "intervals": {"log_loss": (0.85, 0.95)}})
        values["performance"] = {champion: fallen}
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


def example_probed(days: int, *, slope: float, most: float = 9.0, trained_day: int = 0) -> Probed:
    """Probes of the first days: each lost 1 when new, and ``slope`` more for each day of age, ``most`` at most."""
    shown = [
        ProbedWindow(
            start=START + day * DAY,
            end=START + (day + 1) * DAY,
            at=START + (day + 1) * DAY,
            rows=1000,
            loss=1.0,
            probes=tuple(START + older * DAY for older in range(day + 1)),
            regrets=tuple(min(most, slope * (day - older)) for older in range(day + 1)),
            errors=(0.001,) * day + (0.0,),
        )
        for day in range(days)
    ]
    return Probed(windows=tuple(shown), trained_at=START + trained_day * DAY)


def example_losses(mean: float, *, rows: int = 1000, spread: float = 0.5) -> Losses:
    """Losses of this mean and standard deviation."""
    square_total = rows * mean**2 + (rows - 1) * spread**2 if rows else 0.0
    return Losses(rows=rows, total=mean * rows, square_total=square_total)


def example_arm(
    mean: float = 0.5, *, requests: int = 1000, labelled: int = 1000, faults: int = 0, late: int = 0
) -> Arm:
    """A version's part in a trial; its losses have this mean, and a standard deviation of 0.5."""
    return Arm(requests=requests, faults=faults, late=late, losses=example_losses(mean, rows=labelled))


def example_evidence(
    candidate: Arm | None = None, champion: Arm | None = None, *, spread: float = 0.2, compared: int | None = None
) -> TrialEvidence:
    """A trial so far: rows compared in pairs, as many as the candidate's labelled ones if nothing is said."""
    candidate, champion = candidate or example_arm(), champion or example_arm()
    rows = candidate.losses.rows if compared is None else compared
    difference = candidate.losses.mean - champion.losses.mean if candidate.losses.rows else 0.0
    return TrialEvidence(
        candidate=candidate,
        champion=champion,
        paired=example_losses(difference, rows=rows, spread=spread),
        paired_level=champion.losses.mean,
        labelled=Labelled(rows=2 * rows, labelled_rows=rows, lean=0.0),
    )
