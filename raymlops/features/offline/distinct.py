"""Distinct counts of a field in time windows, for many instants at once.

A row counts in the window at T if it was known by T and T lies before the instant at which it leaves the window. The
instants at which a value is in the window are therefore a union of spans, one per row that has the value. Disjoint
spans that cover the same instants are found by one sort; then the values in the window at T are the spans that began
until T less those that ended until T. This holds with a knowledge cutoff and without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.features.offline.moments import Moments

if TYPE_CHECKING:
    from raymlops.features.offline.timeline import Timeline

__all__ = ["DistinctValues"]

Ints = npt.NDArray[np.int64]

_SORTABLE_BITS = 60  # of a pair and a place, which ``Moments`` packs into one integer


class DistinctValues:
    """The values of one field of a timeline, each with the instants from which on it was known.

    Args:
        timeline: Rows of the view.
        column: The field's values, in the timeline's order.
    """

    def __init__(self, timeline: Timeline, column: Any) -> None:
        present = np.flatnonzero(pc.is_valid(column).to_numpy())
        values, count = _numbered(column, present)
        keys = np.repeat(np.arange(len(timeline.starts) - 1), np.diff(timeline.starts))[present]
        pairs = keys * count + values
        if len(pairs) and int(pairs.max()).bit_length() + len(pairs).bit_length() > _SORTABLE_BITS:
            pairs = np.unique(pairs, return_inverse=True)[1]
        order = Moments(pairs, timeline.known_us[present]).order
        rows = present[order]
        self._keys, self._pairs = keys[order], pairs[order]
        self._known, self._event = timeline.known_us[rows], timeline.event_us[rows]
        self._in_event_order = timeline.known_order is None

    def count(self, span_us: int, keys: Ints, at_us: Ints) -> Ints:
        """Different values in the window at each instant.

        Args:
            span_us: Length of the window.
            keys: Numbers of the keys asked about.
            at_us: Instants asked about.
        """
        begins, ends = self._known, self._event + span_us
        used = begins < ends  # what became known too late is in the window at no instant
        owners, pairs, begins, ends = (part[used] for part in (self._keys, self._pairs, begins, ends))
        if not len(owners):
            return np.zeros(len(keys), np.int64)
        covered = ends if self._in_event_order else _running_maximum(ends, pairs)
        first = np.ones(len(owners), np.bool_)
        first[1:] = (pairs[1:] != pairs[:-1]) | (begins[1:] > covered[:-1])
        last = np.append(first[1:], True)
        owners = owners[first]
        begun, ended = (Moments(owners, instants) for instants in (begins[first], covered[last]))
        return begun.count_until(keys, at_us) - ended.count_until(keys, at_us)


def _numbered(column: Any, present: Ints) -> tuple[Ints, int]:
    """Numbers of the values at some places, equal where the values are, and how many there are.

    A conforming column has one zero and no NaN.
    """
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    encoded = chunked.combine_chunks().dictionary_encode()
    numbers: Ints = encoded.indices.take(pa.array(present)).to_numpy().astype(np.int64)
    return numbers, len(encoded.dictionary)


def _running_maximum(values: Ints, groups: Ints) -> Ints:
    frame = pl.DataFrame({"values": values, "groups": groups})
    maxima: Ints = frame.select(pl.col("values").cum_max().over("groups")).to_series().to_numpy()
    return maxima
