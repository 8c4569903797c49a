"""The feature store: definitions, tables and the online store behind one door, for one writing process."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from raymlops.clock import Clock
from raymlops.errors import ConfigError
from raymlops.features.catalog import Catalog
from raymlops.features.delta import DeltaTables
from raymlops.features.layout import catalog_path, online_path, tables_path
from raymlops.features.lmdb import LmdbOnlineStore
from raymlops.features.materializer import Fresh, Materializer
from raymlops.features.online import OnlineStore
from raymlops.features.schema import check_values, conform
from raymlops.features.services import Definition
from raymlops.features.training_set import table_digest
from raymlops.records.features import ApplyReport, IngestReceipt, MaterializeReceipt

__all__ = ["FeatureStore"]


class FeatureStore:
    """Takes definitions and rows in, and keeps the online store up to date.

    Thread-safe; one process at a time may hold it for a root, any number of ``FeatureReader`` beside it. Rows are on
    disk before a call returns. Ingests are idempotent by their id and materialisation by its watermark, which is
    committed together with the rows: a call that was cut off at any instruction may be repeated, and what an earlier
    process ingested but did not materialise is made up for at the start.

    Args:
        root: Directory of the store; made if need be.
        clock: Stamps rows without a created-at, and bounds how much history the online store lets go.
        history: How far back from now online reads stay exact. Beyond it they are refused, where rows were let go.
        online: Another online store than the node's own.

    Raises:
        StorageError: the store cannot be opened.
    """

    def __init__(
        self, root: Path, *, clock: Clock, history: timedelta = timedelta(0), online: OnlineStore | None = None
    ) -> None:
        if history < timedelta(0):
            raise ConfigError(f"history must not be negative, got {history!r}")
        self._clock = clock
        self._lock = threading.RLock()
        self._catalog = Catalog(catalog_path(root))
        self._tables = DeltaTables(tables_path(root))
        self._online = LmdbOnlineStore(online_path(root), writable=True) if online is None else online
        self._materializer = Materializer(self._tables, self._online, clock, history)
        self._recover()

    def apply(self, *definitions: Definition) -> ApplyReport:
        """Add definitions, all or none.

        Raises:
            AlreadyRegistered: a definition differs from the one of its name and version.
            ConfigError: a definition refers to what does not fit it.
            FeatureViewNotFound: a definition refers to what is not applied.
            StorageError: nothing was written.
        """
        with self._lock:
            return self._catalog.apply(definitions)

    def ingest(self, view: str, table: Any, *, ingest_id: str | None = None) -> IngestReceipt:
        """Append rows to the table of a view, all or none.

        Args:
            view: ``NAME`` or ``NAME@VERSION`` of a view that has its own table.
            table: The view's keys, times and fields, and nothing else.
            ingest_id: The same id again changes nothing. ``None``: made from the rows, so that the same rows again
                change nothing.

        Raises:
            FeatureViewNotFound: the view is not applied.
            ConfigError: the view reads another view's table.
            SchemaMismatch: columns or types are not the declared ones.
            DataError: rows break a constraint; the message names them.
            StorageError: nothing was written.
        """
        with self._lock:
            return self._ingest(view, table, ingest_id)[0]

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

    def push(self, view: str, table: Any, *, ingest_id: str) -> IngestReceipt:
        """Ingest rows and bring all views on their table up to date online, in one commit for all of them.

        Args:
            view: As in ``ingest``.
            table: As in ``ingest``.
            ingest_id: As in ``ingest``. A repeat after a crash completes what is missing.

        Raises:
            RaymlopsError: as ``ingest`` and ``materialize`` do. After a StorageError the rows may be ingested; repeat.
        """
        with self._lock:
            receipt, fresh = self._ingest(view, table, ingest_id)
            views = [found for found in self._catalog.state().views_on(receipt.table) if found.online]
            self._materializer.table(receipt.table, views, fresh)
            return receipt

    def close(self) -> None:
        """Release the online store; the feature store must not be used any more."""
        self._online.close()

    def _ingest(self, name: str, table: Any, ingest_id: str | None) -> tuple[IngestReceipt, Fresh | None]:
        state = self._catalog.state()
        view = state.view(name)
        if view.source is not None:
            raise ConfigError(f"view {name!r} reads the table of {view.source!r}: ingest there", view=name)
        rows = conform(view, table, created_at=self._clock.now(), exact=True)
        check_values(view, rows)
        ingest_id = table_digest(table) if ingest_id is None else ingest_id
        target = state.table_of(view)
        version, duplicate = self._tables.append(target, rows, ingest_id=ingest_id)
        receipt = IngestReceipt(
            table=target, table_version=version, rows=rows.num_rows, ingest_id=ingest_id, duplicate=duplicate
        )
        if duplicate:
            return receipt, None
        return receipt, Fresh(rows, self._tables.last_sequence(target) + 1 - rows.num_rows)

    def _recover(self) -> None:
        state = self._catalog.state()
        views = [applied.view for applied in state.views.values() if applied.view.online]
        self._materializer.views(state, [view for view in views if self._online.watermark(view.ref) is not None])
