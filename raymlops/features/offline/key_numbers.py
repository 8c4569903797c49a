"""Entity keys as dense numbers, for joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["UNKNOWN", "KeyIndex", "group_rows"]

UNKNOWN = -1
"""Number of a key that has no rows, or has a null in it."""

_SPREAD = 4  # integers spread over no more than this many places per row are numbered by a table instead of a hash
_SPREAD_FREE = 1024

Ints = npt.NDArray[np.int64]


class KeyIndex:
    """The distinct keys of a table, numbered from 0 without gaps.

    Immutable; made by ``group_rows``.

    Args:
        names: The key columns.
        levels: One numbering per column, and, from the second column on, one of the pairs of the number so far and the
            column's.
    """

    def __init__(self, names: Sequence[str], levels: Sequence[_Numbering]) -> None:
        self._names = tuple(names)
        self._columns = levels[: len(names)]
        self._pairs = levels[len(names) :]

    def __len__(self) -> int:
        return (self._pairs or self._columns)[-1].count if self._names else 1

    @property
    def types(self) -> dict[str, Any]:
        """Key column -> its Arrow type, int64 or string."""
        return {name: column.values.type for name, column in zip(self._names, self._columns, strict=True)}

    @cached_property
    def distinct(self) -> pl.DataFrame:
        """The keys; row ``i`` is key ``i``."""
        if not self._names:
            return pl.DataFrame({"": [True]})
        numbers, parts = np.arange(len(self)), []
        for pairs, column in zip(self._pairs[::-1], self._columns[:0:-1], strict=True):
            numbers, part = np.divmod(pairs.values.to_numpy()[numbers], max(column.count, 1))
            parts.append(part)
        columns = [
            column.values.take(pa.array(part))
            for column, part in zip(self._columns, [numbers, *parts[::-1]], strict=True)
        ]
        return pl.DataFrame(pa.table(dict(zip(self._names, columns, strict=True))))

    def find(self, columns: Sequence[Any]) -> Ints:
        """Numbers of the keys in columns of the index's types; ``UNKNOWN`` where a key is not among them."""
        numbers = self._columns[0].find(columns[0])
        for pairs, numbering, column in zip(self._pairs, self._columns[1:], columns[1:], strict=True):
            numbers = pairs.find(_paired(numbers, numbering.find(column), numbering.count))
        return numbers


def group_rows(table: Any, keys: Sequence[str]) -> tuple[Ints, KeyIndex]:
    """Number the keys of a table's rows.

    Args:
        table: Rows with conforming key columns.
        keys: The key columns.

    Returns:
        One number per row, ``UNKNOWN`` where a key is null; and the keys that have numbers.
    """
    if not keys:
        return np.zeros(table.num_rows, np.int64), KeyIndex((), ())
    columns, pairs = [], []
    numbers, first = _number(table[keys[0]])
    columns.append(first)
    for key in keys[1:]:
        right, numbering = _number(table[key])
        columns.append(numbering)
        numbers, both = _number(_paired(numbers, right, numbering.count))
        pairs.append(both)
    return numbers, KeyIndex(keys, [*columns, *pairs])


@dataclass(frozen=True)
class _Numbering:
    """The distinct values of a column, numbered; ``rank`` maps integers from ``low`` on where they lie close."""

    values: Any
    low: int = 0
    rank: Ints | None = None

    @property
    def count(self) -> int:
        return len(self.values)

    def find(self, column: Any) -> Ints:
        """Numbers of other values of the same type; ``UNKNOWN`` without one."""
        if self.rank is None:
            found: Ints = pc.fill_null(pc.index_in(column, value_set=self.values), UNKNOWN).to_numpy().astype(np.int64)
            return found
        integers, valid = _integers(column)
        inside = valid & (integers >= self.low) & (integers < self.low + len(self.rank))
        return np.where(inside, self.rank[np.where(inside, integers - self.low, 0)], UNKNOWN)


def _number(column: Any) -> tuple[Ints, _Numbering]:
    """Number the values of an int64 or string column, nulls being ``UNKNOWN``."""
    if pa.types.is_int64(column.type) and column.null_count < len(column):
        bounds = pc.min_max(column)
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        if high - low < _SPREAD * len(column) + _SPREAD_FREE:
            return _number_near(column, low, high)
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    encoded = pc.dictionary_encode(chunked).unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no rows
        return np.zeros(0, np.int64), _Numbering(pa.array([], column.type))
    numbers: Ints = pc.fill_null(encoded.indices, UNKNOWN).to_numpy().astype(np.int64)
    return numbers, _Numbering(encoded.dictionary)


def _number_near(column: Any, low: int, high: int) -> tuple[Ints, _Numbering]:
    integers, valid = _integers(column)
    some_null = column.null_count > 0
    places = np.where(valid, integers - low, 0) if some_null else integers - low
    there = np.zeros(high - low + 1, np.bool_)
    there[places[valid] if some_null else places] = True
    values = pa.array(np.flatnonzero(there) + low)
    rank = np.where(there, np.cumsum(there) - 1, UNKNOWN)
    numbers = places if there.all() else rank[places]
    return np.where(valid, numbers, UNKNOWN) if some_null else numbers, _Numbering(values, low, rank)


def _integers(column: Any) -> tuple[Ints, Any]:
    """Values with 0 for null, and where they are not null: a mask, or ``True``."""
    if not column.null_count:
        return column.to_numpy(), np.True_
    return pc.fill_null(column, 0).to_numpy(), pc.is_valid(column).to_numpy(zero_copy_only=False)


def _paired(left: Ints, right: Ints, count: int) -> Any:
    """Two numbers as one, null where one is unknown."""
    return pa.array(left * count + right, mask=(left == UNKNOWN) | (right == UNKNOWN))
