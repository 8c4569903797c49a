"""The ports through which the engine records runs."""

from __future__ import annotations

from typing import Protocol

from raymlops.errors import RunNotFound
from raymlops.records.learning.artifacts import ArtifactStore
from raymlops.records.runs import RunStore

__all__ = ["RESUME_OF", "RunLog", "origin_of"]

RESUME_OF = "resume_of"
"""Parameter of a run: the id of the run that it resumes."""


class RunLog(Protocol):
    """The stores that runs are recorded in. Every call may be repeated with the same arguments."""

    runs: RunStore
    artifacts: ArtifactStore


def origin_of(log: RunLog, resume_of: str | None) -> str | None:
    """Id of the first of the runs that one which resumes ``resume_of`` goes on with; ``None`` where it resumes none."""
    known: list[str] = []
    while resume_of is not None and resume_of not in known:
        known.append(resume_of)
        try:
            resume_of = log.runs.get_run(resume_of).parameters.get(RESUME_OF)
        except RunNotFound:
            break
    return known[-1] if known else None
