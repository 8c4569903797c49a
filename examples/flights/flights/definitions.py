"""What the feature store knows about flights.

Everything about delays is computed from flights that had landed: an event is dated with its landing, and a feature of a
flight looks at the events up to its scheduled departure. ``planes`` is kept for look-ups and is no feature: which plane
flies is settled on the day, often after the scheduled departure, so that its history would tell of the future.
"""

from __future__ import annotations

from datetime import timedelta

from flights.sources import REQUEST_FIELDS
from raymlops.features import Entity, FeatureService, FeatureView, Field, WindowAggregate

__all__ = ["DEFINITIONS", "SERVICE"]

_OWNER = "flights-team"
_SPANS = {"1h": timedelta(hours=1), "3h": timedelta(hours=3), "24h": timedelta(hours=24), "7d": timedelta(days=7)}

flight = Entity("flight", ["flight_id"])
plane = Entity("plane", ["tailnum"])
origin = Entity("origin", ["origin"])
carrier = Entity("carrier", ["carrier"])
dest = Entity("dest", ["dest"])
carrier_origin = Entity("carrier_origin", ["carrier", "origin"])
route = Entity("route", ["origin", "dest"])

flights = FeatureView(
    "flights",
    flight,
    [
        *(Field(name, "string") for name in ("origin", "carrier", "dest", "tailnum")),
        Field("late", "float64", nullable=False, allowed=[0.0, 1.0], description="arrived more than 15 minutes late"),
        Field("arr_delay", "float64", ge=-60, le=180, description="minutes, clipped"),
        Field("dep_delay", "float64", ge=-60, le=180, description="minutes, clipped"),
        Field("sched_dep", "timestamp", nullable=False),
        *(Field(name, "int64", nullable=False) for name in REQUEST_FIELDS),
    ],
    online=False,
    owner=_OWNER,
    description="Flights that landed, dated with their landing.",
)

weather = FeatureView(
    "weather",
    origin,
    [
        *(Field(name, "float64") for name in ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust")),
        *(Field(name, "float64") for name in ("precip", "pressure", "visib")),
    ],
    ttl=timedelta(hours=4),
    owner=_OWNER,
    description="Hourly weather at the airports of departure.",
)

planes = FeatureView(
    "planes",
    plane,
    [Field("built", "int64"), Field("engines", "int64"), Field("seats", "int64")],
    owner=_OWNER,
    description="The fleet. No feature of the model, see the module's docstring.",
)


def _recent(
    name: str, entity: Entity, late: tuple[str, ...] = (), delay: tuple[str, ...] = (), count: tuple[str, ...] = ()
) -> FeatureView:
    """Recent punctuality of an entity: share of late flights, mean delay in minutes, number of landings."""
    wanted = (("late", "mean", "late", late), ("delay", "mean", "arr_delay", delay), ("count", "count", "late", count))
    aggregates = [
        WindowAggregate(f"{prefix}_{span}", function, column, _SPANS[span])
        for prefix, function, column, spans in wanted
        for span in spans
    ]
    columns = dict.fromkeys(aggregate.field for aggregate in aggregates)
    fields = [Field(column, "float64") for column in columns]
    return FeatureView(name, entity, fields, source="flights", aggregates=aggregates, owner=_OWNER)


recent = (
    _recent("origin_recent", origin, ("1h", "3h", "24h", "7d"), ("1h", "3h", "24h"), ("3h",)),
    _recent("carrier_recent", carrier, ("1h", "3h", "24h", "7d"), ("1h", "3h", "24h"), ("3h",)),
    _recent("dest_recent", dest, ("3h", "24h", "7d"), ("3h", "24h")),
    _recent("carrier_origin_recent", carrier_origin, ("3h", "24h")),
    _recent("route_recent", route, delay=("7d",)),
)

_WEATHER_FEATURES = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")

SERVICE = FeatureService(
    "flight_delay",
    [
        *(f"weather:{name}" for name in _WEATHER_FEATURES),
        *(f"{view.name}:{aggregate.name}" for view in recent for aggregate in view.aggregates),
    ],
)

DEFINITIONS = (
    *(flight, plane, origin, carrier, dest, carrier_origin, route),
    *(flights, weather, planes),
    *recent,
    SERVICE,
)
