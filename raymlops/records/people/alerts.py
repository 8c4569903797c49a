"""Alerts: what somebody should hear about, and whether they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from pydantic import Field

from raymlops.records.record import Instant, Record
from raymlops.records.windows import DriftAlarm

__all__ = ["Alert", "AlertCursor", "AlertStatus", "AlertStore", "Cause", "Delivery", "Severity", "Standing"]

Severity = Literal["info", "warning", "critical"]
Cause = Literal[
    "quality",
    "drift",
    "degraded",
    "fallback",
    "retraining_failed",
    "rolled_back",
    "abandoned",
    "promoted",
    "trial_inconclusive",
    "events_lost",
    "build_failed",
    "deployed",
]
"""The first four are conditions: raised once, and cleared. The others happen."""


class Alert(Record):
    """One thing to hear about. Made of what is stored, so that it is the same whenever it is made."""

    key: str
    """Idempotency key: a receiver that has seen it has seen the alert."""
    model: str
    cause: Cause
    state: Literal["raised", "cleared", "happened"]
    severity: Severity
    """What clears a condition has the severity of what raised it, so that it reaches the same people."""
    at: Instant
    """End of the window, or instant of the ledger's entry."""
    summary: str
    facts: dict[str, Any] = Field(default_factory=dict)
    """JSON values it rests on."""


class Standing(Record):
    """A condition that was raised and not cleared."""

    key: str
    """Of the alert that raised it."""
    since: Instant
    champion: int


class AlertCursor(Record):
    """How far a model's windows, or the ledger, have been read for alerts, and what stood then.

    Stored together with the alerts that came of it: what is read twice after a crash gives the same alerts.
    """

    source: str
    """A model's name; the ledger's is empty."""
    sequence: int = 0
    """The last entry read, for the ledger."""
    until: Instant | None = None
    """End of the last window read."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Cause -> how often it was raised."""
    standing: dict[str, Standing] = Field(default_factory=dict)
    """Cause -> the condition that stands."""
    champion: int | None = None
    recent: tuple[bool, ...] = ()
    alarm: DriftAlarm | None = None
    calm: int = 0


class Delivery(Record):
    """One alert on its way to one endpoint."""

    alert: Alert
    endpoint: str
    """Name of the webhook."""
    state: Literal["pending", "delivered", "given_up"] = "pending"
    attempts: int = 0
    """Requests that were made."""
    due_at: Instant
    """When the next request is due; when the last one was made, for what is not pending."""
    problem: str = ""
    """Why the last request was no success."""


class AlertStatus(Record):
    """An alert and who has heard of it."""

    alert: Alert
    deliveries: tuple[Delivery, ...] = ()
    """By endpoint; none where no webhook asks for it, or where it is older than the first start."""


class AlertStore(Protocol):
    """The outbox: alerts, the deliveries they are owed, and how far their sources have been read."""

    def find_cursor(self, source: str) -> AlertCursor | None:
        """How far a source has been read; ``None`` where it has never been."""
        ...

    def put_alerts(self, cursor: AlertCursor, alerts: Sequence[Alert], deliveries: Sequence[Delivery]) -> None:
        """Move a cursor and add what came of it, all or nothing.

        Args:
            cursor: Replaces the source's former one.
            alerts: In order; one whose key is known is left out, and so are its deliveries.
            deliveries: Of these alerts.
        """
        ...

    def list_alerts(self, model: str | None = None) -> list[Alert]:
        """Alerts, of one model or all, in the order they were added."""
        ...

    def list_deliveries(self, model: str | None = None) -> list[Delivery]:
        """Deliveries, of one model or all, in the order of their alerts, then by endpoint."""
        ...

    def pending_deliveries(self, endpoint: str) -> list[Delivery]:
        """What an endpoint is still owed: per model the oldest pending delivery, in the order they were added."""
        ...

    def put_delivery(self, delivery: Delivery) -> None:
        """Note how a delivery stands.

        Raises:
            NotFoundError: There is no such delivery.
        """
        ...
