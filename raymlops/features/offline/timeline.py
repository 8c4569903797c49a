"""The rows of one view in total order, with the instants from which on each was known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import ConfigError
from raymlops.features.definitions.schema import instants_us
from raymlops.features.offline.key_numbers import UNKNOWN, KeyIndex, group_rows
from raymlops.features.offline.moments import Moments, total_order

if TYPE_CHECKING:
    from raymlops.features.definitions.views import FeatureView

__all__ = ["NEVER_CREATED", "Moments", "Timeline", "created_us", "total_order", "with_event_time"]

NEVER_CREATED = np.iinfo(np.int64).min
"""Stands for a missing created-at: it loses every tie."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """The rows of a view, sorted by key, then event time, created-at and sequence.

    ``event`` and ``known`` count the rows that had happened, and those that were also known, by an instant. They are
    the same but under a knowledge cutoff; then ``known_order`` are the positions of the rows sorted by key and by the
    instant from which on they may be used. The table itself stays as it is, ``order`` tells where each row is in it:
    most columns are never needed in order.
    """

    table: Any
    order: Ints
    index: KeyIndex
    starts: Ints
    event: Moments
    known: Moments
    known_order: Ints | None
    _created: Ints | None

    @classmethod
    def of(cls, view: FeatureView, table: Any, sequence: Ints | None, *, knowledge_cutoff: bool) -> Timeline:
        """Sort conforming rows.

        Args:
            view: The view; its keys must be known.
            table: Rows as ``conform`` gives them.
            sequence: Order of arrival; ``None``: the order of the rows.
            knowledge_cutoff: Whether a row counts only from its created-at on.

        Raises:
            ConfigError: a knowledge cutoff is asked of a view without a created-at column.
        """
        if knowledge_cutoff and view.created_at is None:
            raise ConfigError(f"view {view.name!r}: knowledge_cutoff needs created_at, got None", view=view.name)
        keys, index = group_rows(table, view.keys)
        event = instants_us(f"view {view.name!r}", view.event_time, table[view.event_time])
        created = None if view.created_at is None else created_us(view, table)
        usable = keys != UNKNOWN
        if knowledge_cutoff:
            usable &= created != NEVER_CREATED
        columns = [keys, event, *(column for column in (created, sequence) if column is not None)]
        places = None
        if not usable.all():
            places = np.flatnonzero(usable)
            columns = [column[places] for column in columns]
        moments = Moments(*columns)
        sizes = np.bincount(columns[0], minlength=len(index))
        known = moments
        if knowledge_cutoff and created is not None:
            order = moments.order
            known_us = np.maximum(columns[1], columns[2])[order]
            known = Moments(columns[0][order], known_us)
        return cls(
            table=table,
            order=moments.order if places is None else places[moments.order],
            index=index,
            starts=np.concatenate([[0], np.cumsum(sizes)]),
            event=moments,
            known=known,
            known_order=known.order if knowledge_cutoff else None,
            _created=created,
        )

    @cached_property
    def event_us(self) -> Ints:
        """Event times of the rows."""
        return self.event.at(np.arange(len(self)))

    @cached_property
    def known_us(self) -> Ints:
        """Instants from which on the rows may be used."""
        if self.known_order is None:
            return self.event_us
        return np.maximum(self.event_us, self.created_us)

    @property
    def distinct(self) -> pl.DataFrame:
        """The keys; row ``i`` is the key whose rows begin at ``starts[i]``."""
        return self.index.distinct

    @cached_property
    def rows(self) -> Any:
        """The table's rows, sorted."""
        return self.table.take(pa.array(self.order))

    @cached_property
    def created_us(self) -> Ints:
        """Created-at of the rows, ``NEVER_CREATED`` where there is none."""
        return self.created_at(np.arange(len(self)))

    def created_at(self, positions: Ints) -> Ints:
        """``created_us`` of some rows."""
        if self._created is None:
            return np.full(len(positions), NEVER_CREATED)
        created: Ints = self._created[self.order[positions]]
        return created

    def column(self, name: str) -> Any:
        """One column of the rows, sorted."""
        return self.table[name].take(pa.array(self.order))

    def places(self, positions: Ints, valid: npt.NDArray[np.bool_]) -> Any:
        """Where some rows are in the table, as indices to take; null where ``valid`` is false."""
        if not len(self):
            return pa.nulls(len(positions), pa.int64())
        return pa.array(self.order[positions], mask=~valid)

    def __len__(self) -> int:
        return len(self.order)

    def in_known_order(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of the rows, the last axis sorted by when the rows became known."""
        return values if self.known_order is None else values[..., self.known_order]

    def latest(self, keys: Ints, known_until: Ints, present: npt.NDArray[np.bool_] | None = None) -> Ints:
        """Position of the newest known row of each key, in total order; -1 without one.

        Args:
            keys: Numbers of the keys.
            known_until: From ``known.count_until``.
            present: Only rows where this is true count.
        """
        positions = np.arange(len(self)) if self.known_order is None else self.known_order
        if present is not None:
            positions = np.where(present[positions], positions, -1)
        if present is not None or self.known_order is not None:
            positions = np.maximum.accumulate(positions)
        if not len(positions):
            return np.full(len(keys), -1)
        found = positions[np.maximum(known_until, 1) - 1]
        return np.where((known_until > self.starts[keys]) & (found >= self.starts[keys]), found, -1)


def created_us(view: FeatureView, table: Any) -> Ints:
    """Created-at of conforming rows in microseconds, ``NEVER_CREATED`` where there is none."""
    if view.created_at is None:
        return np.full(table.num_rows, NEVER_CREATED)
    microseconds: Ints = pc.fill_null(table[view.created_at].cast(pa.int64()), int(NEVER_CREATED)).to_numpy()
    return microseconds


def with_event_time(view: FeatureView, rows: Any, sequence: Ints) -> tuple[Any, Ints]:
    """Rows of a stored table without those that lack the view's event time, as a nullable field of its source may."""
    if not rows[view.event_time].null_count:
        return rows, sequence
    timed = pc.is_valid(rows[view.event_time]).combine_chunks()
    return rows.filter(timed), sequence[timed.to_numpy(zero_copy_only=False)]
