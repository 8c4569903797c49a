"""What stands against a retraining."""

from __future__ import annotations

from typing import Literal

from raymlops.records.record import Instant, Record

__all__ = ["Reason", "ReasonKind"]

ReasonKind = Literal[
    "held_up",
    "disabled",
    "paused",
    "clock_set_back",
    "no_pipeline",
    "trial",
    "run_under_way",
    "no_window",
    "broken_data",
    "features_differ",
    "decided_before",
    "no_trigger",
    "cooldown",
    "backoff",
    "budget",
    "fleet",
    "labelled_rows",
    "probes",
]


class Reason(Record):
    """One thing that keeps a model from being retrained now."""

    kind: ReasonKind
    text: str
    """What stands against it, with the figures."""
    remedy: str
    """What would end it."""
    until: Instant | None = None
    """When it ends by itself, at the earliest; ``None`` where it does not, or nobody can tell."""
