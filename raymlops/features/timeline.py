"""The rows of one view in total order, and what was known when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import ConfigError
from raymlops.features.definitions import FeatureView
from raymlops.features.keys import UNKNOWN, group_rows
from raymlops.features.schema import instants_us

__all__ = ["NEVER_CREATED", "SEQUENCE", "Moments", "Timeline", "created_us", "total_order", "with_event_time"]

SEQUENCE = "_seq"
"""Column of a table that holds the order in which its rows arrived."""

NEVER_CREATED = np.iinfo(np.int64).min
"""Stands for a missing created-at: it loses every tie."""

_PACKED_LIMIT = 2**62

Ints = npt.NDArray[np.int64]


class Moments:
    """Instants of keyed rows, sorted by key and instant, to be searched for many keys and instants at once.

    Key and instant are packed into one integer. Where that would overflow, the instants' ranks are packed instead.
    """

    def __init__(self, keys: Ints, instants_us: Ints) -> None:
        self._ranked: Ints | None = None
        if len(keys) and (int(keys[-1]) + 1) * (int(instants_us.max()) - int(instants_us.min()) + 2) > _PACKED_LIMIT:
            self._ranked = np.unique(instants_us)
            instants_us = np.searchsorted(self._ranked, instants_us)
        self._low = int(instants_us.min()) if len(keys) else 0
        self._high = int(instants_us.max()) if len(keys) else 0
        self._codes = self._code(keys, instants_us)

    def _code(self, keys: Ints, instants: Ints) -> Ints:
        return keys * (self._high - self._low + 2) + (instants - (self._low - 1))

    def count_until(self, keys: Ints, at_us: Ints) -> Ints:
        """Position just after the last row of each key with an instant of at most ``at_us``.

        Fastest where the questions are sorted by key and instant.
        """
        if self._ranked is not None:
            at_us = np.searchsorted(self._ranked, at_us, side="right") - 1
        within = np.clip(at_us, self._low - 1, self._high)
        return np.searchsorted(self._codes, self._code(keys, within), side="right")


@dataclass(frozen=True)
class Timeline:
    """The rows of a view, sorted by key, then event time, created-at and sequence.

    ``event`` and ``known`` count the rows that had happened, and those that were also known, by an instant. They are
    the same but under a knowledge cutoff; then ``known_order`` are the positions of the rows sorted by key and by the
    instant from which on they may be used.
    """

    rows: Any
    distinct: pl.DataFrame
    starts: Ints
    event_us: Ints
    created_us: Ints
    event: Moments
    known: Moments
    known_us: Ints
    known_order: Ints | None

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
        keys, distinct = group_rows(table, view.keys)
        event = instants_us(f"view {view.name!r}", view.event_time, table[view.event_time])
        created = created_us(view, table)
        usable = keys != UNKNOWN
        if knowledge_cutoff:
            usable &= created != NEVER_CREATED
        order = total_order([keys, event, created, *([] if sequence is None else [sequence])])
        order = order[usable[order]]
        keys, event, created = keys[order], event[order], created[order]
        moments = Moments(keys, event)
        known_us = np.maximum(event, created) if knowledge_cutoff else event
        known_order = total_order([keys, known_us]) if knowledge_cutoff else None
        return cls(
            rows=table.take(pa.array(order)),
            distinct=distinct,
            starts=np.searchsorted(keys, np.arange(len(distinct) + 1)),
            event_us=event,
            created_us=created,
            event=moments,
            known=moments if known_order is None else Moments(keys, known_us[known_order]),
            known_us=known_us,
            known_order=known_order,
        )

    def __len__(self) -> int:
        return len(self.event_us)

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


def total_order(columns: list[Ints]) -> Ints:
    """Positions that sort by the columns, the first being the most significant; equal rows keep their order."""
    frame = pl.DataFrame({str(place): column for place, column in enumerate(columns)})
    order: Ints = frame.select(pl.arg_sort_by(frame.columns, maintain_order=True).cast(pl.Int64)).to_series().to_numpy()
    return order
