"""P29, P30 and P31 of the semantics, on disk and through the public interface; all histories are in test_laws."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.clock import ManualClock, to_us
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    WindowAggregate,
    audit,
)
from tests.support.point_in_time import spine_of, table_of

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
US = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
AIRPORT = FeatureView(
    "airport",
    Entity("airport", ["airport"]),
    [Field("delay", "float64"), Field("carrier", "string")],
    created_at="created_at",
    ttl=2 * HOUR,
    aggregates=[
        WindowAggregate("delays", "sum", "delay", 3 * HOUR),
        WindowAggregate("carriers", "distinct", "carrier", 3 * HOUR),
    ],
)
ORIGIN = AIRPORT.aliased("origin", {"airport": "origin"})
DESTINATION = AIRPORT.aliased("destination", {"airport": "destination"})
VIEWS = (AIRPORT, ORIGIN, DESTINATION)
FLIGHT = FeatureService("flight", [f"{view.name}:{name}" for view in VIEWS[1:] for name in view.feature_names])
PLAIN = FeatureService("plain", [f"airport:{name}" for name in AIRPORT.feature_names])
HISTORY = [
    {"airport": "JFK", "event_time": T - 5 * HOUR, "created_at": T - 5 * HOUR, "delay": 8.0, "carrier": "old"},
    {"airport": "JFK", "event_time": T - 2 * HOUR, "created_at": T - 2 * HOUR, "delay": 1.0, "carrier": "AA"},
    {"airport": "JFK", "event_time": T - HOUR, "created_at": T - HOUR, "delay": 2.0, "carrier": "BB"},
    {"airport": "JFK", "event_time": T - HOUR, "created_at": T, "delay": None, "carrier": "AA"},
    {"airport": "SFO", "event_time": T - 2 * HOUR - US, "created_at": T - HOUR, "delay": 4.0, "carrier": None},
    {"airport": "LAX", "event_time": T - 2 * HOUR, "created_at": T - HOUR, "delay": 16.0, "carrier": "CC"},
]
AIRPORTS = ["JFK", "SFO", "LAX", "nowhere", None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path, clock=ManualClock(T), history=2 * HOUR)
    opened.apply(*VIEWS, FLIGHT, PLAIN)
    yield opened
    opened.close()


@pytest.fixture
def reader(store: FeatureStore, tmp_path: Path) -> Iterator[FeatureReader]:
    opened = FeatureReader(tmp_path, clock=ManualClock(T))
    yield opened
    opened.close()


def flights(at: datetime) -> Any:
    pairs = itertools.product(AIRPORTS, AIRPORTS)
    return spine_of([{"event_time": at, "origin": origin, "destination": other} for origin, other in pairs])


def airports(at: datetime) -> Any:
    return spine_of([{"event_time": at, "airport": airport} for airport in AIRPORTS])


@pytest.mark.parametrize("order", list(itertools.permutations(range(1, 4))))
def test_p29_the_newest_event_stays_whatever_the_order_of_arrival(
    store: FeatureStore, reader: FeatureReader, order: tuple[int, ...]
) -> None:
    for place in order:
        store.push("airport", table_of(AIRPORT, [HISTORY[place]]), ingest_id=str(place))
    (got,) = reader.online("plain", airports(T).slice(0, 1)).to_pylist()
    assert (got["airport__delay"], got["airport__carrier"]) == (None, "AA")
    assert (got["airport__delays"], got["airport__carriers"]) == (3.0, 2)


@pytest.mark.parametrize("after", [-HOUR - US, -HOUR, 0 * HOUR, US, HOUR, HOUR + US, 2 * HOUR, 9 * HOUR])
def test_p30_an_online_read_is_the_join_at_that_instant(
    store: FeatureStore, reader: FeatureReader, after: timedelta
) -> None:
    store.ingest("airport", table_of(AIRPORT, HISTORY))
    store.materialize()
    at = T + after
    for service, spine in (("plain", airports(at)), ("flight", flights(at))):
        joined = reader.training_set(service, spine, name="check").table()
        assert reader.online(service, spine, at).equals(joined)
        assert audit(service, joined, reader).consistent


def test_p30_expired_values_are_never_served(store: FeatureStore, reader: FeatureReader) -> None:
    store.push("airport", table_of(AIRPORT, HISTORY), ingest_id="1")
    plan = reader.plan("flight")
    assert plan.request_columns == ("origin", "destination")
    found = plan.read([{"origin": "LAX", "destination": "SFO"}] * 2, [to_us(T), to_us(T + US)])
    assert found.columns["origin__delay"] == [16.0, None]
    assert found.columns["destination__delay"] == [None, None]
    assert found.columns["destination__delays"] == [4.0, 4.0]  # windows are not cut by the time to live
    assert found.event_times_us == {"origin": [to_us(T - 2 * HOUR), None], "destination": [None, None]}
    of_destination = [f"destination__{name}" for name in AIRPORT.feature_names]
    of_origin = [f"origin__{name}" for name in AIRPORT.feature_names]
    assert found.missing == [of_destination, of_origin + of_destination]


def test_p30_the_audit_finds_what_was_served_otherwise(store: FeatureStore, reader: FeatureReader) -> None:
    store.push("airport", table_of(AIRPORT, HISTORY), ingest_id="1")
    served = reader.training_set("flight", flights(T), name="check").table()
    wrong = [None if value is None else value + 1 for value in served["origin__delays"].to_pylist()]
    tampered = served.set_column(served.column_names.index("origin__delays"), "origin__delays", [wrong])
    report = audit("flight", tampered, reader)
    assert report.features["origin__delays"].mismatch == 3 / 5
    assert report.features["destination__delays"].mismatch == 0.0


def test_p31_materialising_again_changes_nothing(store: FeatureStore, reader: FeatureReader) -> None:
    store.ingest("airport", table_of(AIRPORT, HISTORY[:3]), ingest_id="1")
    assert [receipt.rows for receipt in store.materialize()] == [3, 3, 3]
    assert [receipt.rows for receipt in store.materialize()] == [0, 0, 0]
    store.ingest("airport", table_of(AIRPORT, HISTORY[3:]), ingest_id="2")
    store.ingest("airport", table_of(AIRPORT, HISTORY[:3]), ingest_id="1")
    assert [receipt.rows for receipt in store.materialize("origin")] == [3]
    assert [receipt.rows for receipt in store.materialize()] == [3, 3, 0]
    joined = reader.training_set("flight", flights(T), name="check").table()
    assert reader.online("flight", flights(T), T).equals(joined)
