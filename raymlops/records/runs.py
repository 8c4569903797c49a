"""Pipeline runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = ["Run", "RunStatus", "StepRun", "StepStatus"]


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
        return self in {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELED}


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
