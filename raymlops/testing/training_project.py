"""A small project to train: orders that are late by their shop's load, at two shops' worth of data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.features import Entity, FeatureService, FeatureStore, FeatureView, Field
from raymlops.records.bundles import ProjectSpec

__all__ = ["PROJECT", "fill"]

_START = datetime(2013, 1, 1, tzinfo=UTC)
_DAYS, _ROWS = 60, 1500
_INSTANT = pa.timestamp("us", tz="UTC")
_SPINE = """
import pyarrow as pa


def spine(reader, start, end):
    orders = reader.table("orders")
    return pa.table(
        {"event_time": orders["placed_at"], "label": orders["late"], "shop": orders["shop"], "size": orders["size"]}
    )
"""
_SHOP = Entity("shop", ["shop"])
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


def fill(home: Path) -> None:
    """Make a home with a filled feature store, and ``project`` beside it with the project's module."""
    project = home.parent / "project"
    project.mkdir(parents=True)
    (project / "killed_project.py").write_text(_SPINE)
    rng = np.random.default_rng(0)
    placed, shop = np.sort(rng.uniform(0, _DAYS, _ROWS)), rng.integers(0, 8, _ROWS)
    size = rng.integers(1, 6, _ROWS)
    pull = 1.6 * _load(shop, placed) + 0.5 * (size - 3)
    late = rng.random(_ROWS) < 1 / (1 + np.exp(-pull))
    orders = {
        "shop": pa.array(shop).cast(pa.string()),
        "event_time": _instants(placed + 2 / 24),
        "placed_at": _instants(placed),
        "size": pa.array(size),
        "late": pa.array(late.astype(np.float64)),
    }
    day, shops = (part.ravel() for part in np.meshgrid(np.arange(0, _DAYS, 0.25), np.arange(8), indexing="ij"))
    loads = {
        "shop": pa.array(shops).cast(pa.string()),
        "event_time": _instants(day),
        "load": pa.array(_load(shops, day)),
    }
    store = FeatureStore(home / "features", clock=ManualClock(_START + timedelta(days=_DAYS)))
    store.apply(
        _SHOP,
        FeatureView(
            "orders", _SHOP, [Field("placed_at", "timestamp"), Field("size", "int64"), Field("late", "float64")]
        ),
        FeatureView("loads", _SHOP, [Field("load", "float64")], ttl=timedelta(days=1)),
        FeatureService("toy", ["loads:load"]),
    )
    store.ingest("orders", pa.table(orders), ingest_id="orders")
    store.ingest("loads", pa.table(loads), ingest_id="loads")
    store.close()


def _load(shop: npt.NDArray[Any], day: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """A shop's load: another one every six hours."""
    return np.asarray(np.sin(1.7 * shop + np.floor(day * 4) * 0.9), dtype=np.float64)


def _instants(days: npt.NDArray[Any]) -> pa.Array:
    return pa.array((days * 86_400e6).astype(np.int64) + int(_START.timestamp()) * 1_000_000).cast(_INSTANT)
