"""Changes since a champion was trained, in its data and its code."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from raymlops.clock import Clock
from raymlops.control.triggering.model_policies import LiveBundle
from raymlops.control.triggering.news import NewCode, NewData, TableGrowth, code_digest
from raymlops.errors import NotFoundError, StorageError
from raymlops.records.bundles import BundleManifest, DeploymentStore
from raymlops.records.models import ModelRegistry
from raymlops.records.runs import RunStore

__all__ = ["ChampionNews", "TableRows", "TrainingRecords"]

_log = logging.getLogger(__name__)

TableRows = Callable[[str | None, str, int | None], tuple[int, int]]
"""Environment, table, and a version of it or ``None`` for the newest -> that version's number and its rows.

Raises ``NotFoundError`` where there is no such table, or the version is no longer known."""


class TrainingRecords(Protocol):
    """The stores that tell what a version was made from."""

    models: ModelRegistry
    runs: RunStore
    deployments: DeploymentStore


class ChampionNews:
    """Compares what a version was made from with what there is now. One caller at a time per model.

    Args:
        records: Tell what a version was made from.
        bundle_of: Model -> the bundle that trains it now.
        rows_of: Tells how large a table is, and was.
        clock: Tells how old an answer is.
    """

    def __init__(
        self,
        records: TrainingRecords,
        bundle_of: Callable[[str], LiveBundle | None],
        rows_of: TableRows,
        clock: Clock,
    ) -> None:
        self._records = records
        self._bundle_of = bundle_of
        self._rows_of = rows_of
        self._clock = clock
        self._data: dict[str, tuple[int, datetime, NewData | None]] = {}
        self._trained_rows: dict[tuple[str | None, str, int], int] = {}
        self._trained_by: dict[str, tuple[int, BundleManifest | None]] = {}

    def new_data(self, model: str, version: int, every: timedelta) -> NewData | None:
        """As of ``Observer``."""
        now = self._clock.now()
        known = self._data.get(model)
        if known is not None and known[0] == version and timedelta() <= now - known[1] < every:
            return known[2]
        champion = self._records.models.get_version(model, version)
        looked = {table: self._growth(champion.environment, table, at) for table, at in champion.table_versions.items()}
        grown = {table: found for table, found in looked.items() if found is not None}
        data = NewData(tables=grown) if grown else None
        self._data[model] = (version, now, data)
        return data

    def new_code(self, model: str, version: int) -> NewCode | None:
        """As of ``Observer``."""
        live, trained = self._bundle_of(model), self._manifest_of(model, version)
        if live is None or trained is None or live.manifest.digest == trained.digest:
            return None
        if code_digest(live.manifest) == code_digest(trained):
            return None
        names = sorted(trained.files.keys() | live.manifest.files.keys())
        differing = tuple(name for name in names if trained.files.get(name) != live.manifest.files.get(name))
        return NewCode(
            champion_bundle=trained.digest,
            bundle=live.manifest.digest,
            deployed_at=live.deployment.at,
            files=differing,
        )

    def _growth(self, environment: str | None, table: str, trained_version: int) -> TableGrowth | None:
        """``None`` where a table, or the version that was read, is gone or cannot be read: the loop goes on without."""
        key = (environment, table, trained_version)
        try:
            if key not in self._trained_rows:
                self._trained_rows[key] = self._rows_of(environment, table, trained_version)[1]
            version, rows = self._rows_of(environment, table, None)
        except (NotFoundError, StorageError) as error:
            _log.warning("what came into table %s since version %d is not known: %s", table, trained_version, error)
            return None
        return TableGrowth(trained_version=trained_version, version=version, rows=rows - self._trained_rows[key])

    def _manifest_of(self, model: str, version: int) -> BundleManifest | None:
        """The bundle that a version came from; ``None`` of one that was registered by hand."""
        known = self._trained_by.get(model)
        if known is None or known[0] != version:
            run_id = self._records.models.get_version(model, version).run_id
            bundle = None if run_id is None else self._records.runs.get_run(run_id).bundle
            manifest = None if bundle is None else self._records.deployments.get_bundle(bundle)
            known = self._trained_by[model] = (version, manifest)
        return known[1]
