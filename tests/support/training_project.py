"""A small project to train: orders that are late by their depot's load."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.features import FeatureStore
from raymlops.records.bundles import ProjectSpec
from tests.support import killed_project

__all__ = ["PROJECT", "SOURCE", "fill", "tables"]

_START = datetime(2013, 1, 1, tzinfo=UTC)
_DAYS, _ROWS = 50, 1500
_INSTANT = pa.timestamp("us", tz="UTC")
SOURCE = Path(killed_project.__file__).read_text()
"""The project's module."""
PROJECT = ProjectSpec(
    name="toy",
    model="toy",
    definitions="killed_project:DEFINITIONS",
    service="toy",
    spine="killed_project:spine",
    request_columns=("size",),
    training={"holdout_days": 12},
)
"""What is trained."""


def tables() -> dict[str, pa.Table]:
    """View -> rows of the first fifty days of 2013; equal at every call."""
    rng = np.random.default_rng(0)
    placed, depot = np.sort(rng.uniform(0, _DAYS, _ROWS)), rng.integers(0, 8, _ROWS)
    size = rng.integers(1, 6, _ROWS)
    pull = 1.6 * _load(depot, placed) + 0.5 * (size - 3)
    late = rng.random(_ROWS) < 1 / (1 + np.exp(-pull))
    orders = {
        "depot": pa.array(depot).cast(pa.string()),
        "event_time": _instants(placed + 2 / 24),
        "placed_at": _instants(placed),
        "size": pa.array(size),
        "late": pa.array(late.astype(np.float64)),
    }
    day, depots = (part.ravel() for part in np.meshgrid(np.arange(0, _DAYS, 0.25), np.arange(8), indexing="ij"))
    loads = {
        "depot": pa.array(depots).cast(pa.string()),
        "event_time": _instants(day),
        "load": pa.array(_load(depots, day)),
    }
    return {"depot_orders": pa.table(orders), "depot_loads": pa.table(loads)}


def fill(home: Path) -> None:
    """Make a home with a filled feature store, and ``project`` beside it with the project's module."""
    project = home.parent / "project"
    project.mkdir(parents=True)
    (project / "killed_project.py").write_text(SOURCE)
    store = FeatureStore(home / "features", clock=ManualClock(_START + timedelta(days=_DAYS)))
    store.apply(*killed_project.DEFINITIONS)
    for view, table in tables().items():
        store.ingest(view, table, ingest_id=view)
    store.close()


def _load(shop: npt.NDArray[Any], day: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """A depot's load: another one every six hours."""
    return np.asarray(np.sin(1.7 * shop + np.floor(day * 4) * 0.9), dtype=np.float64)


def _instants(days: npt.NDArray[Any]) -> pa.Array:
    return pa.array((days * 86_400e6).astype(np.int64) + int(_START.timestamp()) * 1_000_000).cast(_INSTANT)
