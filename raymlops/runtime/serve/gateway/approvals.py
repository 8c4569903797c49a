"""Approvals of bundles that are asked for over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from raymlops.delivery.admission.approval import approve_bundle
from raymlops.delivery.verify import verify_bundle
from raymlops.errors import NotFoundError
from raymlops.records.ledger import Ledger, LedgerEntry
from raymlops.records.serving.keys import ApiKey

__all__ = ["Approvals"]


class Approvals:
    """Approves bundles off the event loop: their files are read, and every hash is checked.

    Args:
        home: The platform's directory.
        ledger: Gives the ledger that approvals are recorded in.
    """

    def __init__(self, home: Path, ledger: Callable[[], Ledger]) -> None:
        self._bundles = home / "bundles"
        self._ledger = ledger

    async def approve(self, bundle: str, environment: str, *, key: ApiKey, reason: str) -> LedgerEntry:
        """Approve in the name of the key's owner, and note the key: rules count no approval without one.

        Raises:
            NotFoundError: There is no such bundle.
        """
        return await asyncio.to_thread(self._approve, bundle, environment, key, reason)

    def _approve(self, bundle: str, environment: str, key: ApiKey, reason: str) -> LedgerEntry:
        place = self._bundles / bundle
        if not place.is_dir():
            raise NotFoundError(f"bundle {bundle} does not exist", bundle=bundle)
        return approve_bundle(verify_bundle(place), environment, key.name, self._ledger(), reason, key_id=key.id)
