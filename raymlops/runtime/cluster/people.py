"""Orders of people, recorded in the ledger before they take effect."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping

from raymlops.records.ledger import Ledger, LedgerEntry
from raymlops.records.record import sha256_of

__all__ = ["acting_user", "record_once"]


def acting_user() -> str:
    """Name of the account that this process runs as; its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}"


def record_once(ledger: Ledger, subject: str, action: str, reason: str, facts: Mapping[str, object]) -> LedgerEntry:
    """Record a decision of a person, once for each time that it changes something.

    Args:
        ledger: Records the order.
        subject: The subject of the entry.
        action: The action that is ordered.
        reason: Why.
        facts: The changes that would follow, as seen now. Where the last decision of this kind says the same, it was
            recorded and not carried out: the process was killed between the two.

    Returns:
        The entry: it may be the one from before the kill.
    """
    asked = sha256_of(facts)
    before = [entry for entry in ledger.entries(subject) if entry.action == action]
    if before and before[-1].evidence.get("asked") == asked:
        return before[-1]
    evidence = {**facts, "asked": asked, "by": acting_user()}
    return ledger.append_entry(subject, action, reason, evidence, key=f"user/{subject}/{action}/{asked}/{len(before)}")
