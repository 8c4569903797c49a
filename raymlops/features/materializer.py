"""Materialisation: the online store brought up to what the tables hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from raymlops.clock import Clock, to_us
from raymlops.errors import StorageError
from raymlops.features.applied import CatalogState
from raymlops.features.definitions import FeatureView
from raymlops.features.online import OnlineStore, ViewUpdate, Watermark, address
from raymlops.features.runs import Run, RunLayout, runs_of
from raymlops.features.timeline import SEQUENCE, with_event_time
from raymlops.features.validity import span_us
from raymlops.records.features import MaterializeReceipt

__all__ = ["Fresh", "Materializer", "Tables"]

Ints = npt.NDArray[np.int64]


class Tables(Protocol):
    """What materialisation reads of the tables."""

    def exists(self, name: str) -> bool:
        """Whether anything was ever appended."""
        ...

    def version(self, name: str) -> int:
        """The newest version of a table."""
        ...

    def last_sequence(self, name: str) -> int:
        """``_seq`` of the last row; -1 for a table without rows."""
        ...

    def read(self, name: str, *, columns: Sequence[str], after_sequence: int) -> Any:
        """Rows that arrived after a ``_seq``, in the order they arrived."""
        ...


@dataclass(frozen=True)
class Fresh:
    """Rows that were just appended, so that they need not be read back."""

    rows: Any
    first_sequence: int


class Materializer:
    """Brings an online store up to the tables. Idempotent: the watermark is committed together with the rows.

    Not thread-safe: one caller at a time.

    Args:
        tables: What is materialised.
        online: Where to.
        clock: Bounds how much history is let go.
        history: How far back from now online reads stay exact.
    """

    def __init__(self, tables: Tables, online: OnlineStore, clock: Clock, history: timedelta) -> None:
        self._tables = tables
        self._online = online
        self._clock = clock
        self._history_us = span_us(history)
        self._layouts: dict[str, RunLayout] = {}

    def views(self, state: CatalogState, views: Sequence[FeatureView]) -> list[MaterializeReceipt]:
        """Materialise views; one receipt per view that has rows, by name.

        Raises:
            StorageError: nothing was written for the views of some table.
        """
        by_table: dict[str, list[FeatureView]] = {}
        for view in views:
            by_table.setdefault(state.table_of(view), []).append(view)
        receipts = []
        for table, readers in by_table.items():
            if self._tables.exists(table):
                receipts += self.table(table, readers, None)
        return sorted(receipts, key=lambda receipt: receipt.view)

    def table(self, table: str, views: Sequence[FeatureView], fresh: Fresh | None) -> list[MaterializeReceipt]:
        """Materialise the views on one table in one commit.

        Raises:
            StorageError: nothing was written.
        """
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

    def _pending(self, table: str, view: FeatureView, done: int, fresh: Fresh | None) -> tuple[Any, Ints]:
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
