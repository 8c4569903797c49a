"""Statistics of a view: one pass over its table, a batch at a time, in memory that does not grow with the table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.clock import from_us, to_us
from raymlops.features.definitions.fields import DType
from raymlops.features.definitions.schema import conform
from raymlops.features.definitions.validity import span_us
from raymlops.features.definitions.views import FeatureView
from raymlops.records.people.discovery import FieldStatistics, FrequentValue, Scalar, ViewStatistics
from raymlops.tables.sketches import DistinctSketch, FrequentSketch, LargestByHash, QuantileSketch

__all__ = ["LATE_AFTER", "profile_view"]

LATE_AFTER = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
"""Spans after its event that make a row late, by the name they are reported under."""

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_PERCENT = np.linspace(0.0, 1.0, 101)
_FREQUENT = 10
_SHOWN_TEXT = 200
_HASH_SEED = 7
_RANGE_US = (to_us(datetime.min.replace(tzinfo=UTC)), to_us(datetime.max.replace(tzinfo=UTC)))

Ints = npt.NDArray[np.int64]


def profile_view(view: FeatureView, batches: Iterable[Any], *, table: str, table_version: int) -> ViewStatistics:
    """Profile the fields, keys and times of a view.

    Counts, sums and extremes are exact; distinct values, quantiles and frequent values are exact for small columns and
    say otherwise how far they may be off. Keys and duplicates are told apart by 64-bit hashes: among 100 million rows
    one is miscounted with a chance of less than 1 in 1000.

    Args:
        view: The view; its keys must be known.
        batches: Its table's rows, in any order and in pieces of any size, with at least the columns the view reads.
        table: Name of the table.
        table_version: Version of the table.

    Raises:
        SchemaMismatch: the table lacks a column, or has another type.
        OSError: there is no room for scratch files.
    """
    fields = {column.name: _FieldProfile(column.dtype) for column in view.fields}
    late = dict.fromkeys(LATE_AFTER, 0)
    rows = keyed = 0
    spans = _Span()
    with LargestByHash() as by_key, LargestByHash() as by_moment:
        for batch in batches:
            part = _timed_rows(view, batch)
            if not part.num_rows:
                continue
            rows += part.num_rows
            event_us = _microseconds(part[view.event_time])
            spans.add(event_us)
            _count_late(view, part, event_us, late, spans)
            keyed += _add_moments(view, part, event_us, by_key, by_moment)
            for name, profile in fields.items():
                profile.add(part[name])
        newest = QuantileSketch()
        keys = moments = 0
        for piece in by_key.largest():
            keys += len(piece)
            newest.add(piece.astype(np.float64))
        for piece in by_moment.largest():
            moments += len(piece)
    return ViewStatistics(
        view=view.ref,
        table=table,
        table_version=table_version,
        rows=rows,
        keys=keys,
        duplicates=keyed - moments,
        first_event_time=None if not rows else _instant(spans.first),
        last_event_time=None if not rows else _instant(spans.last),
        last_created_at=None if spans.created is None else _instant(spans.created),
        late_rows=None if view.created_at is None else late,
        newest_by_key=tuple(_instant(int(at)) for at in newest.quantiles(_PERCENT.tolist())) if keys else (),
        fields={name: profile.statistics(name, rows) for name, profile in fields.items()},
    )


class _Span:
    """Extremes of the times."""

    def __init__(self) -> None:
        self.first, self.last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        self.created: int | None = None

    def add(self, event_us: Ints) -> None:
        self.first, self.last = min(self.first, int(event_us.min())), max(self.last, int(event_us.max()))


def _timed_rows(view: FeatureView, batch: Any) -> Any:
    """The view's columns of a batch; a nullable field of its source may be its event time, and then be missing."""
    table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    rows = conform(view, table)
    return rows.filter(pc.is_valid(rows[view.event_time])) if rows[view.event_time].null_count else rows


def _instant(microseconds: int) -> datetime:
    """An instant, or the last one before which Python knows no other."""
    return from_us(min(max(microseconds, _RANGE_US[0]), _RANGE_US[1]))


def _microseconds(column: Any) -> Ints:
    microseconds: Ints = column.cast(pa.int64()).to_numpy()
    return microseconds


