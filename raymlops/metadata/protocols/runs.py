"""Runs, artifacts and lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from raymlops.records.artifacts import Artifact, ArtifactEvent, Direction, Lineage
from raymlops.records.runs import Run, RunStatus, StepRun

__all__ = ["ArtifactStore", "RunStore"]


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

    def record_step(self, run_id: str, step: StepRun) -> None:
        """Record one attempt of one step; a later record of the same step and attempt replaces it.

        Raises:
            RunNotFound: No run has this id.
        """
        ...


class ArtifactStore(Protocol):
    """Artifacts, and which step read or wrote them."""

    def record_artifact(
        self, digest: str, kind: str, uri: str, metadata: Mapping[str, object] | None = None
    ) -> Artifact:
        """Record an artifact, by its content's digest.

        Returns:
            The artifact as first recorded: what is known under this digest stays as it is.

        Raises:
            DataError: The metadata has no JSON form.
        """
        ...

    def get_artifact(self, digest: str) -> Artifact:
        """The artifact with this digest.

        Raises:
            NotFoundError: None has.
        """
        ...

    def record_event(self, run_id: str, step: str, digest: str, direction: Direction) -> ArtifactEvent:
        """Record that a step of a run read (``input``) or wrote (``output``) an artifact.

        Raises:
            RunNotFound: No run has this id.
            NotFoundError: The artifact is not recorded.
            DataError: ``direction`` is neither of the two.
        """
        ...

    def run_events(self, run_id: str, step: str | None = None) -> list[ArtifactEvent]:
        """What one step of a run, or all of it, read and wrote, in the order it was recorded.

        Raises:
            RunNotFound: No run has this id.
        """
        ...

    def run_artifacts(self, run_ids: Sequence[str]) -> list[Artifact]:
        """What some runs read or wrote, in the order it was first recorded; unknown runs have nothing."""
        ...

    def lineage_of(self, digest: str) -> Lineage:
        """All that an artifact was made from, through any number of steps and runs.

        Equal contents are one artifact: where two steps wrote the same bytes, both are in its lineage.

        Raises:
            NotFoundError: The artifact is not recorded.
        """
        ...

    def runs_using(self, digest: str) -> list[str]:
        """Ids of the runs that read an artifact or anything made from it, newest first.

        Raises:
            NotFoundError: The artifact is not recorded.
        """
        ...
