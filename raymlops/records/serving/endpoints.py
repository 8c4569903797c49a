"""How what is served differs from what is planned."""

from __future__ import annotations

from typing import NamedTuple

from raymlops.records.record import Record

__all__ = ["EndpointStatus", "Hosting"]


class Hosting(NamedTuple):
    """How a model stands in one replica of the pool."""

    plan: int
    """Number of the plan that it is answered by, loaded or not; 0 where it cannot be answered."""
    problem: str | None = None
    """Why it cannot be answered."""
    leaves: str | None = None
    """Why it should move out of the pool."""


class EndpointStatus(Record):
    """One model's endpoint, as it was last seen."""

    model: str
    plan: int
    """Number of its newest plan."""
    champion: int
    replicas: int
    """As planned."""
    answering: int = 0
    """Replicas that serve the newest plan."""
    answers: bool = False
    """Whether callers get answers, be it by an older plan."""
    reason: str | None = None
    """What is not as planned, and why; ``None`` where all is."""
    pooled: bool = False
    """Whether the pool answers for it, by the newest plan."""
    seen_at_s: float = 0.0
    """When it was looked at, seconds since 1970 on the wall clock."""

    @property
    def as_planned(self) -> bool:
        """Whether callers get answers, every replica serves the newest plan, and its trial is under way."""
        return self.answers and self.reason is None
