from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock, to_us
from raymlops.errors import ConfigError, DataError, SchemaMismatch
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    OnDemandView,
    OnlinePlan,
    WindowAggregate,
)
from raymlops.tables.columns import INSTANT

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
AT = to_us(T)
SHOP = FeatureView(
    "shop",
    Entity("shop", ["shop"]),
    [Field("x", "float64"), Field("name", "string"), Field("since", "timestamp")],
    ttl=HOUR,
    aggregates=[WindowAggregate("n", "count", "x", HOUR)],
)
CITY = FeatureView("city", Entity("city", ["city"]), [Field("size", "int64")])


def per_head(columns: Any) -> Any:
    return {"ratio": columns["shop__x"] / columns["city__size"] * columns["factor"]}


RATIO = OnDemandView("od", ["shop:x", "city:size", "factor"], [Field("ratio", "float64")], f"{__name__}:per_head")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path, clock=ManualClock(T), history=HOUR)
    services = [
        FeatureService("plain", ["city:size", "shop:x", "shop:n", "shop:name", "shop:since"]),
        FeatureService("computed", ["od:ratio", "shop:x"]),
    ]
    opened.apply(SHOP, CITY, RATIO, *services)
    yield opened
    opened.close()


@pytest.fixture
def filled(store: FeatureStore) -> FeatureStore:
    times = pa.array([T - 2 * HOUR, T, T], INSTANT)
    shops = {"shop": ["old", "a", "b"], "event_time": times, "x": [1.0, 2.0, None], "name": ["o", "é", None]}
    store.push("shop", pa.table({**shops, "since": times}), ingest_id="shops")
    cities = {"city": [1, 2], "event_time": times[1:], "size": [2**60 + 1, 4]}
    store.push("city", pa.table(cities), ingest_id="cities")
    return store


@pytest.fixture
def reader(store: FeatureStore, tmp_path: Path) -> Iterator[FeatureReader]:
    opened = FeatureReader(tmp_path, clock=ManualClock(T))
    yield opened
    opened.close()


@pytest.fixture
def plan(filled: FeatureStore, reader: FeatureReader) -> OnlinePlan:
    return reader.plan("plain")


def test_what_a_plan_asks_and_answers(plan: OnlinePlan) -> None:
    assert plan.request_columns == ("city", "shop")
    assert plan.feature_columns == ("city__size", "shop__x", "shop__n", "shop__name", "shop__since")


def test_rows_are_read_each_at_its_instant(plan: OnlinePlan) -> None:
    rows = [
        {"city": 1, "shop": "a", "more": object()},
        {"city": 2, "shop": "b"},
        {"city": 9, "shop": "old"},
        {"city": None, "shop": None},
        {"city": 2, "shop": "a"},
    ]
    found = plan.read(rows, [AT, AT, AT, AT, AT - 1])
    assert found.columns == {
        "city__size": [2**60 + 1, 4, None, None, None],
        "shop__x": [2.0, None, None, None, None],
        "shop__n": [1, 0, 0, 0, 0],
        "shop__name": ["é", None, None, None, None],
        "shop__since": [AT, AT, None, None, None],
    }
    assert found.event_times_us == {"city": [AT, AT, None, None, None], "shop": [AT, AT, None, None, None]}
    everything = ["city__size", "shop__x", "shop__n", "shop__name", "shop__since"]
    assert [sorted(names) for names in found.missing] == [[], [], *[sorted(everything)] * 3]
    assert list(found.columns) == list(plan.feature_columns)


def test_an_expired_row_is_missing_and_its_windows_are_not(filled: FeatureStore, reader: FeatureReader) -> None:
    found = reader.plan("plain").read([{"city": 1, "shop": "a"}], [AT + 60 * 60 * 10**6 - 1])
    assert (found.columns["shop__x"], found.columns["shop__n"], found.missing) == ([2.0], [1], [[]])
    found = reader.plan("plain").read([{"city": 1, "shop": "a"}], [AT + 60 * 60 * 10**6 + 1])
    assert (found.columns["shop__x"], found.columns["city__size"]) == ([None], [2**60 + 1])
    assert found.missing == [["shop__x", "shop__n", "shop__name", "shop__since"]]


