"""What people ask for."""

from __future__ import annotations

from typing import Literal, TypedDict

from raymlops.errors import StaleWrite
from raymlops.records.ledger import RETRAIN_ORDER
from raymlops.records.plans import ServingPlan
from raymlops.records.record import Record

__all__ = ["Order", "OrderEntry"]


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
    expected_plan: int | None = None
    """Number of the newest plan that the order was decided by, 0 for none; ``None``: it does not matter."""
    dry_run: bool = False
    """Tell the plan that would be made, and make none."""

    def require_expected(self, model: str, plan: ServingPlan | None) -> None:
        """Refuse to go on from another plan than the order was decided by.

        Raises:
            StaleWrite: ``plan`` is not the one.
        """
        number = 0 if plan is None else plan.number
        if self.expected_plan is not None and number != self.expected_plan:
            why = "" if plan is None else f": {plan.reason}"
            message = f"the newest plan of {model} must still be {self.expected_plan}, got {number}{why}"
            raise StaleWrite(message, model=model, plan=number, expected=self.expected_plan)

    def key(self, model: str, action: str) -> str:
        """Idempotency key of its ledger entry."""
        return f"user/{model}/{action}/{self.request}"

    def for_retraining(self, model: str, via: Literal["http", "console", "platform"]) -> OrderEntry:
        """The ledger entry by which it asks the controller to retrain a model."""
        return OrderEntry(
            subject=model,
            action=RETRAIN_ORDER,
            reason=self.reason,
            evidence={"by": self.by, "via": via, "request": self.request},
            key=self.key(model, RETRAIN_ORDER),
        )
