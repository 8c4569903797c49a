"""What an endpoint serves."""

from __future__ import annotations

from typing import Literal

from raymlops.records.record import Instant, Record

__all__ = ["Role", "ServingPlan", "Trial"]

Role = Literal["champion", "canary", "shadow", "backup"]


class Trial(Record):
    """A version on trial beside the champion."""

    version: int
    mode: Literal["canary", "shadow"] = "canary"
    weight: float = 0.1
    """Share of the requests that the candidate answers (canary) or sees (shadow), 0 to 1."""
    deadline_ms: float = 250.0
    """After this the caller gets the champion's answer."""


class ServingPlan(Record):
    """An immutable, numbered statement of what an endpoint serves."""

    model: str
    number: int
    """1, 2, 3 ...; a replica serves the highest it knows."""
    champion: int
    backup: int | None = None
    trial: Trial | None = None
    service: str | None = None
    """Feature service whose features ``predict`` joins online, ``NAME@VERSION``; ``None`` for infer only."""
    replicas: int = 1
    reason: str = ""
    created_at: Instant
