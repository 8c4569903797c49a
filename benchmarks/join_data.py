"""The data of the join's benchmarks: keyed rows with four features, uniform in time, and spines to ask about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.clock import SystemClock
from raymlops.features import Entity, FeatureService, FeatureStore, FeatureView, Field
from raymlops.tables.columns import INSTANT

__all__ = ["FEATURES", "SERVICE", "VIEW", "spine_of", "store_rows", "table_of"]

FEATURES = ("f0", "f1", "f2", "f3")
VIEW = FeatureView("facts", Entity("thing", ["k"]), [Field(name, "float64") for name in FEATURES], online=False)
SERVICE = FeatureService("all", [f"facts:{name}" for name in FEATURES])

_START_US = 1_700_000_000_000_000
_SPAN_US = 365 * 86_400 * 10**6
_PIECE = 2_000_000


def table_of(rows: int, keys: int, seed: int) -> pa.Table:
    """Rows of the view; the same for the same arguments."""
    chance = np.random.default_rng([seed, rows])
    return pa.table({**_who_and_when(chance, rows, keys), **{name: chance.normal(size=rows) for name in FEATURES}})


def spine_of(rows: int, keys: int, seed: int = 10**6) -> pa.Table:
    """A spine; the same for the same arguments."""
    return pa.table(_who_and_when(np.random.default_rng([seed, rows]), rows, keys))


def _who_and_when(chance: np.random.Generator, rows: int, keys: int) -> dict[str, Any]:
    at = pa.array(_START_US + chance.integers(0, _SPAN_US, rows)).cast(INSTANT)
    return {"k": chance.integers(0, keys, rows), "event_time": at}


def store_rows(root: Path, rows: int, keys: int) -> None:
    """Apply the definitions and ingest rows, a piece at a time."""
    store = FeatureStore(root, clock=SystemClock())
    store.apply(VIEW, SERVICE)
    for number, piece in enumerate(pieces(rows, keys)):
        store.ingest("facts", piece, ingest_id=f"piece {number}")
    store.close()


def pieces(rows: int, keys: int) -> Iterator[pa.Table]:
    """The rows of a table that is made in pieces."""
    for number, start in enumerate(range(0, rows, _PIECE)):
        yield table_of(min(_PIECE, rows - start), keys, number)
