"""How the values of one column become counts on bins frozen when the reference is fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raymlops.errors import DataError
from raymlops.monitoring.profiles.sketches import KnownValues, hash_texts
from raymlops.records.shown import shown

__all__ = [
    "ColumnBins",
    "as_floats",
    "as_texts",
    "bins_from_dict",
    "column_kind",
    "fit_bins",
    "label_number",
    "left_out",
    "singles",
]

Counts = NDArray[np.int64]
Slots = NDArray[np.intp]

NUMERIC_BINS = 16
MAX_ATOMS = 32
TOP_CATEGORIES = 20
MAX_KNOWN_CATEGORIES = 1000
SPECIAL_SLOTS = 2
"""Every column's counts end with two slots of their own: infinite values, then missing values."""

Kind = Literal["numeric", "categorical", "identifier"]


@shown()
@dataclass(frozen=True)
class ColumnBins:
    """The frozen bins of one column.

    Attributes:
        kind: ``numeric`` (ordered bins), ``categorical``, or ``identifier`` (too many values: only missing is counted).
        edges: Numeric: bin ``i`` holds ``edges[i-1] < x <= edges[i]``; the first bin lies below the range that the
            reference spans, the last one above it.
        categories: Categorical: values that have a bin of their own, the most frequent first; two more bins hold the
            other known values and those never seen.
        others: Categorical: known values without a bin of their own.
        known: Identifier: which values the reference held, as ``KnownValues`` stores them.
    """

    kind: Kind
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    known: str = ""

    @property
    def ordered(self) -> bool:
        """Whether a location shift means something."""
        return self.kind == "numeric"

    @property
    def bins(self) -> int:
        """Number of bins, without the two special slots."""
        if self.kind == "numeric":
            return len(self.edges) + 1
        return len(self.categories) + 2 if self.kind == "categorical" else 1

    @property
    def size(self) -> int:
        """Length of the counts."""
        return self.bins + SPECIAL_SLOTS

    def slots(self, column: pa.ChunkedArray) -> Slots:
        """The slot of each of the N values.

        Raises:
            DataError: The column's type is of another kind.
        """
        if pa.types.is_null(column.type):
            return np.full(len(column), self.size - 1, dtype=np.intp)
        kind = column_kind(column.type)
        if (kind == "numeric") != (self.kind == "numeric"):
            wanted = "numbers" if self.kind == "numeric" else "strings"
            raise DataError(f"type changed: the reference holds {wanted}, got {column.type}")
        if self.kind == "numeric":
            return self._numeric_slots(as_floats(column))
        texts = as_texts(column)
        if self.kind == "identifier":
            return np.where(texts.is_null().to_numpy(zero_copy_only=False), self.size - 1, 0).astype(np.intp)
        return self._categorical_slots(texts)

    def _numeric_slots(self, values: NDArray[np.float64]) -> Slots:
        slots: Slots = np.searchsorted(np.asarray(self.edges), values, side="left").astype(np.intp)
        slots[np.isinf(values)] = self.size - 2
        slots[np.isnan(values)] = self.size - 1
        return slots

    def _categorical_slots(self, texts: pa.Array) -> Slots:
        known = pa.array([*self.categories, *self.others], type=pa.string())
        found = pc.fill_null(pc.index_in(texts, value_set=known), -1).to_numpy(zero_copy_only=False)
        slots: Slots = np.minimum(found, len(self.categories)).astype(np.intp)
        slots[found < 0] = len(self.categories) + 1
        slots[texts.is_null().to_numpy(zero_copy_only=False)] = self.size - 1
        return slots

    def count(self, column: pa.ChunkedArray) -> Counts:
        """Values of the column per slot.

        Raises:
            DataError: The column's type is of another kind.
        """
        if self.kind == "numeric" and column_kind(column.type) == "numeric":
            return self._numeric_counts(as_floats(column))
        return np.bincount(self.slots(column), minlength=self.size).astype(np.int64)

    def _numeric_counts(self, values: NDArray[np.float64]) -> Counts:
        """The same as by slots; a pass per edge is far quicker than a search per value."""
        missing = int(np.count_nonzero(np.isnan(values)))
        positive = int(np.count_nonzero(values == np.inf))
        infinite = positive + int(np.count_nonzero(values == -np.inf))
        above = [int(np.count_nonzero(values > edge)) for edge in self.edges]
        counts = -np.diff([values.size - missing - (infinite - positive), *above, positive])
        return np.concatenate([counts, [infinite, missing]]).astype(np.int64)

    def spread(self, column: pa.ChunkedArray) -> tuple[float, float] | None:
        """Smallest and largest finite number of the column; ``None`` where there is none or it holds no numbers."""
        if self.kind != "numeric" or pa.types.is_null(column.type):
            return None
        values = as_floats(column)
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else None

    def labels(self) -> list[str]:
        """The label of each bin, for people."""
        if self.kind == "identifier":
            return ["any value"]
        if self.kind == "categorical":
            return [*self.categories, "other", "unseen"]
        if not self.edges:
            return ["any number"]
        middle = [_interval(low, high) for low, high in zip(self.edges, self.edges[1:], strict=False)]
        return [f"≤ {self.edges[0]:.4g}", *middle, f"> {self.edges[-1]:.4g}"]

    def to_dict(self) -> dict[str, Any]:
        """JSON values to rebuild it from."""
        values = {
            "kind": self.kind,
            "edges": list(self.edges),
            "categories": list(self.categories),
            "others": list(self.others),
        }
        return values | {"known": self.known} if self.known else values


