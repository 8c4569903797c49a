"""Alerts and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raymlops.records.alerts import Alert, AlertCursor, Delivery

__all__ = ["AlertStore"]


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
