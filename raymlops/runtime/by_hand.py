"""Orders of people: each is in the ledger, with the person and the reason, before it is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from raymlops import runtime
from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.metadata.garbage import Garbage, GarbageReport, collect_garbage
from raymlops.records.features import ApplyReport, VacuumReport
from raymlops.records.record import sha256_of
from raymlops.runtime.cluster.people import record_once

if TYPE_CHECKING:
    from raymlops.features import Definition
    from raymlops.metadata import Metadata

__all__ = ["ByHand", "FeatureWriter"]

_ON_DEMAND = "on demand"
_DEFINITIONS, _TABLES, _HOME = "platform:definitions", "platform:tables", "platform:home"
"""Subjects of the entries; no model can have a name with a colon."""


class FeatureWriter(Protocol):
    """The part of the feature store that orders use; ``FeatureStore`` implements it."""

    def apply(self, *definitions: Definition, dry_run: bool = False) -> ApplyReport:
        """Add definitions, or tell what would be added."""
        ...

    def vacuum(self, *, retention: timedelta, dry_run: bool) -> VacuumReport:
        """Remove files that no version needs, or list them."""
        ...


class ByHand:
    """Changes of the whole platform that a person asks for, each recorded first.

    Args:
        config: The platform's configuration.
        metadata: The ledger, and what garbage collection asks.
        store: The feature store.
        clock: Tells which runs ended long ago.
        environment: Whose feature store it is; ``None``: the platform's own.
    """

    def __init__(
        self,
        config: PlatformConfig,
        metadata: Metadata,
        store: FeatureWriter,
        clock: Clock,
        environment: str | None = None,
    ) -> None:
        self._config = config
        self._place = config.feature_place(environment)
        self._metadata = metadata
        self._store = store
        self._clock = clock

    def apply(self, definitions: Sequence[Definition], *, dry_run: bool, reason: str = _ON_DEMAND) -> ApplyReport:
        """Add definitions, all or none; as ``FeatureStore.apply``."""
        told = self._store.apply(*definitions, dry_run=True)
        if dry_run:
            return told
        if not told.faults and (told.added or told.changed):
            facts = told.model_dump(mode="json", include={"added", "changed"})
            record_once(self._metadata.ledger, _DEFINITIONS, "apply", reason, {**facts, **self._where})
        return self._store.apply(*definitions)

    def vacuum(self, *, retention: timedelta, dry_run: bool, reason: str = _ON_DEMAND) -> VacuumReport:
        """Remove files that no version needs; as ``FeatureStore.vacuum``."""
        told = self._store.vacuum(retention=retention, dry_run=True)
        if dry_run:
            return told
        if told.files:
            facts = told.model_dump(mode="json", include={"retention_s", "tables"})
            # Two removals of as many files are told apart by the tables' versions.
            versions = {table.table: self._table_version(table.table) for table in told.tables if table.files}
            record_once(
                self._metadata.ledger, _TABLES, "vacuum", reason, {**facts, "versions": versions, **self._where}
            )
        return self._store.vacuum(retention=retention, dry_run=False)

    def collect_garbage(
        self, keep: timedelta, grace: timedelta, *, remove: bool, reason: str = _ON_DEMAND
    ) -> GarbageReport:
        """Find files and records without a user, and remove them where asked to."""

        def record(found: Sequence[Garbage]) -> None:
            facts: dict[str, Any] = {
                "keep_s": keep.total_seconds(),
                "grace_s": grace.total_seconds(),
                "things": len(found),
                "bytes": sum(each.bytes for each in found),
                # A path that is made again later, and removed again, is told apart by its time.
                "found": sha256_of([(each.path, _changed_ns(each.path)) for each in found]),
            }
            record_once(self._metadata.ledger, _HOME, "collect_garbage", reason, facts)

        return collect_garbage(
            self._config.home, self._metadata, self._clock.now(), keep=keep, grace=grace, remove=remove, record=record
        )

    def rebuild_mlflow(self) -> int:
        """Bring MLflow up to date from the store alone; returns how many runs, versions and aliases were written."""
        return runtime.rebuild_projection(self._config)

    def _table_version(self, table: str) -> int:
        return FeatureFiles.at(self._place).tables.version(table)

    @property
    def _where(self) -> dict[str, str]:
        """Tells entries of another environment than the platform's own apart."""
        return {} if self._place.environment is None else {"environment": self._place.environment}


def _changed_ns(path: str) -> int:
    try:
        return Path(path).lstat().st_mtime_ns
    except FileNotFoundError:
        return 0
