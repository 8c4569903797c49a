"""Artifacts, and the events that tie them to the steps that read or wrote them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = ["Artifact", "ArtifactEvent", "Context", "Direction", "Lineage"]

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
