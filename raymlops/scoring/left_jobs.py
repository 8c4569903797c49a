"""Jobs whose process died: their runs are brought to an end."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from raymlops.clock import Clock
from raymlops.errors import ConflictError
from raymlops.records.runs import Run, RunStatus, RunStore
from raymlops.records.scoring import PIPELINE, ScoringPlan
from raymlops.scoring.state import job_directory

__all__ = ["end_if_left"]


def end_if_left(run: Run, home: Path, runs: RunStore, clock: Clock) -> Run:
    """The run of a job as it is; failed, where no process holds the job's lock.

    Args:
        run: Of any pipeline; a run that is final, or that is not of batch scoring, is given back as it is.
        home: ``RAYMLOPS_HOME``.
        runs: Where it is recorded.
        clock: Dates its end.
    """
    if run.status.final or run.pipeline != PIPELINE:
        return run
    directory = job_directory(home, ScoringPlan.model_validate(run.parameters))
    if not directory.path.is_dir():
        return run  # of a process on another machine, with a directory of its own
    with suppress(ConflictError), directory.locked(wait_s=0.0):  # who holds the lock is at work
        latest = runs.get_run(run.id)
        if latest.status.final:
            return latest
        told = "its process ended without a word: the same request, made again, continues where this run stopped"
        return runs.update_run(run.id, status=RunStatus.FAILED, ended_at=clock.now(), error=told)
    return run
