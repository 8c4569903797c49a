"""Pipeline runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = ["Run", "RunCount", "RunStatus", "RunStore", "StepRun", "StepStatus", "StrayJob"]


class RunStatus(StrEnum):
    """States of a run; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the run."""
        return self is not RunStatus.PENDING and self is not RunStatus.RUNNING


class StrayJob(Record):
    """A job of this platform whose run has no record, as after the database was put back from a backup."""

    run_id: str
    seen_at_s: float
    """When it was found, seconds since 1970 on the wall clock."""
    state: Literal["alive", "stopped", "ended"] = "alive"
    """Nobody waits for what it does: it is stopped after a minute, where it has not ended by itself."""
    problem: str = ""
    """Why it could not be stopped yet."""

    @property
    def text(self) -> str:
        """For people."""
        told = {"alive": "is alive and will be stopped", "stopped": "was stopped", "ended": "has ended by itself"}
        problem = f"; it could not be stopped yet: {self.problem}" if self.problem else ""
        return f"the job of run {self.run_id} {told[self.state]}: there is no record of the run{problem}"


class StepStatus(StrEnum):
    """States of one step of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CACHED = "cached"
    FAILED = "failed"


class StepRun(Record):
    """One execution of one step."""

    step: str
    status: StepStatus
    key: str
    """Content address of the execution: code, parameters and input digests."""
    started_at: Instant
    ended_at: Instant | None = None
    attempt: int = 1
    outputs: dict[str, str] = Field(default_factory=dict)
    """Output name -> digest of the artifact."""
    error: str | None = None
    reason: str = ""
    """Why it was executed and not taken over from the cache, or why it was taken over."""


class Run(Record):
    """One execution of a pipeline."""

    id: str
    pipeline: str
    status: RunStatus = RunStatus.PENDING
    parameters: dict[str, Any] = Field(default_factory=dict)
    reason: str = "on-demand"
    bundle: str | None = None
    """Digest of the bundle it runs from."""
    job_id: str | None = None
    created_at: Instant
    ended_at: Instant | None = None
    steps: tuple[StepRun, ...] = ()
    result: dict[str, Any] = Field(default_factory=dict)
    """What the pipeline returned: ``version``, ``blessed``, ``reason``, ``metrics`` ..."""
    error: str | None = None


class RunCount(Record):
    """The runs of one pipeline in one state."""

    pipeline: str
    status: RunStatus
    runs: int
    oldest_at: Instant
    """When the oldest of them was created."""
    newest_at: Instant
    """When the newest was."""


class RunStore(Protocol):
    """Runs of pipelines and their steps."""

    def create_run(self, run: Run) -> Run:
        """Record a run.

        Returns:
            The run as stored; where its id is known, the run as it stands, unchanged.

        Raises:
            AlreadyRegistered: The id belongs to a run of another pipeline.
            DataError: A parameter has no JSON form.
        """
        ...

    def update_run(self, run_id: str, **changes: object) -> Run:
        """Change fields of a run.

        They are ``status``, ``parameters``, ``reason``, ``bundle``, ``job_id``, ``ended_at``, ``result`` and ``error``.
        A run that becomes final without ``ended_at`` ends now.

        Raises:
            RunNotFound: No run has this id.
            InvalidTransition: The run is final and a change differs from what is there (a missing ``job_id`` may still
                be filled in), or a running run would become pending.
            DataError: A field is not one of the above, or its value is wrong.
        """
        ...

    def get_run(self, run_id: str) -> Run:
        """The run with its steps, in the order they were first recorded.

        Raises:
            RunNotFound: No run has this id.
        """
        ...

    def list_runs(
        self, pipeline: str | None = None, status: RunStatus | str | None = None, limit: int | None = None
    ) -> list[Run]:
        """Runs with their steps, newest ``created_at`` first, at most ``limit`` of them."""
        ...

    def count_runs(self) -> list[RunCount]:
        """How many runs each pipeline has in each state, by pipeline, then state; states without any are left out."""
        ...

    def record_step(self, run_id: str, step: StepRun) -> None:
        """Record one attempt of one step; a later record of the same step and attempt replaces it.

        Raises:
            RunNotFound: No run has this id.
        """
        ...