def bins_from_dict(values: dict[str, Any]) -> ColumnBins:
    """The opposite of ``ColumnBins.to_dict``."""
    return ColumnBins(
        kind=values["kind"],
        edges=tuple(float(edge) for edge in values["edges"]),
        categories=tuple(values["categories"]),
        others=tuple(values["others"]),
        known=str(values.get("known", "")),
    )


def column_kind(dtype: pa.DataType) -> Kind | None:
    """Whether values of this Arrow type are numbers or categories; ``None`` where they are neither."""
    if pa.types.is_dictionary(dtype):
        return column_kind(dtype.value_type)
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype):
        return "numeric"
    if pa.types.is_decimal(dtype):
        return "numeric"
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return "categorical"
    return None


def fit_bins(column: pa.ChunkedArray) -> ColumnBins:
    """Freeze the bins of a reference column.

    Raises:
        DataError: The column's type is neither numeric nor text.
    """
    if pa.types.is_null(column.type):
        return ColumnBins(kind="numeric")
    kind = column_kind(column.type)
    if kind is None:
        raise DataError(f"column must hold numbers, booleans or strings, got {column.type}")
    if kind == "numeric":
        values = as_floats(column)
        return ColumnBins(kind="numeric", edges=_edges(values[np.isfinite(values)]))
    return _fit_categories(as_texts(column))


def singles(bins: ColumnBins, column: pa.ChunkedArray) -> tuple[int, int]:
    """Values of the column that ``bins`` were fitted on which no other value repeats, of those that matter.

    Returns:
        Numeric: whether the smallest is one, and the largest. Categorical: 0, and how many there are.
    """
    if bins.kind == "numeric" and bins.bins > 3:
        values = as_floats(column)
        finite = values[np.isfinite(values)]
        low, high = (int(np.count_nonzero(finite == extreme) == 1) for extreme in (finite.min(), finite.max()))
        return low, high
    if bins.kind == "categorical":
        frequency = pc.value_counts(as_texts(column).drop_null()).field("counts").to_numpy(zero_copy_only=False)
        return 0, int((frequency == 1).sum())
    return 0, 0


def left_out(bins: ColumnBins, counts: Counts, once: tuple[int, int]) -> Counts:
    """Counts as if each value had been left out of the fit.

    Without that the reference never holds a value out of its own range or an unseen category, and every large window
    would look drifted for holding some (the Good-Turing estimate of what is unseen).

    Args:
        bins: Fitted on all values that are counted.
        counts: Of the values.
        once: From ``singles``.
    """
    counts = counts.copy()
    low, high = once
    if bins.kind == "numeric":
        counts[:2] += (low, -low) if low else 0
        counts[bins.bins - 2 : bins.bins] += (-high, high) if high else 0
    elif bins.kind == "categorical":
        moved = min(high, int(counts[bins.bins - 2]))
        counts[bins.bins - 2 : bins.bins] += (-moved, moved)
    return counts


def _edges(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Edges at the reference's quantiles; a value frequent enough to fill a bin gets one of its own."""
    if not values.size:
        return ()
    ordered = np.sort(values)
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    distinct, frequency = ordered[starts], np.diff(np.r_[starts, ordered.size])
    below = _just_below(distinct[:1])
    if distinct.size <= MAX_ATOMS:
        edges = np.r_[below, distinct]
        return tuple(edges[np.isfinite(edges)].tolist())
    heavy = distinct[frequency * NUMERIC_BINS >= values.size]
    rest = ordered[~np.isin(ordered, heavy)]
    quantiles = np.linspace(0, 1, max(3, round(NUMERIC_BINS * rest.size / values.size)) + 1)[1:-1]
    inner = np.quantile(rest, quantiles, method="lower") if rest.size else np.empty(0)
    edges = np.unique(np.r_[below, inner, _just_below(heavy), heavy, distinct[-1]])
    return tuple(edges[np.isfinite(edges)].tolist())


def _just_below(values: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):  # below the smallest number lies -inf, which is no edge
        return np.asarray(np.nextafter(values, -np.inf))


def _fit_categories(texts: pa.Array) -> ColumnBins:
    counted = pc.value_counts(texts.drop_null())
    counts = counted.field("counts").to_pylist()
    pairs = zip(counted.field("values").to_pylist(), counts, strict=True)
    ranked = [value for value, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0]))]
    # Where most values occur once, most of the next window's will never have been seen: names, not categories.
    if len(ranked) > MAX_KNOWN_CATEGORIES or 2 * counts.count(1) > max(sum(counts), 2 * TOP_CATEGORIES):
        return ColumnBins(kind="identifier", known=KnownValues.fit(hash_texts(texts)).dumps())
    return ColumnBins(
        kind="categorical", categories=tuple(ranked[:TOP_CATEGORIES]), others=tuple(ranked[TOP_CATEGORIES:])
    )


def as_floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """The column as float64 with NaN for null."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    values = column.cast(pa.float64(), safe=False).to_numpy()
    return np.asarray(values, dtype=np.float64)


def as_texts(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array of strings, null where it is."""
    flat = column.cast(pa.string())
    return flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat


def _interval(low: float, high: float) -> str:
    return f"{high:.4g}" if math.nextafter(high, -math.inf) == low else f"{low:.4g} to {high:.4g}"


def label_number(text: str) -> float:
    """The number that a label's text stands for; NaN where it stands for none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
