"""Materialisation: the online store is brought up to the newest table versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from raymlops.clock import Clock, to_us
from raymlops.errors import StorageError
from raymlops.features.catalog.applied import CatalogState
from raymlops.features.definitions.validity import span_us
from raymlops.features.definitions.views import FeatureView
from raymlops.features.offline.timeline import with_event_time
from raymlops.features.online.online_store import OnlineStore, ViewUpdate, Watermark, address
from raymlops.features.online.run_batch import RunBatch, run_batches
from raymlops.features.online.runs import RunLayout
from raymlops.records.features import MaterializeReceipt
from raymlops.tables.columns import SEQUENCE
from raymlops.tables.visibility import Visibility

__all__ = ["Fresh", "Materializer", "Tables"]

Ints = npt.NDArray[np.int64]

_BATCH_BYTES = 128 << 20  # of rows read at once, and of stored runs that are taken apart at once
_COMMIT_BYTES = 512 << 20  # of runs: where these are long, fewer rows are read at once
_VALUE_BYTES = 8
_NOTHING = Watermark(-1, -1)


class Tables(Protocol):
    """The part of the tables that materialisation reads."""

    def exists(self, name: str) -> bool:
        """Whether anything was ever appended."""
        ...

    def version(self, name: str) -> int:
        """The newest version of a table."""
        ...

    def last_sequence(self, name: str) -> int:
        """``_seq`` of the last row; -1 for a table without rows."""
        ...

    def read(self, name: str, *, columns: Sequence[str], after_sequence: int, until_sequence: int) -> Any:
        """Rows with ``after_sequence < _seq <= until_sequence``, in the order they arrived."""
        ...


@dataclass(frozen=True)
class Fresh:
    """Rows that were just appended, so that they need not be read back."""

    rows: Any
    first_sequence: int

    def between(self, after: int, until: int) -> Any | None:
        """The rows with ``after < _seq <= until``; ``None`` if some of them are not among these."""
        first = after + 1 - self.first_sequence
        if first < 0 or until >= self.first_sequence + self.rows.num_rows:
            return None
        return self.rows.slice(first, until - after)


class Materializer:
    """Materialises tables into an online store, in batches of bounded size; each batch is one atomic commit.

    Idempotent: the watermark is committed together with the rows. What is cut off goes on behind the last batch.
    Not thread-safe: one caller at a time.

    Args:
        tables: What is materialised.
        online: Where to.
        clock: Bounds how much history is let go.
        history: How far back from now online reads stay exact.
        visibility: Where it is noted when rows became visible; ``None``: nowhere.
    """

    def __init__(
        self,
        tables: Tables,
        online: OnlineStore,
        clock: Clock,
        history: timedelta,
        visibility: Visibility | None = None,
    ) -> None:
        self._tables = tables
        self._online = online
        self._clock = clock
        self._visibility = visibility
        self._history_us = span_us(history)
        self._layouts: dict[str, RunLayout] = {}

    def views(self, state: CatalogState, views: Sequence[FeatureView]) -> list[MaterializeReceipt]:
        """Materialise views; one receipt per view that has rows, by name.

        Raises:
            StorageError: the views of some table are not brought up to it; every view stands at its watermark.
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
        """Materialise the views on one table.

        Views that lag behind the others are brought level first; from there on every batch is one commit for all.

        Args:
            table: The table.
            views: Views on it, all kept online.
            fresh: Its newest rows, where they are at hand.

        Raises:
            StorageError: a view is not brought up to the table; every view stands at its watermark.
        """
        target = Watermark(self._tables.version(table), self._tables.last_sequence(table))
        rows = dict.fromkeys((view.ref for view in views), 0)
        marks: dict[str, Watermark] = {}
        behind = []
        for view in views:
            reached = self._reached(table, view, target)
            marks[view.ref] = _NOTHING if reached is None else reached
            if reached is None or reached.sequence < target.sequence:  # even an empty table has to be complete once
                behind.append(view)
        share = 1.0
        while behind:
            level = min(marks[view.ref].sequence for view in behind)
            group = [view for view in behind if marks[view.ref].sequence == level]
            ahead = [marks[view.ref].sequence for view in behind if marks[view.ref].sequence > level]
            until = min([target.sequence, level + max(int(share * _batch_rows(group)), 1), *ahead])
            pending, sequence = self._pending(table, group, level, until, fresh)
            updates = []
            for view in group:
                marks[view.ref] = (
                    target if until == target.sequence else Watermark(marks[view.ref].table_version, until)
                )
                rows[view.ref] += len(sequence)
                parts = self._runs(view, pending, sequence, first=level < 0)
                updates += [ViewUpdate(view.ref, marks[view.ref], runs) for runs in parts]
            self._online.commit(updates)
            if self._visibility is not None:
                self._visibility.note([view.ref for view in group], level, until, to_us(self._clock.now()))
            written = sum(sum(map(len, update.runs.values())) for update in updates)
            share = min(share * _COMMIT_BYTES / max(written, 1), 1.0)
            behind = [view for view in behind if marks[view.ref] is not target]
        return [
            MaterializeReceipt(view=view.ref, table_version=target.table_version, rows=rows[view.ref]) for view in views
        ]

    def _reached(self, table: str, view: FeatureView, target: Watermark) -> Watermark | None:
        reached = self._online.watermark(view.ref)
        if reached is not None and reached.sequence > target.sequence:
            done = reached.sequence
            reason = f"table {table!r} ends at row {target.sequence}, but {view.ref!r} was materialised up to {done}"
            raise StorageError(f"{reason}: rows were removed behind the store's back", table=table)
        return reached

    def _pending(
        self, table: str, views: Sequence[FeatureView], after: int, until: int, fresh: Fresh | None
    ) -> tuple[Any, Ints]:
        """Rows that some views do not have online yet, and their order of arrival."""
        columns = list(dict.fromkeys(name for view in views for name in view.table_columns))
        at_hand = None if fresh is None else fresh.between(after, until)
        if at_hand is not None:
            return at_hand.select(columns), np.arange(after + 1, until + 1)
        rows = self._tables.read(table, columns=[*columns, SEQUENCE], after_sequence=after, until_sequence=until)
        return rows.select(columns), rows[SEQUENCE].to_numpy()

    def _runs(self, view: FeatureView, rows: Any, sequence: Ints, *, first: bool) -> list[dict[bytes, bytes]]:
        """The new runs of the rows' entities, in parts, keys ascending; at least one part."""
        layout = self._layouts.setdefault(view.ref, RunLayout(view))
        rows, sequence = with_event_time(view, rows.select(view.table_columns), sequence)
        now_us, prefix = to_us(self._clock.now()), address(view.ref, b"")
        parts: list[dict[bytes, bytes]] = []
        with self._online.snapshot() as snapshot:
            for batch in run_batches(layout, rows, sequence):
                stored = [] if first else snapshot.get_many([prefix + key for key in batch.keys])
                for merged in _merged(batch, stored):
                    parts.append(merged.trimmed(now_us, self._history_us).encode())
        return parts or [{}]


def _merged(batch: RunBatch, stored: Sequence[memoryview | None]) -> Iterator[RunBatch]:
    """The batch with what is stored; in parts, where that is much."""
    if len(batch.keys) > 1 and sum(len(run) for run in stored if run is not None) > _BATCH_BYTES:
        middle = len(batch.keys) // 2
        yield from _merged(batch.part(0, middle), stored[:middle])
        yield from _merged(batch.part(middle, len(batch.keys)), stored[middle:])
    else:
        yield batch.with_stored(stored)


def _batch_rows(views: Sequence[FeatureView]) -> int:
    columns = {name for view in views for name in view.table_columns}
    return max(_BATCH_BYTES // (_VALUE_BYTES * (len(columns) + 1)), 1)
