"""The sketches of a window's columns, beside their counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from raymlops.monitoring.profiles.columns import ColumnBins, as_floats, as_texts
from raymlops.monitoring.profiles.profile import IdentifierSketch, Profile
from raymlops.monitoring.profiles.sketches import DistinctSketch, KnownValues, QuantileSketch, hash_texts

__all__ = ["new_value_share", "sketch_columns"]


def sketch_columns(profile: Profile, table: pa.Table, columns: Mapping[str, ColumnBins]) -> Profile:
    """The same profile with the quantiles of its numbers and the distinct counts of its identifiers.

    Args:
        profile: Of ``table``.
        table: The window's rows.
        columns: Columns of it, which are of the reference's kind, with their bins.
    """
    quantiles, identifiers = {}, {}
    for name, bins in columns.items():
        if pa.types.is_null(table[name].type):
            continue
        if bins.kind == "numeric":
            values = as_floats(table[name])
            quantiles[name] = QuantileSketch(values[np.isfinite(values)])
        elif bins.kind == "identifier":
            hashes = hash_texts(as_texts(table[name]))
            unknown = KnownValues.loads(bins.known).unknown(hashes) if bins.known else 0
            identifiers[name] = IdentifierSketch(DistinctSketch(hashes), hashes.size, unknown)
    return replace(profile, quantiles=quantiles, identifiers=identifiers)


def new_value_share(sketch: IdentifierSketch, bins: ColumnBins) -> float | None:
    """Share of the rows whose value the reference never held; ``None`` where the reference does not remember.

    Raises:
        DataError: The reference's known values cannot be read.
    """
    if not bins.known:
        return None
    return KnownValues.loads(bins.known).new_share(sketch.unknown, sketch.rows)
