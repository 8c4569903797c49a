"""How what is served differs from what is planned."""

from __future__ import annotations

from raymlops.records.record import Record

__all__ = ["EndpointStatus"]


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
    seen_at_s: float = 0.0
    """When it was looked at, seconds since 1970 on the wall clock."""

    @property
    def as_planned(self) -> bool:
        """Whether callers get answers, every replica serves the newest plan, and its trial is under way."""
        return self.answers and self.reason is None
