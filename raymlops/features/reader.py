"""The reading side of the feature store, for any process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from raymlops.clock import Clock, SystemClock, to_us
from raymlops.errors import ConfigError, DataError
from raymlops.features.applied import ResolvedView
from raymlops.features.catalog import Catalog
from raymlops.features.delta import DeltaTables
from raymlops.features.layout import catalog_path, online_path, tables_path, training_sets_path
from raymlops.features.lmdb import LmdbOnlineStore
from raymlops.features.naming import parse_reference
from raymlops.features.online import OnlineStore
from raymlops.features.plan import OnlinePlan
from raymlops.features.schema import check_columns
from raymlops.features.service_join import join_service
from raymlops.features.services import Definition, FeatureService
from raymlops.features.training_set import TrainingSet, read_manifest, read_spine, write_manifest
from raymlops.records.features import TrainingSetManifest

__all__ = ["FeatureReader"]


class FeatureReader:
    """Reads features: online in this process, offline from the tables. Takes no lock that a writer could wait for.

    Thread-safe. It sees what the writing process commits, without being told.

    Args:
        root: Directory of the store.
        clock: What ``at=None`` means, and the stamp of training sets.
        online: Another online store than the node's own.
    """

    def __init__(self, root: Path, *, clock: Clock | None = None, online: OnlineStore | None = None) -> None:
        self._root = root
        self._clock = SystemClock() if clock is None else clock
        self._catalog = Catalog(catalog_path(root))
        self._tables = DeltaTables(tables_path(root))
        self._lock = threading.Lock()
        self._store = online
        self._plans: dict[str, OnlinePlan] = {}

    def service(self, name: str) -> FeatureService:
        """The service ``NAME@VERSION``, or the newest version of ``NAME``.

        Raises:
            FeatureViewNotFound: it is not applied.
        """
        return self._catalog.state().service(name)

    def definitions(self) -> list[Definition]:
        """All that is applied: entities, views, on-demand views, services; each kind by name and version."""
        state = self._catalog.state()
        found: list[Definition] = [state.entities[name] for name in sorted(state.entities)]
        found += [state.views[ref].view for ref in sorted(state.views, key=parse_reference)]
        found += [state.on_demand[ref].view for ref in sorted(state.on_demand, key=parse_reference)]
        found += [state.services[ref].service for ref in sorted(state.services, key=parse_reference)]
        return found

    def plan(self, service: str) -> OnlinePlan:
        """Compile a service for reading; the same plan for the same version.

        Raises:
            FeatureViewNotFound: it is not applied.
            ConfigError: it has a view that is not kept online.
            StorageError: the online store does not exist yet, or cannot be opened.
        """
        resolved = self._catalog.state().resolve(service)
        with self._lock:
            plan = self._plans.get(resolved.service.ref)
            if plan is None:
                if self._store is None:
                    self._store = LmdbOnlineStore(online_path(self._root))
                plan = self._plans[resolved.service.ref] = OnlinePlan(resolved, self._store, self._key_types)
            return plan

    def _key_types(self, resolved: ResolvedView) -> tuple[type, ...] | None:
        if not self._tables.exists(resolved.table):
            return None
        schema = self._tables.schema(resolved.table)
        return tuple(int if pa.types.is_integer(schema.field(key).type) else str for key in resolved.view.keys)

    def online(self, service: str, entities: Any, at: datetime | None = None) -> Any:
        """Read features from the online store.

        Args:
            service: ``NAME`` or ``NAME@VERSION``.
            entities: A table with the columns that the service's plan requests.
            at: The instant asked about; ``None``: now.

        Returns:
            The entities' rows and columns in their order, then one column ``VIEW__FIELD`` per feature.

        Raises:
            FeatureViewNotFound: the service is not applied.
            SchemaMismatch: a column is missing.
            DataError: a value has the wrong type, or ``at`` lies before the history that is kept, or is naive.
            StorageError: the store cannot be read.
        """
        plan = self.plan(service)
        check_columns("entities", entities.column_names, plan.request_columns)
        if at is not None and at.tzinfo is None:
            raise DataError(f"at must be tz-aware, got {at!r}")
        at_us = to_us(self._clock.now() if at is None else at)
        rows = entities.select(list(plan.request_columns)).to_pylist()
        if not plan.request_columns:
            rows = [{}] * entities.num_rows
        features = plan.table(plan.read(rows, [at_us] * len(rows)))
        result = entities
        for name in features.column_names:
            result = result.append_column(name, features[name])
        return result

    def table(self, view: str, version: int | None = None) -> Any:
        """The columns a view reads, all rows in the order they arrived.

        Args:
            view: ``NAME`` or ``NAME@VERSION``.
            version: Version of the table; ``None``: the newest.

        Raises:
            FeatureViewNotFound: the view is not applied.
            NotFoundError: nothing was ingested, or there is no such version.
            StorageError: the table cannot be read.
        """
        state = self._catalog.state()
        found = state.view(view)
        return self._tables.read(state.table_of(found), version=version, columns=found.table_columns)

    def table_versions(self) -> dict[str, int]:
        """The newest version of every table of an applied view into which something was ingested.

        Raises:
            StorageError: a table cannot be read.
        """
        tables = sorted(self._catalog.state().tables())
        return {table: self._tables.version(table) for table in tables if self._tables.exists(table)}

    def training_set(
        self,
        service: str,
        spine: Any,
        *,
        name: str,
        knowledge_cutoff: bool = False,
        table_versions: Mapping[str, int] | None = None,
    ) -> TrainingSet:
        """Join the features of a service to a spine, as of each row's ``event_time``, from pinned table versions.

        Args:
            service: ``NAME`` or ``NAME@VERSION``.
            spine: Keys, ``event_time``, request columns, label.
            name: Name of the training set.
            knowledge_cutoff: Leave out rows created after the spine row's instant.
            table_versions: Table -> version; the newest for tables not named. Tables that the service does not read
                may be there.

        Raises:
            FeatureViewNotFound: the service is not applied.
            NotFoundError: nothing was ingested into one of its tables, or there is no such version.
            ConfigError: a table is named that no view has.
            SchemaMismatch: the spine lacks a column, or its types do not fit.
            DataError: the spine has a null instant.
            StorageError: a table cannot be read, or the manifest not written.
        """
        state = self._catalog.state()
        resolved = state.resolve(service)
        pinned = dict(table_versions or {})
        unknown = sorted(pinned.keys() - state.tables())
        if unknown:
            raise ConfigError(f"table_versions must name tables of applied views, got {unknown}", tables=unknown)
        needed = sorted({view.table for view in resolved.views})
        versions = {table: pinned[table] if table in pinned else self._tables.version(table) for table in needed}
        table, late = join_service(resolved, spine, self._tables, versions, knowledge_cutoff=knowledge_cutoff)
        manifest = write_manifest(
            training_sets_path(self._root),
            name=name,
            service=resolved,
            spine=spine,
            table_versions=versions,
            late_rows=late,
            knowledge_cutoff=knowledge_cutoff,
            created_at=self._clock.now(),
        )
        return TrainingSet(manifest, table)

    def features_at(self, service: str, spine: Any) -> Any:
        """The features of a service as of each spine row's ``event_time``, from the newest tables, without a manifest.

        Args:
            service: ``NAME`` or ``NAME@VERSION``.
            spine: Keys, ``event_time`` and request columns; feature columns in it are ignored.

        Returns:
            One column ``VIEW__FIELD`` per feature of the service, rows in the spine's order.

        Raises:
            RaymlopsError: as ``training_set`` does.
        """
        resolved = self._catalog.state().resolve(service)
        versions = {view.table: self._tables.version(view.table) for view in resolved.views}
        plain = spine.select([name for name in spine.column_names if name not in resolved.columns])
        table, _ = join_service(resolved, plain, self._tables, versions, knowledge_cutoff=False)
        return table.select(list(resolved.columns))

    def describe(self) -> list[dict[str, Any]]:
        """What is applied, entities first, then views and services, each kind by name: plain values for people."""
        state = self._catalog.state()
        entities = [
            {"kind": "entity", "name": name, "version": None, "fields": list(entity.keys)}
            for name, entity in sorted(state.entities.items())
        ]
        views = [
            {
                "kind": "view",
                "name": view.name,
                "version": view.version,
                "entity": view.entity if isinstance(view.entity, str) else view.entity.name,
                "fields": list(view.feature_names),
                "owner": view.owner,
                "description": view.description,
            }
            for view in (applied.view for _, applied in sorted(state.views.items()))
        ]
        services = [
            {"kind": "service", "name": service.name, "version": service.version, "fields": list(service.features)}
            for service in (applied.service for _, applied in sorted(state.services.items()))
        ]
        return [*entities, *views, *services]

    def manifest(self, digest: str) -> TrainingSetManifest:
        """A manifest written by ``training_set``.

        Raises:
            NotFoundError: there is none with this digest.
            StorageError: it cannot be read.
        """
        return read_manifest(training_sets_path(self._root), digest)

    def rebuild(self, manifest: TrainingSetManifest) -> TrainingSet:
        """Build a training set again, from the same spine and the same table versions.

        Raises:
            DataError: the stored spine is not the one of the manifest.
            RaymlopsError: as ``training_set`` does.
        """
        return self.training_set(
            manifest.service,
            read_spine(manifest),
            name=manifest.name,
            knowledge_cutoff=manifest.knowledge_cutoff,
            table_versions=manifest.table_versions,
        )

    def close(self) -> None:
        """Release the online store; plans of this reader must not be used any more."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None
            self._plans.clear()
