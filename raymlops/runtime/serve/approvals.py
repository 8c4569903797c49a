"""Approvals of bundles that are asked for over HTTP."""

from __future__ import annotations

import asyncio

from raymlops.config.platform import PlatformConfig
from raymlops.errors import NotFoundError
from raymlops.records.keys import ApiKey
from raymlops.records.ledger import LedgerEntry
from raymlops.runtime.cluster.clients import metadata_stores
from raymlops.runtime.cluster.clocks import build_clock

__all__ = ["Approvals"]


class Approvals:
    """Has the operator of bundles approve, off the event loop; it reads the bundle's files and checks every hash."""

    def __init__(self, config: PlatformConfig) -> None:
        self._config = config

    async def approve(self, bundle: str, environment: str, *, key: ApiKey, reason: str) -> LedgerEntry:
        """Approve in the name of the key: the rule of four eyes compares names with the builder's and the author's.

        Raises:
            NotFoundError: There is no such bundle.
        """
        return await asyncio.to_thread(self._approve, bundle, environment, key, reason)

    def _approve(self, bundle: str, environment: str, key: ApiKey, reason: str) -> LedgerEntry:
        from raymlops.runtime.jobs.delivery_operator import DeliveryOperator

        if not (self._config.home / "bundles" / bundle).is_dir():
            raise NotFoundError(f"bundle {bundle} does not exist", bundle=bundle)
        operator = DeliveryOperator(self._config, metadata_stores(), build_clock(self._config))
        return operator.approve(bundle, environment, by=key.name, reason=reason, key_id=key.id)
