"""Reading features from the bytes of a run, as of an instant: the hot path of serving.

Nothing is decoded but the few numbers that are asked for. Windows are cut and rounded as ``windows`` does it, from the
same running sums by the same functions of ``exact``, so that both give the same bits.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from raymlops.clock import from_us
from raymlops.errors import DataError
from raymlops.features.definitions import DType, FeatureView, WindowAggregate
from raymlops.features.exact import deviation, mean, total
from raymlops.features.runs import RunLayout, SumLayout, read_header
from raymlops.features.validity import is_valid, span_us

__all__ = ["Value", "ViewReader"]

Value: TypeAlias = float | int | str | None

_Get: TypeAlias = "Callable[[_OpenRun], Value]"
_INT64 = struct.Struct("<q")
_FLOAT64 = struct.Struct("<d")
_OFFSETS = struct.Struct("<ii")
_WORD = 8


class _OpenRun:
    """A run, opened at an instant."""

    __slots__ = ("at_us", "buffer", "event", "firsts", "head", "rows", "until")

    def __init__(self, layout: RunLayout, buffer: memoryview, at_us: int) -> None:
        self.buffer = buffer
        self.head = read_header(layout, buffer)
        self.rows = self.head[1]
        start = layout.header.size
        self.event = buffer[start : start + _WORD * self.rows].cast("q")
        self.at_us = at_us
        self.until = bisect_right(self.event, at_us)
        self.firsts: dict[int, int] = {}

    def first(self, window_us: int) -> int:
        """Position of the first row in the window."""
        first = self.firsts.get(window_us)
        if first is None:
            first = self.firsts[window_us] = bisect_right(self.event, self.at_us - window_us, 0, self.until)
        return first

    def present(self, field: int, row: int) -> bool:
        """Whether a field of a row is not null."""
        mask = self.head[4 + 2 * field]
        return not mask or bool(self.buffer[mask + row])

    def count(self, field: int, first: int) -> int:
        """How many values of a field are present from ``first`` on."""
        mask = self.head[4 + 2 * field]
        if not mask:
            return self.until - first
        return self.buffer[mask + first : mask + self.until].tobytes().count(1)

    def sums(self, part: SumLayout, first: int) -> tuple[list[int], int]:
        """Sums of the digits from ``first`` on, lowest first, and the place of the first."""
        offset, lowest, count = self.head[part.slot : part.slot + 3]
        stride = _WORD * (self.rows + 1)
        low, high = offset + _WORD * first, offset + _WORD * self.until
        read, buffer = _INT64.unpack_from, self.buffer
        return [read(buffer, high + i * stride)[0] - read(buffer, low + i * stride)[0] for i in range(count)], lowest


class ViewReader:
    """Reads some features of one view. Immutable: any number of threads may share it.

    Args:
        view: The view.
        features: Names of its fields and aggregates, in the order wanted.
    """

    def __init__(self, view: FeatureView, features: Sequence[str]) -> None:
        self._view = view
        self._layout = RunLayout(view)
        self._ttl_us = span_us(view.ttl)
        aggregates = {aggregate.name: aggregate for aggregate in view.aggregates}
        names = [column.name for column in view.fields]
        self._fields: list[tuple[int, Callable[[_OpenRun, int], Value]]] = []
        self._windows: list[tuple[int, _Get]] = []
        for place, feature in enumerate(features):
            if feature in aggregates:
                field = names.index(aggregates[feature].field)
                self._windows.append((place, _window_getter(self._layout, aggregates[feature], field)))
            else:
                field = names.index(feature)
                self._fields.append((place, _field_getter(field, self._layout.dtypes[field])))
        self._unknown: tuple[Value, ...] = tuple(
            0 if name in aggregates and aggregates[name].function == "count" else None for name in features
        )

    def read(self, buffer: memoryview | None, at_us: int) -> tuple[Sequence[Value], int | None]:
        """The features as of an instant.

        Args:
            buffer: The entity's run; ``None`` where there is none.
            at_us: The instant.

        Returns:
            The values, and the event time of the row that the fields are from, ``None`` without a valid one.

        Raises:
            DataError: the instant lies before the history that the online store keeps.
            StorageError: the run is broken.
        """
        if buffer is None:
            return self._unknown, None
        run = _OpenRun(self._layout, buffer, at_us)
        if at_us < run.head[2]:
            self._refuse(at_us, run.head[2])
        values = list(self._unknown)
        row = run.until - 1
        event_us: int | None = None
        if row >= 0 and is_valid(run.event[row], at_us, self._ttl_us):
            event_us = run.event[row]
            for place, field in self._fields:
                values[place] = field(run, row)
        for place, window in self._windows:
            values[place] = window(run)
        return values, event_us

    def _refuse(self, at_us: int, complete_from: int) -> None:
        kept = from_us(complete_from)
        rule = f"at must not be before {kept.isoformat()}, where the online history of this entity starts"
        raise DataError(f"view {self._view.name!r}: {rule}, got {from_us(at_us).isoformat()}", view=self._view.name)


def _field_getter(field: int, dtype: DType) -> Callable[[_OpenRun, int], Value]:
    slot = RunLayout.field_slot(field)

    def number(run: _OpenRun, row: int) -> Value:
        if not run.present(field, row):
            return None
        value: float | int = read(run.buffer, run.head[slot] + _WORD * row)[0]
        return value

    def truth(run: _OpenRun, row: int) -> Value:
        value = number(run, row)
        return None if value is None else bool(value)

    def text(run: _OpenRun, row: int) -> Value:
        if not run.present(field, row):
            return None
        offset = run.head[slot]
        start, end = _OFFSETS.unpack_from(run.buffer, offset + 4 * row)
        data = offset + 4 * (run.rows + 1)
        return run.buffer[data + start : data + end].tobytes().decode()

    read = _FLOAT64.unpack_from if dtype == "float64" else _INT64.unpack_from
    return {"string": text, "bool": truth}.get(dtype, number)


def _window_getter(layout: RunLayout, aggregate: WindowAggregate, field: int) -> _Get:
    window_us = span_us(aggregate.window)
    parts = {part.squares: part for part in layout.sums if part.field == field}
    match aggregate.function:
        case "count":
            return lambda run: run.count(field, run.first(window_us))
        case "sum" | "mean" | "std":
            return _sum_getter(aggregate.function, field, window_us, parts)
        case "min" | "max":
            return _extreme_getter(aggregate.function, field, window_us, layout.dtypes[field])
        case "last":
            return _last_getter(field, window_us, layout.dtypes[field])


def _sum_getter(function: str, field: int, window_us: int, parts: dict[bool, SumLayout]) -> _Get:
    def sums(run: _OpenRun) -> Value:
        first = run.first(window_us)
        count = run.count(field, first)
        if not count:
            return None
        if function == "sum":
            return float(total(*run.sums(parts[False], first))[0])
        if function == "mean":
            return float(mean(*run.sums(parts[False], first), count))
        return float(deviation(*run.sums(parts[False], first), *run.sums(parts[True], first), count))

    return sums


def _extreme_getter(function: str, field: int, window_us: int, dtype: DType) -> _Get:
    slot = RunLayout.field_slot(field)
    pick = np.min if function == "min" else np.max
    kind = np.float64 if dtype == "float64" else np.int64

    def extreme(run: _OpenRun) -> Value:
        first = run.first(window_us)
        count = run.until - first
        if not count:
            return None
        values = np.frombuffer(run.buffer, kind, count, run.head[slot] + _WORD * first)
        mask = run.head[slot + 1]
        if mask:
            values = values[np.frombuffer(run.buffer, np.bool_, count, mask + first)]
        if not len(values):
            return None
        value: float | int = pick(values).item()
        return value

    return extreme


def _last_getter(field: int, window_us: int, dtype: DType) -> _Get:
    get = _field_getter(field, dtype)
    slot = RunLayout.field_slot(field)

    def last(run: _OpenRun) -> Value:
        first = run.first(window_us)
        mask = run.head[slot + 1]
        if not mask:
            return get(run, run.until - 1) if run.until > first else None
        found = run.buffer[mask + first : mask + run.until].tobytes().rfind(b"\x01")
        return None if found < 0 else get(run, first + found)

    return last
