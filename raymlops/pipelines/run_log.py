"""Where the engine records what it does."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from raymlops.errors import RunNotFound
from raymlops.records.runs import Run, StepRun

__all__ = ["RESUME_OF", "RunLog", "origin_of"]

RESUME_OF = "resume_of"
"""Parameter of a run: the id of the run that it resumes."""


class RunLog(Protocol):
    """Where runs are recorded. Every call may be repeated with the same arguments."""

    def create_run(self, run: Run) -> Run:
        """Record a new run; gives the one that is there where its id is known."""
        ...

    def get_run(self, run_id: str) -> Run:
        """The run.

        Raises:
            RunNotFound: No run has this id.
        """
        ...

    def update_run(self, run_id: str, **changes: Any) -> Run:
        """Change fields of a run."""
        ...

    def record_step(self, run_id: str, step: StepRun) -> object:
        """Record a step; replaces the record of the same step and attempt."""
        ...

    def record_artifact(self, digest: str, kind: str, uri: str, metadata: dict[str, Any]) -> object:
        """Record that an artifact is there."""
        ...

    def record_event(self, run_id: str, step: str, digest: str, direction: Literal["input", "output"]) -> object:
        """Record that a step took or gave an artifact."""
        ...


def origin_of(log: RunLog, resume_of: str | None) -> str | None:
    """Id of the first of the runs that one which resumes ``resume_of`` goes on with; ``None`` where it resumes none."""
    known: list[str] = []
    while resume_of is not None and resume_of not in known:
        known.append(resume_of)
        try:
            resume_of = log.get_run(resume_of).parameters.get(RESUME_OF)
        except RunNotFound:
            break
    return known[-1] if known else None
