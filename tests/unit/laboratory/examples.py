"""Matrices and tables whose answers can be told by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from raymlops.laboratory import LossMatrix

FIRST = 3


def ageing(count: int = 10, slope: float = 0.1, rows: int = 4, first: int = FIRST) -> LossMatrix:
    """Models that lose 1 when they are new, and ``slope`` more for each window of age: every row alike."""
    pairs = [(i, j) for j in range(first, first + count) for i in range(first, j + 1)]
    return LossMatrix.from_losses({(i, j): np.full(rows, 1 + slope * (j - i)) for i, j in pairs}, first=first)


def drifting_table(weeks: int = 14, rows: int = 60, *, turns: bool = True) -> pa.Table:
    """A label that follows one input first, and its opposite from the middle on; text, bool and instants beside it."""
    rng = np.random.default_rng(5)
    total = weeks * rows
    start = datetime(2024, 1, 1, tzinfo=UTC)
    at = [start + timedelta(days=7 * k / rows) for k in range(total)]
    x = rng.normal(size=total)
    sign = np.where(np.arange(total) < total // 2, 1.0, -1.0) if turns else np.ones(total)
    label = np.where(x * sign + 0.3 * rng.normal(size=total) > 0, "yes", "no")
    return pa.table(
        {
            "at": pa.array(at),
            "x": x,
            "shop": pa.array([f"shop {k % 7}" if k % 11 else None for k in range(total)]),
            "holiday": pa.array([k % 5 == 0 for k in range(total)]),
            "opened": pa.array([instant - timedelta(days=k % 400) for k, instant in enumerate(at)]),
            "user": pa.array([f"u{k % 13}" for k in range(total)]),
            "answer": pa.array(label),
        }
    )
