"""Artifacts, and the events that tie them to the steps that read or wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = ["Artifact", "ArtifactEvent", "ArtifactStore", "Context", "ContextStore", "Direction", "Lineage"]

Direction = Literal["input", "output"]


class Artifact(Record):
    """Something a step reads or writes, named by its content."""

    digest: str
    """Hex SHA-256 of the content."""
    kind: str
    """``table``, ``training_set``, ``model``, ``report``, ``json`` ..."""
    uri: str
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: Instant
    """When it was first recorded."""


class ArtifactEvent(Record):
    """One step of one run read (``input``) or wrote (``output``) one artifact."""

    run_id: str
    step: str
    digest: str
    direction: Direction
    at: Instant


class Lineage(Record):
    """Everything an artifact was made from."""

    digest: str
    artifacts: tuple[Artifact, ...]
    """The artifact itself and all it descends from, oldest record first."""
    events: tuple[ArtifactEvent, ...]
    """The events of the steps that made them, oldest first."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that took part, in order of their first event."""
        return tuple(dict.fromkeys(event.run_id for event in self.events))


class Context(Record):
    """Something that runs and artifacts belong to: an environment, a project, an experiment, an incident."""

    kind: str
    """``environment``, ``experiment`` ..."""
    name: str
    """Unique among contexts of the kind."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: Instant


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


class ContextStore(Protocol):
    """Contexts, and the runs and artifacts in them; each may be in any number."""

    def put_context(self, kind: str, name: str, metadata: Mapping[str, object] | None = None) -> Context:
        """Record a context.

        Returns:
            The context; where kind and name are known, as first recorded.

        Raises:
            DataError: The metadata has no JSON form.
        """
        ...

    def add_to_context(self, kind: str, name: str, *, run_ids: Sequence[str] = (), digests: Sequence[str] = ()) -> None:
        """Put runs and artifacts into a context, all or none; those that are in it stay.

        Raises:
            NotFoundError: There is no such context, or an artifact is not recorded.
            RunNotFound: No run has one of the ids.
        """
        ...

    def list_contexts(
        self, kind: str | None = None, *, run_id: str | None = None, digest: str | None = None
    ) -> list[Context]:
        """Contexts in the order they were recorded: of one kind, with one run, with one artifact, or all."""
        ...

    def context_runs(self, kind: str, name: str) -> list[str]:
        """Ids of the runs in a context, newest first; none where it is unknown."""
        ...

    def context_artifacts(self, kind: str, name: str) -> list[Artifact]:
        """The artifacts in a context, in the order they were recorded; none where it is unknown."""
        ...
