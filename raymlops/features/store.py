"""The feature store: definitions, tables and the online store behind one door, for one writing process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raymlops.clock import Clock, to_us
from raymlops.errors import ConfigError, StorageError
from raymlops.features.applied import CatalogState
from raymlops.features.catalog import Catalog
from raymlops.features.definitions import FeatureView
from raymlops.features.delta import DeltaTables
from raymlops.features.layout import catalog_path, online_path, tables_path
from raymlops.features.lmdb import LmdbOnlineStore
from raymlops.features.online import OnlineStore, ViewUpdate, Watermark, address
from raymlops.features.runs import Run, RunLayout, runs_of
from raymlops.features.schema import check_values, conform
from raymlops.features.services import Definition
from raymlops.features.timeline import SEQUENCE, with_event_time
from raymlops.features.training_set import table_digest
from raymlops.features.validity import span_us
from raymlops.records.features import ApplyReport, IngestReceipt, MaterializeReceipt

__all__ = ["FeatureStore"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Fresh:
    """Rows that were just appended, so that they need not be read back."""

    rows: Any
    first_sequence: int


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
        self._history_us = span_us(history)
        self._lock = threading.RLock()
        self._catalog = Catalog(catalog_path(root))
        self._tables = DeltaTables(tables_path(root))
        self._online = LmdbOnlineStore(online_path(root), writable=True) if online is None else online
        self._layouts: dict[str, RunLayout] = {}
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
            return self._materialize_views(state, views)

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
            self._materialize_table(receipt.table, views, fresh)
            return receipt

    def close(self) -> None:
        """Release the online store; the feature store must not be used any more."""
        self._online.close()

    def _ingest(self, name: str, table: Any, ingest_id: str | None) -> tuple[IngestReceipt, _Fresh | None]:
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
        return receipt, _Fresh(rows, self._tables.last_sequence(target) + 1 - rows.num_rows)

    def _recover(self) -> None:
        state = self._catalog.state()
        views = [applied.view for applied in state.views.values() if applied.view.online]
        self._materialize_views(state, [view for view in views if self._online.watermark(view.ref) is not None])

    def _materialize_views(self, state: CatalogState, views: Sequence[FeatureView]) -> list[MaterializeReceipt]:
        by_table: dict[str, list[FeatureView]] = {}
        for view in views:
            by_table.setdefault(state.table_of(view), []).append(view)
        receipts = []
        for table, readers in by_table.items():
            if self._tables.exists(table):
                receipts += self._materialize_table(table, readers, None)
        return sorted(receipts, key=lambda receipt: receipt.view)

    def _materialize_table(
        self, table: str, views: Sequence[FeatureView], fresh: _Fresh | None
    ) -> list[MaterializeReceipt]:
        target = Watermark(self._tables.version(table), self._tables.last_sequence(table))
        updates, receipts = [], []
        for view in views:
            reached = self._online.watermark(view.ref)
            done = -1 if reached is None else reached.sequence
            if done > target.sequence:
                reason = (
                    f"table {table!r} ends at row {target.sequence}, but {view.ref!r} was materialised up to {done}"
                )
                raise StorageError(f"{reason}: rows were removed behind the store's back", table=table)
            rows = 0
            if reached is None or done < target.sequence:
                pending, sequence = self._pending(table, view, done, fresh)
                rows = pending.num_rows
                updates.append(ViewUpdate(view.ref, target, self._runs(view, pending, sequence)))
            receipts.append(MaterializeReceipt(view=view.ref, table_version=target.table_version, rows=rows))
        if updates:
            self._online.commit(updates)
        return receipts

    def _pending(self, table: str, view: FeatureView, done: int, fresh: _Fresh | None) -> tuple[Any, Ints]:
        """Rows of the table that a view does not have online yet, and their order of arrival."""
        columns = list(view.table_columns)
        if fresh is not None and fresh.first_sequence == done + 1:
            return fresh.rows.select(columns), np.arange(done + 1, done + 1 + fresh.rows.num_rows)
        rows = self._tables.read(table, columns=[*columns, SEQUENCE], after_sequence=done)
        return rows.select(columns), rows[SEQUENCE].to_numpy()

    def _runs(self, view: FeatureView, rows: Any, sequence: Ints) -> dict[bytes, bytes]:
        layout = self._layouts.setdefault(view.ref, RunLayout(view))
        rows, sequence = with_event_time(view, rows, sequence)
        newer = dict(runs_of(layout, rows, sequence))
        now_us = to_us(self._clock.now())
        runs = {}
        with self._online.snapshot() as snapshot:
            present = snapshot.get_many([address(view.ref, key) for key in newer])
            for (key, run), blob in zip(newer.items(), present, strict=True):
                merged: Run = run if blob is None else Run.decode(layout, blob).merged(run)
                # An event from the future must not push out what is needed to answer for now.
                horizon = min(int(merged.event[-1]), now_us) - self._history_us
                runs[key] = merged.trimmed(horizon, layout.window_us).encode(layout)
        return runs
