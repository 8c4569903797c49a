"""What people ask for."""

from __future__ import annotations

from raymlops.records.record import Record

__all__ = ["Order"]


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
