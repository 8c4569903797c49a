"""The append-only record of what was decided and done."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raymlops.records.record import Instant, Record, sha256_of

__all__ = ["GENESIS", "LedgerEntry"]

GENESIS = "0" * 64
"""The previous hash of the first entry."""


class LedgerEntry(Record):
    """One entry; ``hash`` covers everything else in it, ``previous_hash`` the whole history before it."""

    sequence: int
    """1, 2, 3 ... without gaps, over all subjects."""
    at: Instant
    subject: str
    """What it is about, usually a model's name."""
    action: str
    """``retrain``, ``start_trial``, ``promote``, ``roll_back``, ``refuse``, ``deploy``, ``register`` ..."""
    reason: str
    evidence: dict[str, Any] = Field(default_factory=dict)
    """JSON values the decision rested on."""
    key: str
    """Idempotency key: a second append with the same key returns the first entry."""
    previous_hash: str
    hash: str

    def expected_hash(self) -> str:
        """The hash this entry must have."""
        return sha256_of(self.model_dump(mode="json", exclude={"hash"}))
