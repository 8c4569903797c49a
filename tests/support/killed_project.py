"""The module of the small project: what its feature store holds, and what is asked of it."""

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from raymlops.features import Entity, FeatureReader, FeatureService, FeatureView, Field

_DEPOT = Entity("order_depot", ["depot"])
DEFINITIONS: tuple[Any, ...] = (
    _DEPOT,
    FeatureView(
        "depot_orders", _DEPOT, [Field("placed_at", "timestamp"), Field("size", "int64"), Field("late", "float64")]
    ),
    FeatureView("depot_loads", _DEPOT, [Field("load", "float64")], ttl=timedelta(days=1)),
    FeatureService("toy", ["depot_loads:load"]),
)


def spine(reader: FeatureReader, start: datetime, end: datetime) -> pa.Table:
    """Every order, whatever the window."""
    orders = reader.table("depot_orders")
    columns = {"event_time": orders["placed_at"], "label": orders["late"]}
    return pa.table({**columns, "depot": orders["depot"], "size": orders["size"]})
