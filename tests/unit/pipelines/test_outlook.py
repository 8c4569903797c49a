from __future__ import annotations

from datetime import UTC, datetime

from raymlops.pipelines import resume_outlook
from raymlops.records.runs import Run, StepRun, StepStatus

AT = datetime(2013, 3, 1, tzinfo=UTC)


def _record(step: str, status: StepStatus, attempt: int = 1, **more: object) -> StepRun:
    return StepRun.model_validate(
        {"step": step, "status": status, "key": "k", "started_at": AT, "attempt": attempt, **more}
    )


def test_what_resuming_would_do_is_told_from_the_records() -> None:
    steps = (
        _record("load", StepStatus.FAILED, error="StorageError: disk"),
        _record("load", StepStatus.SUCCEEDED, 2, outputs={"frame": "d"}),
        _record("split", StepStatus.CACHED, outputs={"parts": "e"}),
        _record("tune", StepStatus.FAILED, error="UnavailableError: no CPU"),
        _record("report", StepStatus.RUNNING),
    )
    run = Run(id="r", pipeline="p", created_at=AT, steps=steps)
    told = resume_outlook(run, ["load", "split", "tune", "report", "register"])
    assert [(step["step"], step["action"]) for step in told] == [
        ("load", "reuse"),
        ("split", "reuse"),
        ("tune", "run"),
        ("report", "run"),
        ("register", "run"),
    ]
    assert [step["reason"] for step in told][2:] == [
        "it failed: UnavailableError: no CPU",
        "the process ended before the step did",
        "it was not reached",
    ]
