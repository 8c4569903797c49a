"""The append-only record of what was decided and done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from pydantic import Field

from raymlops.records.record import Instant, Record, sha256_of

__all__ = ["GENESIS", "RETRAIN_ORDER", "Ledger", "LedgerEntry"]

GENESIS = "0" * 64
"""The previous hash of the first entry."""
RETRAIN_ORDER = "order_retraining"
"""Action of the entry by which somebody asks for a retraining."""


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


class Ledger(Protocol):
    """The append-only, hash-chained record of what was decided and done."""

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, object] | None = None, *, key: str
    ) -> LedgerEntry:
        """Append an entry.

        Args:
            subject: What it is about, usually a model's name.
            action: What is done.
            reason: Why, for people.
            evidence: What the decision rested on: JSON values.
            key: Idempotency key over the whole ledger.

        Returns:
            The entry; where the key is known, the first entry with it, whatever else is asked now.

        Raises:
            DataError: A value has no JSON form.
            LedgerBroken: The ledger's head is gone.
        """
        ...

    def entries(self, subject: str | None = None, after: int = 0) -> list[LedgerEntry]:
        """Entries, of one subject or all, with ``sequence`` above ``after``, in order.

        Raises:
            LedgerBroken: An entry cannot be read.
        """
        ...

    def newest_entries(
        self, subjects: Sequence[str], limit: int, *, until: datetime | None = None
    ) -> list[LedgerEntry]:
        """The newest entries about some subjects together, by instant, the oldest of them first.

        Reads ``limit`` entries of each subject at most, however many there are.

        Args:
            subjects: What they are about.
            limit: How many.
            until: Leave out what was recorded after this instant.

        Raises:
            LedgerBroken: An entry cannot be read.
        """
        ...

    def verify_ledger(self) -> int:
        """Check every hash, every link and the head.

        Found are entries that were altered, removed (at the end too), added or moved. Not found is a rewrite of the
        whole chain from some entry on *with* its head, or a whole database put back from a backup, by somebody who may
        write to it. Against that, keep the count returned and the last entry's hash elsewhere and compare.

        Returns:
            The number of entries.

        Raises:
            LedgerBroken: The message and ``context["sequence"]`` say where.
        """
        ...
