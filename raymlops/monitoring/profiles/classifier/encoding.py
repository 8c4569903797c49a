"""Rows as numbers that a linear classifier can tell apart, fitted on a reference's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import special

from raymlops.errors import DataError
from raymlops.monitoring.profiles.columns import as_floats, as_texts, column_kind

__all__ = ["Encoding"]

MAX_CATEGORIES = 8
MAX_CROSSED = 12
"""Numeric columns whose products are looked at, the first of them."""

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class _Column:
    """How one column is encoded: by its sorted reference values, or by its most frequent categories."""

    ranks: Floats | None = None
    categories: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return (1 if self.ranks is not None else len(self.categories)) + 1

    def encode(self, column: pa.ChunkedArray | None, out: Singles) -> None:
        """Values, then whether each is missing, into N rows of zeros; what is of another kind counts as missing."""
        out[:, -1] = 1.0
        kind = None if column is None else column_kind(column.type)
        if column is None or kind is None or (kind == "numeric") != (self.ranks is not None):
            return
        if self.ranks is not None:
            values = as_floats(column)
            known = ~np.isnan(values)
            below = np.searchsorted(self.ranks, values[known], side="left")
            upto = np.searchsorted(self.ranks, values[known], side="right")
            out[known, 0] = special.ndtri(((below + upto) / 2 + 0.5) / (self.ranks.size + 1))
        else:
            found = pc.index_in(as_texts(column), value_set=pa.array(self.categories, pa.string()))
            index = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
            known = column.is_valid().to_numpy()
            out[np.flatnonzero(index >= 0), index[index >= 0]] = 1.0
        out[known, -1] = 0.0


class Encoding:
    """Normal scores of numbers, indicators of categories and of missing values; squares and products of the scores.

    Immutable.

    Args:
        table: The reference's rows.
        columns: Columns to encode, the most important first.
    """

    def __init__(self, table: pa.Table, columns: Sequence[str]) -> None:
        self._columns = {name: _fit(table.column(name)) for name in columns}
        owners: list[tuple[int, int]] = []
        self._numeric: list[int] = []
        for number, column in enumerate(self._columns.values()):
            if column.ranks is not None:
                self._numeric.append(len(owners))
            owners += [(number, number)] * column.width
        crossed = self._numeric[:MAX_CROSSED]
        self._left, self._right = (np.array([crossed[i] for i in side], dtype=np.intp) for side in _pairs(crossed))
        owners += [(owners[at][0],) * 2 for at in self._numeric]
        owners += [(owners[a][0], owners[b][0]) for a, b in zip(self._left, self._right, strict=True)]
        self._owners = np.array(owners, dtype=np.intp).reshape(-1, 2)

    @property
    def owners(self) -> NDArray[np.intp]:
        """Per encoded number, the two columns it stems from, twice the same where it stems from one; shape (P, 2)."""
        return self._owners

    def encode(self, table: pa.Table) -> Singles:
        """N rows of P numbers. A column that is not there, or of another type, counts as missing."""
        present, at = set(table.column_names), 0
        out: Singles = np.zeros((len(self._owners), table.num_rows), np.float32).T  # a column lies in one piece
        for name, column in self._columns.items():
            column.encode(table.column(name) if name in present else None, out[:, at : at + column.width])
            at += column.width
        squares = at + len(self._numeric)
        np.square(out[:, self._numeric], out=out[:, at:squares])
        np.multiply(out[:, self._left], out[:, self._right], out=out[:, squares:])
        return out


def _pairs(items: Sequence[int]) -> tuple[list[int], list[int]]:
    left, right = np.triu_indices(len(items), 1)
    return left.tolist(), right.tolist()


def _fit(column: pa.ChunkedArray) -> _Column:
    kind = column_kind(column.type)
    if kind is None:
        raise DataError(f"column must hold numbers, booleans or strings, got {column.type}")
    if kind == "numeric":
        values = as_floats(column)
        return _Column(ranks=np.sort(values[~np.isnan(values)]))
    counted = pc.value_counts(as_texts(column).drop_null())
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    ranked = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    return _Column(categories=tuple(value for value, _ in ranked[:MAX_CATEGORIES]))