def test_no_rows(plan: OnlinePlan, reader: FeatureReader) -> None:
    found = plan.read([], [])
    assert found.columns == {name: [] for name in plan.feature_columns}
    assert plan.table(found).num_rows == 0
    assert reader.plan("computed").read([], []).columns == {"od__ratio": [], "shop__x": []}


def test_wrong_requests_are_named(plan: OnlinePlan) -> None:
    with pytest.raises(SchemaMismatch, match=r"view 'shop': key 'shop' is missing, got \['city'\]"):
        plan.read([{"city": 1}], [AT])
    with pytest.raises(DataError, match="view 'city': key 'city' must be int, got '1'"):
        plan.read([{"city": "1", "shop": "a"}], [AT])
    with pytest.raises(DataError, match="view 'shop': key 'shop' must be str, got 1"):
        plan.read([{"city": 1, "shop": 1}], [AT])


def test_on_demand_features_are_computed_from_the_request(filled: FeatureStore, reader: FeatureReader) -> None:
    plan = reader.plan("computed")
    assert plan.request_columns == ("shop", "city", "factor")
    rows = [{"shop": "a", "city": 2, "factor": 3}, {"shop": "a", "city": 7, "factor": None}]
    found = plan.read(rows, [AT, AT])
    assert found.columns == {"od__ratio": [1.5, None], "shop__x": [2.0, 2.0]}
    assert found.missing == [[], []]  # city:size is an input only, not a feature of the service
    spine = pa.Table.from_pylist(rows).append_column("event_time", pa.array([T, T], INSTANT))
    offline = reader.training_set("computed", spine, name="x").table()
    assert offline.select(["od__ratio", "shop__x"]).to_pylist() == plan.table(found).to_pylist()
    with pytest.raises(SchemaMismatch, match=r"request: columns \['factor'\] are missing"):
        plan.read([{"shop": "a", "city": 2}], [AT])
    with pytest.raises(SchemaMismatch, match="column 'factor' must be float64, got string"):
        plan.read([{"shop": "a", "city": 2, "factor": "3"}], [AT])
    with pytest.raises(DataError, match="column 'factor' must hold one type"):
        plan.read([{"shop": "a", "city": 2, "factor": f} for f in (1, "3")], [AT, AT])


def test_before_the_first_row_all_is_missing_and_later_it_is_there(store: FeatureStore, reader: FeatureReader) -> None:
    plan = reader.plan("plain")
    assert plan.read([{"city": 1, "shop": "a"}], [AT]).columns["city__size"] == [None]
    store.push("city", pa.table({"city": [1], "event_time": pa.array([T], INSTANT), "size": [5]}), ingest_id="c")
    assert plan.read([{"city": 1, "shop": "a"}], [AT]).columns["city__size"] == [5]
    with pytest.raises(DataError, match="key 'city' must be int"):
        plan.read([{"city": "1", "shop": "a"}], [AT])


def test_a_view_that_is_not_online_cannot_be_planned(store: FeatureStore, reader: FeatureReader) -> None:
    hidden = FeatureView("hidden", Entity("shop", ["shop"]), [Field("x", "float64")], online=False)
    store.apply(hidden, FeatureService("h", ["hidden:x"]))
    with pytest.raises(ConfigError, match="view 'hidden@1' is not kept online"):
        reader.plan("h")


def test_a_world_without_keys(store: FeatureStore, reader: FeatureReader) -> None:
    store.apply(FeatureView("rate", Entity("world", []), [Field("v", "float64")]), FeatureService("w", ["rate:v"]))
    store.push("rate", pa.table({"event_time": pa.array([T], INSTANT), "v": [0.5]}), ingest_id="r")
    plan = reader.plan("w")
    assert plan.request_columns == ()
    assert plan.read([{}, {}], [AT, AT - 1]).columns == {"rate__v": [0.5, None]}
    assert reader.online("w", pa.table({"id": [1, 2]})).to_pylist() == [{"id": n, "rate__v": 0.5} for n in (1, 2)]


def test_numbers_are_plain(plan: OnlinePlan) -> None:
    found = plan.read([{"city": 1, "shop": "a"}], [AT])
    assert not any(isinstance(value, np.generic) for column in found.columns.values() for value in column)
