"""The reading side of the feature store, for any process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from raymlops.clock import Clock, SystemClock
from raymlops.errors import NotFoundError, StorageError
from raymlops.features.catalog.applied import CatalogState, Definition, ResolvedView
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import (
    catalog_path,
    local_path,
    online_path,
    quarantine_path,
    tables_path,
    visible_path,
)
from raymlops.features.definitions.arguments import check_free, check_table_version, instant_us, pinned_tables
from raymlops.features.definitions.naming import check_text
from raymlops.features.definitions.schema import check_columns
from raymlops.features.definitions.services import FeatureService
from raymlops.features.discovery.descriptions import Discovery
from raymlops.features.intake.quarantine import quarantined_rows
from raymlops.features.offline.knowledge import known_features
from raymlops.features.offline.large_tables.bucketed_tables import BlockedTable, blocks_of
from raymlops.features.offline.request_rows import request_rows, with_integer_keys
from raymlops.features.offline.service_join import JoinTasks, join_service
from raymlops.features.offline.training_set import TrainingSet, TrainingSets, check_content, check_views
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.node_copy import DefinitionSource, NodeCopy, key_types_of
from raymlops.features.online.online_store import OnlineStore, Watermark
from raymlops.features.online.plan import OnlinePlan
from raymlops.records.features import QuarantinedRow, TrainingSetManifest
from raymlops.tables.columns import Reading, as_table, in_kind_of
from raymlops.tables.delta import DeltaTables
from raymlops.tables.files import Root, open_files, parse_root
from raymlops.tables.visibility import Visibility

__all__ = ["FeatureReader"]


class FeatureReader:
    """Reads features: online in this process, offline from the tables. Takes no lock that a writer could wait for.

    Thread-safe. It sees what the writing process commits, without being told.

    Args:
        root: Directory of the store, or its URI in an object store.
        clock: What ``at=None`` means, and the stamp of training sets.
        online: Another online store than the node's own.
        copy: Where the online side is read on a node that the writer does not run on.
        join_tasks: How large training sets are joined; ``None``: in this process, however large.
        local: Directory of the online store on this node; ``None``: the root, which must then be a directory.
        storage_options: Options of the object store; its secrets come from the environment.
    """

    def __init__(
        self,
        root: Root,
        *,
        clock: Clock | None = None,
        online: OnlineStore | None = None,
        copy: NodeCopy | None = None,
        join_tasks: JoinTasks | None = None,
        local: Path | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._root = self.root = root
        self._local = local
        self._visibility = (
            None
            if local is None and not isinstance(parse_root(root), Path)
            else Visibility(visible_path(local_path(root, local)))
        )
        self._training_sets = TrainingSets(root, storage_options)
        self._join_tasks = join_tasks
        self._clock = SystemClock() if clock is None else clock
        self._catalog: DefinitionSource = Catalog(catalog_path(root), storage_options) if copy is None else copy
        self._tables = DeltaTables(tables_path(root), storage_options)
        self._quarantine = DeltaTables(quarantine_path(root), storage_options)
        self._lock = threading.Lock()
        self._store = online
        self._copy = copy
        self._plans: dict[str, OnlinePlan] = {}
        self._compiled: tuple[CatalogState | None, dict[str, OnlinePlan]] = (None, {})
        """Plans by the name they were asked for by, as long as the definitions are these."""
        self.discovery = Discovery(
            open_files(parse_root(root), storage_options),
            self._training_sets,
            self._catalog,
            self._tables,
            self._clock,
            self._watermark,
        )
        """Statistics, freshness, lineage and search."""

    def service(self, name: str) -> FeatureService:
        """The service ``NAME@VERSION``, or the newest version of ``NAME``.

        Raises:
            FeatureViewNotFound: it is not applied.
        """
        return self._catalog.state().service(name)

    def definitions(self) -> list[Definition]:
        """All that is applied: entities, views, on-demand views, services; each kind by name and version."""
        return self._catalog.state().definitions()

    def plan(self, service: str) -> OnlinePlan:
        """Compile a service for reading; the same plan for the same version.

        Raises:
            FeatureViewNotFound: it is not applied.
            ConfigError: it has a view that is not kept online.
            StorageError: the online store does not exist yet, or cannot be opened.
            UnavailableError: this node's copy of it does not catch up with the writer in time.
        """
        state = self._catalog.state()
        compiled_from, compiled = self._compiled
        if compiled_from is state and service in compiled:
            return compiled[service]
        resolved = state.resolve(service)
        if self._copy is not None and resolved.service.ref not in self._plans:
            self._copy.await_views(resolved)  # not under the lock: this may take its time
        with self._lock:
            plan = self._plans.get(resolved.service.ref)
            if plan is None:
                plan = OnlinePlan(resolved, self._open_online(), self._key_types)
                self._plans[resolved.service.ref] = plan
            if self._compiled[0] is not state:
                self._compiled = (state, {})
            self._compiled[1][service] = plan
            return plan

    def _open_online(self) -> OnlineStore:
        if self._store is None:
            self._store = (
                LmdbOnlineStore(online_path(local_path(self._root, self._local)))
                if self._copy is None
                else self._copy.open()
            )
        return self._store

    def _watermark(self, view: str) -> Watermark | None:
        with self._lock:
            return self._open_online().watermark(view)

    def _key_types(self, resolved: ResolvedView) -> tuple[type, ...] | None:
        if self._copy is not None:
            return self._copy.key_types(resolved)
        if not self._tables.exists(resolved.table):
            return None
        return key_types_of(resolved, self._tables.schema(resolved.table))

    def online(
        self,
        service: str,
        entities: Any,
        at: datetime | None = None,
        *,
        as_given: bool = False,
        **reading: Unpack[Reading],
    ) -> Any:
        """Read features from the online store.

        Args:
            service: ``NAME`` or ``NAME@VERSION``.
            entities: Rows with the columns that the service's plan requests, as ``training_set`` takes a spine.
            at: The instant asked about; ``None``: now.
            as_given: Whether to give back the kind of frame that was given, in place of an Arrow table.
            reading: As in ``training_set``.

        Returns:
            The entities' rows and columns in their order, then one column ``VIEW__FIELD`` per feature.

        Raises:
            FeatureViewNotFound: the service is not applied.
            SchemaMismatch: a column is missing, or has the name of a feature.
            DataError: a value has the wrong type, or ``at`` lies before the history that is kept, or is naive.
            StorageError: the store cannot be read.
        """
        plan = self.plan(service)
        given, resolved = entities, self._catalog.state().resolve(service)
        entities = request_rows("entities", entities, resolved, self._key_types, reading)
        check_columns("entities", entities.column_names, plan.request_columns)
        check_free("entities", entities.column_names, plan.feature_columns)
        at_us = instant_us("at", self._clock.now() if at is None else at)
        rows = with_integer_keys("entities", entities.select(list(plan.request_columns)), resolved).to_pylist()
        if not plan.request_columns:
            rows = [{}] * entities.num_rows
        features = plan.table(plan.read(rows, [at_us] * len(rows)))
        result = entities
        for name in features.column_names:
            result = result.append_column(name, features[name])
        return in_kind_of(given, result) if as_given else result

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
        if version is not None:
            check_table_version(f"view {found.ref!r}", version)
        return self._tables.read(state.table_of(found), version=version, columns=found.table_columns)

    def blocks(self, view: str, version: int | None = None) -> tuple[str, int, BlockedTable]:
        """The rows of a view in blocks that are read where they are needed, for tables that do not fit in memory.

        Args:
            view: ``NAME`` or ``NAME@VERSION``.
            version: Version of the table; ``None``: the newest.

        Returns:
            The table's name, the version, and the blocks, which hold the columns the view reads.

        Raises:
            RaymlopsError: as ``table`` does.
        """
        state = self._catalog.state()
        found = state.view(view)
        if version is not None:
            check_table_version(f"view {found.ref!r}", version)
        table = state.table_of(found)
        with self._tables.opened(table, version) as handle:
            return table, int(handle.version()), blocks_of(table, handle, found.table_columns)

    def quarantine(self, view: str, ingest_id: str | None = None) -> list[QuarantinedRow]:
        """The rows of a view that ingests refused, in the order they came.

        Args:
            view: ``NAME`` or ``NAME@VERSION``.
            ingest_id: Only those of one ingest.

        Raises:
            FeatureViewNotFound: the view is not applied.
            StorageError: they cannot be read.
        """
        state = self._catalog.state()
        found = state.view(view)
        return quarantined_rows(self._quarantine, state.table_of(found), found.ref, ingest_id=ingest_id)

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
        **reading: Unpack[Reading],
    ) -> TrainingSet:
        """Join the features of a service to a spine, as of each row's ``event_time``, from pinned table versions.

        Args:
            service: ``NAME`` or ``NAME@VERSION``.
            spine: Keys, ``event_time``, request columns, label: a table or frame as ``as_table`` takes it, or the path
                of a Parquet or CSV file.
            name: Name of the training set.
            knowledge_cutoff: Leave out rows created after the spine row's instant.
            table_versions: Table -> version; the newest for tables not named. Tables that the service does not read
                may be there.
            reading: ``time_zone`` of naive times; ``round_times`` to microseconds.

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
        check_text("training set", "name", name)
        spine = request_rows("spine", spine, resolved, self._key_types, reading)
        pinned = pinned_tables(table_versions, state.tables())
        needed = sorted({view.table for view in resolved.views})
        versions = {table: pinned[table] if table in pinned else self._tables.version(table) for table in needed}
        table, late = join_service(
            resolved, spine, self._tables, versions, knowledge_cutoff=knowledge_cutoff, tasks=self._join_tasks
        )
        manifest = self._training_sets.write(
            name=name,
            service=resolved,
            spine=spine,
            table=table,
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
        spine = as_table("spine", spine)
        plain = spine.select([name for name in spine.column_names if name not in resolved.columns])
        table, _ = join_service(resolved, plain, self._tables, versions, knowledge_cutoff=False)
        return table.select(list(resolved.columns))

    def features_known_at(self, service: str, spine: Any, known_us: npt.NDArray[np.int64]) -> Any:
        """The features of a service as of each row's ``event_time``, from the rows that were known at another instant.

        A row is known from its created-at on, where it has one, and from when it was online, where that was recorded.

        Args:
            service: ``NAME`` or ``NAME@VERSION``.
            spine: N rows as for ``features_at``.
            known_us: N instants, microseconds since 1970: rows known later do not count.

        Returns:
            As ``features_at``, without the features of whose rows nobody says when they were known.

        Raises:
            RaymlopsError: as ``training_set`` does.
        """
        return known_features(self._catalog.state().resolve(service), spine, known_us, self._tables, self._visibility)

    def manifest(self, digest: str) -> TrainingSetManifest:
        """A manifest written by ``training_set``.

        Raises:
            NotFoundError: there is none with this digest.
            StorageError: it cannot be read.
        """
        return self._training_sets.manifest(digest)

    def rebuild(self, manifest: TrainingSetManifest) -> TrainingSet:
        """Build a training set again, from the same spine and the same table versions, and check that it is the same.

        Raises:
            DataError: the stored spine, the views or the rows are not those of the manifest. Where other code computed
                the rows, the message says so; where it computed the same ones, ``TrainingSet.code_changed`` does.
            StorageError: a table that the manifest pins, or its spine, was removed or cannot be read.
        """
        resolved = self._catalog.state().resolve(manifest.service)
        check_views(manifest, resolved)
        spine = self._training_sets.spine(manifest)
        try:
            table, _ = join_service(
                resolved,
                spine,
                self._tables,
                manifest.table_versions,
                knowledge_cutoff=manifest.knowledge_cutoff,
                tasks=self._join_tasks,
            )
        except NotFoundError as error:
            reason = f"training set {manifest.name!r}: what it pins was removed behind the store's back: {error}"
            raise StorageError(reason, digest=manifest.digest) from error
        check_content(manifest, table)
        return TrainingSet(manifest, table)

    def close(self) -> None:
        """Release the online store; plans of this reader must not be used any more."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None
            self._plans.clear()
            self._compiled = (None, {})
