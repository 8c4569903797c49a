"""Columns of a table as the numbers that small models of it are fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raymlops.monitoring.profiles.columns import column_kind

__all__ = ["Basis", "floats_of", "texts_of"]

MAX_LEVELS = 12
HINGES = (0.2, 0.5, 0.8)
MAX_PRODUCTS_OF = 8
REACH = 9.0
"""Squares and products are cut here: a single wild value must not rule a fit."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Numeric:
    """A standardised number: itself, its square, a hinge at each of three quantiles, and whether it is missing."""

    name: str
    mean: float
    scale: float
    low: float
    high: float
    hinges: tuple[float, ...]

    def line(self, table: pa.Table) -> tuple[Floats, Floats]:
        """Standardised values, 0 where there is none, and 1 where there is none."""
        values = floats_of(table, self.name)
        absent = ~np.isfinite(values)
        cut = np.clip(np.where(absent, self.mean, values), self.low, self.high)
        return (cut - self.mean) / self.scale, absent.astype(np.float64)

    def terms(self, table: pa.Table) -> list[Floats]:
        line, absent = self.line(table)
        square = np.minimum(line * line, REACH)
        return [line, square, *(np.maximum(line - hinge, 0.0) for hinge in self.hinges), absent]


@dataclass(frozen=True)
class _Levels:
    """A column of few values: one indicator for each, and one for a missing value; a value never seen has none."""

    name: str
    levels: tuple[float | str, ...]

    def terms(self, table: pa.Table) -> list[Floats]:
        if self.levels and isinstance(self.levels[0], str):
            texts = texts_of(table, self.name)
            absent = np.array([text is None for text in texts], dtype=np.float64)
            return [*((texts == level).astype(np.float64) for level in self.levels), absent]
        values = floats_of(table, self.name)
        absent = (~np.isfinite(values)).astype(np.float64)
        return [*((values == level).astype(np.float64) for level in self.levels), absent]


class Basis:
    """Turns rows into a matrix of standardised terms, the same ones for every table.

    Numbers give a line, a square and hinges; columns of few values give indicators; the first numeric columns give
    products of two. Terms that do not vary among the rows it was fitted on are left out. Immutable.
    """

    def __init__(self, columns: Sequence[_Numeric | _Levels], mean: Floats, scale: Floats) -> None:
        self._columns = tuple(columns)
        self._mean = mean
        self._scale = scale

    @classmethod
    def fit(cls, table: pa.Table, names: Sequence[str]) -> Self:
        """Choose terms for the columns ``names`` of a table, the most important first."""
        columns = [column for name in names if (column := _fit_column(table, name)) is not None]
        if not columns:
            return cls((), np.empty(0), np.empty(0))
        terms = _terms(columns, table)
        scale = terms.std(axis=0)
        return cls(columns, terms.mean(axis=0), np.where(scale > 1e-6, scale, np.inf))

    def matrix(self, table: pa.Table) -> Floats:
        """The terms of N rows, shape [N, terms]; a column that is not there counts as missing."""
        if not self._columns:
            return np.empty((table.num_rows, 0))
        kept = np.isfinite(self._scale)
        return (_terms(self._columns, table)[:, kept] - self._mean[kept]) / self._scale[kept]


def floats_of(table: pa.Table, name: str) -> Floats:
    """A column as float64; NaN where it is null, not there, or no number."""
    if name not in table.column_names or column_kind(table[name].type) != "numeric":
        return np.full(table.num_rows, np.nan)
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def texts_of(table: pa.Table, name: str) -> NDArray[np.object_]:
    """A column as text; ``None`` where it is null, not there, or no text."""
    if name not in table.column_names or column_kind(table[name].type) != "categorical":
        return np.full(table.num_rows, None, dtype=object)
    return np.array(table[name].cast(pa.string()).to_pylist(), dtype=object)


def _terms(columns: Sequence[_Numeric | _Levels], table: pa.Table) -> Floats:
    found = [term for column in columns for term in column.terms(table)]
    lines = [column.line(table)[0] for column in columns if isinstance(column, _Numeric)][:MAX_PRODUCTS_OF]
    found += [np.clip(one * other, -REACH, REACH) for one, other in combinations(lines, 2)]
    return np.column_stack(found)


def _fit_column(table: pa.Table, name: str) -> _Numeric | _Levels | None:
    """``None`` for a column that holds nothing to learn from."""
    if column_kind(table[name].type) == "categorical":
        counted = pc.value_counts(table[name].cast(pa.string()).drop_null())
        pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
        ranked = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
        return _Levels(name, tuple(value for value, _ in ranked[:MAX_LEVELS])) if ranked else None
    values = floats_of(table, name)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    distinct = np.unique(finite)
    if distinct.size <= MAX_LEVELS:
        return _Levels(name, tuple(distinct.tolist()))
    low, high = np.quantile(finite, [0.001, 0.999])
    cut = np.clip(finite, low, high)
    mean, scale = float(cut.mean()), float(cut.std())
    if not scale > 0:
        return None
    hinges = np.quantile((cut - mean) / scale, HINGES)
    return _Numeric(name, mean, scale, float(low), float(high), tuple(hinges.tolist()))
