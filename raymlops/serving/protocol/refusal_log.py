"""Refused requests on their way to the ledger: counted, and told once a minute for each key and kind."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from raymlops.clock import Clock, SystemClock
from raymlops.errors import RaymlopsError
from raymlops.records.ledger import LedgerEntry
from raymlops.records.serving.keys import ApiKey

__all__ = ["REFUSED", "EntryAppender", "RefusalKind", "RefusalLog"]

_log = logging.getLogger(__name__)

REFUSED = "refuse_access"
"""Action of the ledger entry that tells refused requests."""

RefusalKind = Literal["no_key", "unknown_key", "wrong_secret", "revoked_key", "expired_key", "forbidden"]

_REASONS: dict[RefusalKind, str] = {
    "no_key": "no API key was shown",
    "unknown_key": "an API key was shown that does not exist",
    "wrong_secret": "a wrong secret was shown for this API key",
    "revoked_key": "this API key was shown after it was revoked",
    "expired_key": "this API key was shown after it had expired",
    "forbidden": "the grants of this API key do not cover what was asked for",
}
_UNKNOWN = "unknown"
_LONGEST_TARGET = 100


class EntryAppender(Protocol):
    """Appends to the ledger: ``Ledger.append_entry``, awaited."""

    async def __call__(
        self, subject: str, action: str, reason: str, evidence: dict[str, Any], *, key: str
    ) -> LedgerEntry:
        """The entry; the one that is there where the key is known."""
        ...


@dataclass
class _Count:
    name: str
    target: str
    untold: int = 0
    told_in: int = -1
    """Minute of the last entry."""


class RefusalLog:
    """Counts refused requests until they are in the ledger. Belongs to one event loop.

    The first refusal of a kind and key in a minute makes an entry. Its count also holds the refusals of that kind and
    key that no earlier entry has told. So a hostile caller makes one entry a minute, and every refusal is counted.
    Refusals that are not told yet are lost when the process dies.

    Args:
        where: Names the process, as no other one is named.
        clock: Real time.
    """

    def __init__(self, where: str, clock: Clock | None = None) -> None:
        self._where = where
        self._clock = clock or SystemClock()
        self._counts: dict[tuple[RefusalKind, str, str], _Count] = {}

    def note(self, kind: RefusalKind, key: ApiKey | None, scope: str, target: str) -> None:
        """Count a refusal; cheap, and as many as there are kinds, keys and scopes are kept."""
        identity = (kind, _UNKNOWN if key is None else key.id, scope)
        name = "" if key is None else key.name
        count = self._counts.setdefault(identity, _Count(name, target[:_LONGEST_TARGET]))
        count.untold += 1

    async def tell(self, append: EntryAppender) -> None:
        """Have the ledger told what is due; what it does not take now is told later."""
        minute = int(self._clock.now().timestamp() // 60)
        for (kind, key_id, scope), count in list(self._counts.items()):
            if count.told_in == minute:
                continue
            if not count.untold:
                del self._counts[kind, key_id, scope]
                continue
            told = count.untold
            evidence = {"kind": kind, "key": key_id, "name": count.name, "count": told, "where": self._where}
            if scope:
                evidence |= {"scope": scope, "target": count.target}
            entry_key = f"{REFUSED}/{kind}/{key_id}/{scope}/{minute}"
            try:
                entry = await append(f"key:{key_id}", REFUSED, _REASONS[kind], evidence, key=entry_key)
            except RaymlopsError as error:
                _log.warning("%d refused requests could not be told to the ledger, later again: %s", told, error)
                return
            count.told_in = minute
            if entry.evidence.get("where") == self._where:  # else another replica told its own in this minute
                count.untold -= told
