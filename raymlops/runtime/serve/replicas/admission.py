"""Admission of callers to a replica: by the keys of the store, until the replica takes no further request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from raymlops.records.ledger import Ledger, LedgerEntry
from raymlops.records.serving.keys import KeyStore
from raymlops.serving.protocol.access import CLOSED, Access
from raymlops.serving.protocol.refusal_log import RefusalLog

__all__ = ["Admission"]

_log = logging.getLogger(__name__)

_GRACE_S = 10.0
"""How long requests under way have to end where their replica is stopped."""
_POLL_S = 0.02


class _Records(Protocol):
    @property
    def keys(self) -> KeyStore: ...
    @property
    def ledger(self) -> Ledger: ...


class Admission:
    """Replaces the keys that may call again and again. All methods belong to one event loop.

    Args:
        admit: Replaces the keys, from the next request on.
        records: The stores of the keys and of the ledger, which records refusals.
        required: Whether a key is asked for at all.
        replica: Name of the replica, for the ledger.
    """

    def __init__(self, admit: Callable[[Access], None], records: _Records, *, required: bool, replica: str) -> None:
        self._admit = admit
        self._records = records
        self._required = required
        self._closed = False
        self._refusals = RefusalLog(replica)

    async def refresh(self) -> None:
        """Let those in who have a key by now, and have the ledger know who had none.

        Raises:
            RaymlopsError: The keys cannot be read; those that are known go on.
        """
        if not self._required:
            return
        keys = await asyncio.to_thread(self._records.keys.list_keys)
        if not self._closed:  # it may have been closed meanwhile
            self._admit(Access(keys, refusals=self._refusals))
        await self._refusals.tell(self._append)

    async def close(self, in_flight: Callable[[], int], what: str) -> None:
        """Refuse further requests, and wait for a short time until those under way have ended.

        Args:
            in_flight: How many are under way.
            what: The name of the replica, for the log.
        """
        self._closed = True
        self._admit(CLOSED)
        try:
            async with asyncio.timeout(_GRACE_S):
                while in_flight():
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            _log.warning("requests of %s are under way after %g s", what, _GRACE_S)

    async def _append(
        self, subject: str, action: str, reason: str, evidence: dict[str, Any], *, key: str
    ) -> LedgerEntry:
        return await asyncio.to_thread(self._records.ledger.append_entry, subject, action, reason, evidence, key=key)
