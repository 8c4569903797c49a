"""Reading features from the bytes of runs, as of an instant each: the hot path of serving.

Where the newest row is the answer, which it mostly is, one unpacking reads it. Windows are cut and rounded as
``windows`` does it, from the same running sums by the same functions of ``exact``, so that both give the same bits.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from raymlops.clock import from_us
from raymlops.errors import DataError
from raymlops.features.definitions.validity import is_valid, span_us
from raymlops.features.definitions.views import FeatureView, WindowAggregate
from raymlops.features.offline.exact import deviation, mean, total
from raymlops.features.online.runs import MAGIC, RunLayout, SumLayout

__all__ = ["Value", "ViewReader"]

Value: TypeAlias = float | int | str | None

_Row: TypeAlias = tuple[Any, ...]
_Get: TypeAlias = "Callable[[_OpenRun], Value]"
_INT64 = struct.Struct("<q")
_OFFSETS = struct.Struct("<II")
_WORD = 8
_EVENT, _NULLS, _VALUES = 3, 4, 5  # of a row as it is unpacked: magic, rows, complete_from, event time, nulls, values


class ViewReader:
    """Reads some features of one view. Immutable: any number of threads may share it.

    Args:
        view: The view.
        features: Names of its fields and aggregates, in the order wanted.
    """

    def __init__(self, view: FeatureView, features: Sequence[str]) -> None:
        self._view = view
        self._layout = layout = RunLayout(view)
        self._ttl_us = span_us(view.ttl)
        names = [column.name for column in view.fields]
        aggregates = {aggregate.name: aggregate for aggregate in view.aggregates}
        fields = sorted({names.index(name) for name in features if name not in aggregates})
        # What stands between the header's first numbers and the newest row is for windows.
        between = layout.header_bytes - struct.calcsize("<IIq")
        row = layout.row_format(fields)
        self._newest = struct.Struct(f"<IIq{between}x{row}")
        self._older = struct.Struct("<" + row)
        self._no_nulls = bytes(len(names))
        self._places: dict[int, int] = {}
        place = _VALUES
        for field in fields:
            self._places[field] = place
            place += 2 if layout.dtypes[field] == "string" else 1
        self._nothing: _Row = (MAGIC, 0, 0, None, self._no_nulls, *[None] * (place - _VALUES))
        self._columns: list[tuple[int, bool] | None] = [
            None if name in aggregates else (self._places[names.index(name)], view.dtype_of(name) == "string")
            for name in features
        ]
        self._windows = [
            (place, _window_getter(layout, aggregates[name], names.index(aggregates[name].field)))
            for place, name in enumerate(features)
            if name in aggregates
        ]
        self._empty = [0 if name in aggregates and aggregates[name].counts else None for name in features]

    def read(
        self, runs: Sequence[memoryview | None], at_us: Sequence[int]
    ) -> tuple[list[list[Value]], list[int | None]]:
        """The features of N entities, as of an instant each.

        Args:
            runs: The entities' runs; ``None`` where there is none.
            at_us: The instants.

        Returns:
            One list of N values per feature; and the event times of the rows that the fields are from, ``None``
            without a valid one.

        Raises:
            DataError: an instant lies before the history that the online store keeps.
            StorageError: a run is broken.
        """
        unpack, nothing, no_nulls, ttl_us = self._newest.unpack_from, self._nothing, self._no_nulls, self._ttl_us
        rows: list[_Row] = []
        try:
            for run, at in zip(runs, at_us, strict=True):
                if run is None:
                    rows.append(nothing)
                    continue
                row = unpack(run)
                plain = row[0] == MAGIC and row[_NULLS] == no_nulls and is_valid(row[_EVENT], at, ttl_us)
                rows.append(row if plain else self._row(run, row, at))
            if not rows:
                return [[] for _ in self._columns], []
            unpacked = list(zip(*rows, strict=True))
            columns = [_column(place, unpacked, runs) for place in self._columns]
            if self._windows:
                self._compute(columns, runs, at_us)
        except struct.error as error:
            raise self._layout.broken(f"cut short: {error}") from error
        return columns, list(unpacked[_EVENT])

    def _row(self, run: memoryview, newest: _Row, at_us: int) -> _Row:
        """The row as of an instant, where that takes more than a look at the newest; nulls in place of one too old."""
        magic, rows, complete_from, event_us = newest[:_NULLS]
        if magic != MAGIC:
            raise self._layout.broken(f"must start with {MAGIC:x}, got {magic:x}")
        if at_us < complete_from:
            self._refuse(at_us, complete_from)
        row = newest
        if event_us > at_us:
            place = _first_until(self._layout, run, rows, at_us)
            if place == rows:
                return self._nothing
            offset = self._layout.header_bytes + place * self._layout.record_bytes
            row = (*newest[:_EVENT], *self._older.unpack_from(run, offset))
        if not is_valid(row[_EVENT], at_us, self._ttl_us):
            return self._nothing
        nulls = row[_NULLS]
        if nulls == self._no_nulls:
            return row
        values = list(row)
        for field, place in self._places.items():
            if nulls[field]:
                values[place] = None
        return tuple(values)

    def _compute(self, columns: list[list[Value]], runs: Sequence[memoryview | None], at_us: Sequence[int]) -> None:
        opened = [None if run is None else _OpenRun(self._layout, run, at) for run, at in zip(runs, at_us, strict=True)]
        for place, window in self._windows:
            empty = self._empty[place]
            columns[place] = [empty if run is None else window(run) for run in opened]

    def _refuse(self, at_us: int, complete_from: int) -> None:
        kept = from_us(complete_from)
        rule = f"at must not be before {kept.isoformat()}, where the online history of this entity starts"
        raise DataError(f"view {self._view.name!r}: {rule}, got {from_us(at_us).isoformat()}", view=self._view.name)


def _column(place: tuple[int, bool] | None, unpacked: Sequence[_Row], runs: Sequence[Any]) -> list[Value]:
    if place is None:
        return []
    number, text = place
    values = unpacked[number]
    if not text:
        return list(values)
    return [
        None if begin is None else str(run[begin:end], "utf-8")
        for run, begin, end in zip(runs, values, unpacked[number + 1], strict=True)
    ]


def _first_until(layout: RunLayout, run: memoryview, rows: int, at_us: int, start: int = 0) -> int:
    """Place of the newest row with an event time of at most an instant; ``rows`` without one."""
    first, stride, read = layout.header_bytes, layout.record_bytes, _INT64.unpack_from
    return bisect_left(range(rows), True, start, key=lambda place: read(run, first + place * stride)[0] <= at_us)


class _OpenRun:
    """A run, opened at an instant: its rows from ``start`` on, newest first, had happened by then."""

    def __init__(self, layout: RunLayout, run: memoryview, at_us: int) -> None:
        self.run = run
        self.head = struct.unpack_from(layout.header_format, run)
        self.start = _first_until(layout, run, self.head[1], at_us)
        self._layout = layout
        self._at_us = at_us
        self._ends: dict[int, int] = {}

    def end(self, window_us: int) -> int:
        """Place just behind the oldest row in the window."""
        end = self._ends.get(window_us)
        if end is None:
            after = self._at_us - window_us
            end = self._ends[window_us] = _first_until(self._layout, self.run, self.head[1], after, self.start)
        return end

    def values(self, field: int, end: int) -> npt.NDArray[Any]:
        """The values of a field that is no text, in the rows of a window; nulls left out."""
        kind = {"float64": "<f8", "bool": "?"}.get(self._layout.dtypes[field], "<i8")
        found = self._strided(kind, self._layout.offsets[field], end)
        nulls = self._strided("?", self._layout.null_offsets[field], end)
        present: npt.NDArray[Any] = found[~nulls]
        return present

    def count(self, field: int, end: int) -> int:
        """How many values of a field are present in the rows of a window."""
        return end - self.start - int(np.count_nonzero(self._strided("?", self._layout.null_offsets[field], end)))

    def texts(self, field: int, end: int) -> list[bytes]:
        """The texts of a field in the rows of a window; nulls left out."""
        offset, null_offset = self._layout.offsets[field], self._layout.null_offsets[field]
        places = [self._position(place) for place in range(self.start, end)]
        bounds = [
            _OFFSETS.unpack_from(self.run, place + offset) for place in places if not self.run[place + null_offset]
        ]
        return [self.run[begin:until].tobytes() for begin, until in bounds]

    def last(self, field: int, end: int) -> Value:
        """The newest value of a field in the rows of a window; ``None`` without one."""
        nulls = self._strided("?", self._layout.null_offsets[field], end)
        if nulls.all():
            return None
        value = self._position(self.start + int(nulls.argmin())) + self._layout.offsets[field]
        dtype = self._layout.dtypes[field]
        if dtype == "string":
            begin, until = _OFFSETS.unpack_from(self.run, value)
            return str(self.run[begin:until], "utf-8")
        found: float | int = struct.unpack_from({"float64": "<d", "bool": "<?"}.get(dtype, "<q"), self.run, value)[0]
        return found

    def sums(self, part: SumLayout, end: int) -> tuple[list[int], int]:
        """Sums of the digits in the rows of a window, lowest first, and the place of the first."""
        column, lowest, count = self.head[part.slot : part.slot + 3]
        offset, digits = self.head[3:5]
        read = struct.Struct(f"<{count}q").unpack_from
        newer = read(self.run, offset + _WORD * (self.start * digits + column))
        older = read(self.run, offset + _WORD * (end * digits + column))
        return [high - low for high, low in zip(older, newer, strict=True)], lowest

    def _position(self, place: int) -> int:
        return self._layout.header_bytes + place * self._layout.record_bytes

    def _strided(self, kind: str, offset: int, end: int) -> npt.NDArray[Any]:
        if end == self.start:
            return np.zeros(0, kind)
        stride = self._layout.record_bytes
        return np.ndarray((end - self.start,), kind, self.run, self._position(self.start) + offset, (stride,))


def _window_getter(layout: RunLayout, aggregate: WindowAggregate, field: int) -> _Get:
    window_us = span_us(aggregate.window)
    match aggregate.function:
        case "count":
            return lambda run: run.count(field, run.end(window_us))
        case "distinct":
            if layout.dtypes[field] == "string":
                return lambda run: len(set(run.texts(field, run.end(window_us))))
            return lambda run: len(set(run.values(field, run.end(window_us)).tolist()))
        case "last":
            return lambda run: run.last(field, run.end(window_us))
        case "min" | "max":
            return _extreme_getter(np.min if aggregate.function == "min" else np.max, field, window_us)
        case "sum" | "mean" | "std":
            parts = {part.squares: part for part in layout.sums if part.field == field}
            return _sum_getter(aggregate.function, field, window_us, parts)


def _extreme_getter(pick: Callable[[Any], Any], field: int, window_us: int) -> _Get:
    def extreme(run: _OpenRun) -> Value:
        values = run.values(field, run.end(window_us))
        if not len(values):
            return None
        value: float | int = pick(values).item()
        return value

    return extreme


def _sum_getter(function: str, field: int, window_us: int, parts: dict[bool, SumLayout]) -> _Get:
    def sums(run: _OpenRun) -> Value:
        end = run.end(window_us)
        count = run.count(field, end)
        if not count:
            return None
        if function == "sum":
            return float(total(*run.sums(parts[False], end))[0])
        if function == "mean":
            return float(mean(*run.sums(parts[False], end), count))
        return float(deviation(*run.sums(parts[False], end), *run.sums(parts[True], end), count))

    return sums