def _count_late(view: FeatureView, rows: Any, event_us: Ints, late: dict[str, int], spans: _Span) -> None:
    if view.created_at is None:
        return
    known = rows[view.created_at].is_valid().to_numpy()
    created_us = _microseconds(rows[view.created_at].drop_null())
    if len(created_us):
        spans.created = max(int(created_us.max()), spans.created or int(created_us.max()))
        for name, span in LATE_AFTER.items():
            late[name] += int((created_us - event_us[known] > span_us(span)).sum())


def _add_moments(view: FeatureView, rows: Any, event_us: Ints, by_key: LargestByHash, by_moment: LargestByHash) -> int:
    """Hash keys, and keys with their event times; a null has none. Returns how many rows have a key."""
    frame = pl.DataFrame(rows.select(list(view.keys)))
    if view.keys:
        keyed = frame.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
        frame, event_us = frame.filter(pl.Series(keyed)), event_us[keyed]
        hashes = frame.hash_rows(_HASH_SEED).to_numpy()
    else:
        hashes = np.zeros(len(event_us), np.uint64)
    moments = pl.DataFrame({"key": hashes, "at": event_us}).hash_rows(_HASH_SEED).to_numpy()
    by_key.add(hashes, event_us)
    by_moment.add(moments, np.ones(len(moments), np.int64))
    return len(moments)


class _FieldProfile:
    """What is kept of one field."""

    def __init__(self, dtype: DType) -> None:
        self._dtype = dtype
        self._numeric = dtype in {"int64", "float64"}
        self._values = 0
        self._mean = self._squares = 0.0
        self._least: Any = None
        self._largest: Any = None
        self._distinct = DistinctSketch()
        self._quantiles = QuantileSketch()
        self._frequent = FrequentSketch()

    def add(self, column: Any) -> None:
        """Take in N values of the declared type."""
        values = column.drop_null()
        if not len(values):
            return
        if self._dtype == "timestamp":
            values = values.cast(pa.int64())
        series = pl.Series(values)
        self._distinct.add(series.hash(_HASH_SEED).to_numpy())
        extremes = [series.min(), series.max(), *([] if self._least is None else [self._least, self._largest])]
        self._least, self._largest = min(extremes), max(extremes)
        if self._dtype in {"string", "bool"}:
            self._frequent.add(series)
        if self._dtype != "string":
            numbers = series.cast(pl.Float64).to_numpy()
            if self._dtype != "bool":
                self._quantiles.add(numbers)
            self._merge(numbers)
        self._values += len(values)

    def _merge(self, numbers: npt.NDArray[np.float64]) -> None:
        """Join mean and squared deviations of another part (Chan, Golub and LeVeque)."""
        count, mean = len(numbers), float(numbers.mean())
        total, apart = self._values + count, mean - self._mean
        self._squares += float(((numbers - mean) ** 2).sum()) + apart**2 * self._values * count / total
        self._mean += apart * count / total

    def statistics(self, name: str, rows: int) -> FieldStatistics:
        """The field's statistics among so many rows."""
        found: dict[str, Any] = {}
        if self._values and (self._numeric or self._dtype == "bool"):
            found |= {"mean": self._mean, "std": math.sqrt(self._squares / self._values)}
        if self._values and (self._numeric or self._dtype == "timestamp"):
            values = self._quantiles.quantiles(_QUANTILES)
            shown = [self._plain(int(value) if self._dtype != "float64" else float(value)) for value in values]
            found |= {
                "quantiles": {f"{share:g}": value for share, value in zip(_QUANTILES, shown, strict=True)},
                "quantile_error": self._quantiles.error,
            }
        return FieldStatistics(
            name=name,
            dtype=self._dtype,
            values=self._values,
            missing_share=1 - self._values / rows if rows else 0.0,
            distinct=self._distinct.count,
            distinct_error=self._distinct.error,
            minimum=self._plain(self._least),
            maximum=self._plain(self._largest),
            frequent=tuple(self._frequent_values()),
            frequent_error=self._frequent.error,
            **found,
        )

    def _frequent_values(self) -> Iterator[FrequentValue]:
        for value, rows in self._frequent.most(_FREQUENT):
            shown = self._plain(value)
            assert shown is not None
            yield FrequentValue(value=shown, rows=rows)

    def _plain(self, value: Any) -> Scalar | None:
        if value is None:
            return None
        if self._dtype == "timestamp":
            return _instant(int(value)).isoformat()
        if self._dtype == "string":
            return str(value)[:_SHOWN_TEXT]
        plain: Scalar = {"int64": int, "float64": float, "bool": bool}[self._dtype](value)
        return plain
