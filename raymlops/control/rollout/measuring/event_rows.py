"""Which prediction events are whose. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.records.plans import BLOCKED

__all__ = ["Mask", "blocked", "is_value", "mask_of", "served_within", "stands_in"]

Mask = npt.NDArray[np.bool_]


def served_within(events: pa.Table, since: datetime, until: datetime) -> pa.Table:
    """Events served from ``since`` on and before ``until``."""
    at = events["served_at"]
    return events.filter(pc.and_(pc.greater_equal(at, pa.scalar(since)), pc.less(at, pa.scalar(until))))


def is_value(table: pa.Table, column: str, value: str | int) -> Mask:
    """Where a column holds a value."""
    return mask_of(pc.equal(table[column], value))


def stands_in(events: pa.Table) -> Mask:
    """Rows that the backup or the baseline answered because the champion failed."""
    others = is_value(events, "role", "backup") | is_value(events, "role", "baseline")
    return others & ~blocked(events["fallback"])


def blocked(reasons: pa.ChunkedArray) -> Mask:
    """Mask of the rows for which the champion was not asked because it was blocked."""
    return mask_of(pc.match_substring_regex(reasons, rf"(^|; )champion \d+: {BLOCKED}(;|$)"))


def mask_of(values: Any) -> Mask:
    """Truth values, null being false."""
    return np.asarray(pc.fill_null(values, False), dtype=np.bool_)
