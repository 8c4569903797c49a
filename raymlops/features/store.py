"""The feature store: definitions, tables and the online store behind one door, for one writing process."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa

from raymlops.clock import Clock
from raymlops.errors import ConfigError, SchemaMismatch
from raymlops.features.catalog.applied import Definition, by_history
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import (
    catalog_path,
    local_path,
    online_path,
    quarantine_path,
    staging_path,
    tables_path,
    visible_path,
)
from raymlops.features.definitions.naming import check_text
from raymlops.features.intake.continued import continued_rows
from raymlops.features.intake.ingester import Ingester
from raymlops.features.intake.row_batches import IngestOptions
from raymlops.features.offline.table_batches import read_batches
from raymlops.features.offline.training_set import TrainingSets, table_digest
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.materializer import Fresh, Materializer
from raymlops.features.online.online_store import OnlineStore
from raymlops.records.features import ApplyReport, IngestReceipt, MaterializeReceipt, VacuumReport
from raymlops.tables.columns import as_table
from raymlops.tables.delta import DeltaTables
from raymlops.tables.files import Root, open_files
from raymlops.tables.staging import Staging
from raymlops.tables.vacuum import pinned_versions, vacuum_table
from raymlops.tables.visibility import Visibility

__all__ = ["FeatureStore"]

_ABANDONED = timedelta(days=1)
"""Blocks that nobody added to for so long are let go at the next start."""


class FeatureStore:
    """Takes definitions and rows in, and keeps the online store up to date.

    Thread-safe; one process at a time may hold it for a root, any number of ``FeatureReader`` beside it. Rows are on
    disk before a call returns. Ingests are idempotent by their id and materialisation by its watermark, which is
    committed together with the rows: a call that was cut off at any instruction may be repeated, and what an earlier
    process ingested but did not materialise is made up for at the start.

    Args:
        root: Directory of the store, made if need be, or its URI in an object store.
        clock: Stamps rows without a created-at, and bounds how much history the online store lets go.
        history: How far back from now online reads stay exact. Beyond it they are refused, where rows were let go.
        online: Another online store than the node's own; closed with this one, and where this one cannot be opened.
        local: Directory of what stays on this node; ``None``: the root, which must then be a directory.
        storage_options: Options of the object store; its secrets come from the environment.

    Raises:
        StorageError: the store cannot be opened.
    """

    def __init__(
        self,
        root: Root,
        *,
        clock: Clock,
        history: timedelta = timedelta(0),
        online: OnlineStore | None = None,
        local: Path | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        if history < timedelta(0):
            raise ConfigError(f"history must not be negative, got {history!r}")
        local = local_path(root, local)
        self._clock = clock
        self._lock = threading.RLock()
        self._catalog = Catalog(catalog_path(root), storage_options)
        self._tables = DeltaTables(tables_path(root), storage_options)
        self._quarantine = DeltaTables(quarantine_path(root), storage_options)
        self._table_files = open_files(tables_path(root), storage_options)
        self._training_sets = TrainingSets(root, storage_options)
        self._staging = Staging(staging_path(local))
        self._ingester = Ingester(self._catalog, self._tables, self._quarantine, clock, staging_path(local))
        self._online = LmdbOnlineStore(online_path(local), writable=True) if online is None else online
        visibility = Visibility(visible_path(local))
        self._materializer = Materializer(self._tables, self._online, clock, history, visibility)
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def apply(self, *definitions: Definition, dry_run: bool = False, withdraw: Collection[str] = ()) -> ApplyReport:
        """Add definitions, all or none.

        Args:
            definitions: In any order. A view that continues another gets its rows before this returns; where this is
                cut off, at the next apply or start.
            dry_run: Write nothing; what would be refused is in the report instead of raised.
            withdraw: What was applied and came to no use, as an ``ApplyReport`` names it, and is taken back before;
                what has rows, or is needed by others, stays.

        Raises:
            AlreadyRegistered: a definition differs from the one of its name and version.
            FeatureViewNotFound: none does, but one refers to what is not applied.
            ConfigError: neither, but a definition does not fit what it refers to, or an on-demand function does not do
                what it must. One error tells every fault of every definition; ``context["faults"]`` lists them.
            StorageError: nothing was written.
        """
        with self._lock:
            if withdraw and not dry_run:
                self._catalog.withdraw(withdraw, lambda table: _newest_of(self._tables, table) is not None)
            report = self._catalog.apply(definitions, dry_run=dry_run, newest_of=partial(_newest_of, self._tables))
            if not dry_run:
                self._continue_views()
            return report

    def ingest(
        self,
        view: str,
        table: Any,
        *,
        ingest_id: str | None = None,
        **options: Unpack[IngestOptions],
    ) -> IngestReceipt:
        """Append rows to the table of a view, all in one commit or none.

        Args:
            view: ``NAME`` or ``NAME@VERSION`` of a view that has its own table.
            table: The view's keys, times and fields; a table or frame as ``as_table`` takes it.
            ingest_id: The same id again changes nothing. ``None``: made from the rows, so that the same rows again
                change nothing.
            options: ``on_invalid``, where some rows break a rule: ``reject`` all, or ``quarantine`` those and append
                the others; ``extra_columns``, where the view lacks some columns: ``refuse`` or ``ignore`` these;
                ``time_zone`` of naive times, where it is not the view's; ``round_times`` to microseconds.

        Raises:
            FeatureViewNotFound: the view is not applied.
            ConfigError: the view reads another view's table.
            ConflictError: the ingest id came with other rows before.
            SchemaMismatch: columns or types are not the declared ones; the message tells all such faults.
            DataError: rows break a constraint; the message tells the rules, how many rows break them, and the first.
            StorageError: nothing was written, or only the quarantine was; repeat.
        """
        return self._ingest(view, table, ingest_id, options)[0]

    def stage(self, staged: str, number: int, table: Any) -> None:
        """Hand over a block of rows that do not fit in one call, for ``ingest_staged``.

        Args:
            staged: 32 hexadecimal digits, new for every ingest.
            number: Of the block, from 0; the same again replaces it.
            table: As in ``ingest``.

        Raises:
            StorageError: it was not kept.
        """
        self._staging.put(staged, number, as_table(f"block {number}", table))

    def ingest_staged(
        self,
        view: str,
        staged: str,
        blocks: int,
        *,
        ingest_id: str,
        text: bool = False,
        **options: Unpack[IngestOptions],
    ) -> IngestReceipt:
        """Append all staged blocks to the table of a view, in one commit or none; ``discard`` them afterwards.

        Args:
            view: As in ``ingest``.
            staged: As in ``stage``.
            blocks: How many there are.
            ingest_id: As in ``ingest``.
            text: Whether values are texts, to be read as the declared types.
            options: As in ``ingest``.

        Raises:
            RaymlopsError: as ``ingest`` does; ``DataError`` also where a block is missing.
        """
        check_text(f"view {view!r}", "ingest_id", ingest_id)
        tables = self._staging.tables(staged, blocks)
        return self._ingester.ingest(view, tables, ingest_id=ingest_id, text=text, **options)[0]

    def discard(self, staged: str) -> None:
        """Let staged blocks go; nothing where there are none."""
        self._staging.discard(staged)

    def vacuum(self, *, retention: timedelta = timedelta(days=7), dry_run: bool = True) -> VacuumReport:
        """Remove files that no version needs which training sets are made of or which is still being read.

        Args:
            retention: Versions that were the newest within this time stay readable, for whoever is reading them or has
                pinned them for a run that is under way.
            dry_run: Only tell.

        Raises:
            ConfigError: the retention is negative.
            StorageError: a table or a manifest cannot be read, or a pinned version is gone.
        """
        if retention < timedelta(0):
            raise ConfigError(f"retention must not be negative, got {retention!r}")
        pins = pinned_versions(self._training_sets.manifests())
        found = tuple(
            vacuum_table(
                self._tables,
                self._table_files,
                table,
                pins=pins.get(table, set()),
                retention=retention,
                dry_run=dry_run,
            )
            for table in sorted(self._catalog.state().tables())
            if self._tables.exists(table)
        )
        return VacuumReport(dry_run=dry_run, retention_s=retention.total_seconds(), tables=found)

    def materialize(self, view: str | None = None) -> list[MaterializeReceipt]:
        """Bring the online store up to the newest table versions.

        Args:
            view: One view; ``None``: all that are kept online.

        Returns:
            One receipt per view that has rows, by name.

        Raises:
            FeatureViewNotFound: the view is not applied.
            ConfigError: the view is not kept online.
            StorageError: nothing was written for the views of some table.
        """
        with self._lock:
            state = self._catalog.state()
            views = [applied.view for applied in state.views.values() if applied.view.online]
            if view is not None:
                views = [state.view(view)]
                if not views[0].online:
                    raise ConfigError(f"view {view!r} is not kept online", view=view)
            return self._materializer.views(state, views)

    def push(
        self,
        view: str,
        table: Any,
        *,
        ingest_id: str,
        **options: Unpack[IngestOptions],
    ) -> IngestReceipt:
        """Ingest rows and bring all views on their table up to date online, in one commit for all of them.

        Args:
            view: As in ``ingest``.
            table: As in ``ingest``.
            ingest_id: As in ``ingest``. A repeat after a crash completes what is missing.
            options: As in ``ingest``.

        Raises:
            RaymlopsError: as ``ingest`` and ``materialize`` do. After a StorageError the rows may be ingested; repeat.
        """
        with self._lock:
            receipt, fresh = self._ingest(view, table, ingest_id, options)
            views = [found for found in self._catalog.state().views_on(receipt.table) if found.online]
            self._materializer.table(receipt.table, views, fresh)
            return receipt

    def close(self) -> None:
        """Release the online store, after what is written to it; the feature store must not be used any more."""
        with self._lock:
            self._online.close()

    def _ingest(
        self, view: str, table: Any, ingest_id: str | None, options: IngestOptions
    ) -> tuple[IngestReceipt, Fresh | None]:
        table = as_table(f"view {view!r}: what is ingested", table)
        if ingest_id is not None:
            check_text(f"view {view!r}", "ingest_id", ingest_id)
        if ingest_id is None:
            try:
                ingest_id = table_digest(table)
            except pa.ArrowException as error:
                reason = f"view {view!r}: what is ingested must have types that can be stored: {error}"
                raise SchemaMismatch(reason) from error
        return self._ingester.ingest(view, [table], ingest_id=ingest_id, **options)

    def _continue_views(self) -> None:
        """Give views that continue others the rows they begin with; online, too, where the former view is online."""
        state = self._catalog.state()
        begun = {ref: applied for ref, applied in state.views.items() if applied.continued_version is not None}
        for ref in by_history(begun):
            view, ingest_id = begun[ref].view, f"rows of {begun[ref].view.continues}"
            former = state.views[str(view.continues)].view
            if not _is_ingested(self._tables, state.table_of(view), ingest_id):
                version = begun[ref].continued_version
                rows = read_batches(self._tables, state.table_of(former), former.table_columns, version)
                tables = map(partial(continued_rows, view, former), rows)
                self._ingester.ingest(ref, tables, ingest_id=ingest_id, on_invalid="quarantine")
            if view.online and self._online.watermark(ref) is None and self._online.watermark(former.ref) is not None:
                self._materializer.views(state, [view])

    def _recover(self) -> None:
        self._staging.sweep(_ABANDONED)
        self._continue_views()
        state = self._catalog.state()
        views = [applied.view for applied in state.views.values() if applied.view.online]
        self._materializer.views(state, [view for view in views if self._online.watermark(view.ref) is not None])


def _newest_of(tables: DeltaTables, table: str) -> tuple[int, Any] | None:
    return (tables.version(table), tables.schema(table)) if tables.exists(table) else None


def _is_ingested(tables: DeltaTables, table: str, ingest_id: str) -> bool:
    if not tables.exists(table):
        return False
    with tables.opened(table) as handle:
        return handle.transaction_version(ingest_id) is not None
