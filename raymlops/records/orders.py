"""What people ask for."""

from __future__ import annotations

from typing import Literal, TypedDict

from raymlops.records.record import Record

__all__ = ["RETRAIN_ORDER", "Order", "OrderEntry"]

RETRAIN_ORDER = "order_retraining"
"""Action of the ledger entry by which somebody asks for a retraining."""


class OrderEntry(TypedDict):
    """A ledger entry to be appended."""

    subject: str
    action: str
    reason: str
    evidence: dict[str, object]
    key: str


class Order(Record):
    """Who asked for a change of what is served, and why."""

    request: str
    """Names the order, so that it may be given again and counts once."""
    by: str
    """Who asked."""
    reason: str

    def key(self, model: str, action: str) -> str:
        """Idempotency key of its ledger entry."""
        return f"user/{model}/{action}/{self.request}"

    def for_retraining(self, model: str, via: Literal["http", "platform"]) -> OrderEntry:
        """The ledger entry by which it asks the controller to retrain a model."""
        return OrderEntry(
            subject=model,
            action=RETRAIN_ORDER,
            reason=self.reason,
            evidence={"by": self.by, "via": via, "request": self.request},
            key=self.key(model, RETRAIN_ORDER),
        )
