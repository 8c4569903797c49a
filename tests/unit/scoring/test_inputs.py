"""What a model is given: features joined as training sets are, block by block, and rules of requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import DataError, SchemaMismatch
from raymlops.features import Entity, FeatureService, FeatureStore, FeatureView, Field, OnDemandView, WindowAggregate
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import catalog_path
from raymlops.features.offline.service_join import JoinTasks
from raymlops.features.reader import FeatureReader
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.scoring import FeatureJoin
from raymlops.scoring.inputs import needed_columns, typed_inputs
from raymlops.serving.protocol.schema import InputSchema
from raymlops.tables.columns import INSTANT
from tests.support.disk_tasks import DiskTasks

T = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PURCHASES = FeatureView(
    "purchases",
    Entity("shop", ["shop"]),
    [Field("amount", "float64"), Field("city", "string")],
    ttl=20 * HOUR,
    aggregates=[WindowAggregate("total", "sum", "amount", 9 * HOUR)],
)
SHARE = OnDemandView(
    "share",
    ["purchases:amount", "limit"],
    [Field("share", "float64")],
    "tests.support.on_demand_examples:share_of_limit",
)
SERVICE = FeatureService("s", ["purchases:amount", "purchases:city", "purchases:total", "share:share"])


def spine(rows: int, seed: int = 1) -> pa.Table:
    chance = np.random.default_rng(seed)
    at = pa.array([T + int(hour) * HOUR for hour in chance.integers(0, 200, rows)], INSTANT)
    shops = [None if shop == 9 else f"shop {shop}" for shop in chance.integers(0, 12, rows)]
    return pa.table({"shop": shops, "event_time": at, "limit": chance.random(rows) + 1.0, "other": range(rows)})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(PURCHASES, SHARE, SERVICE)
    for number in range(3):
        rows = {
            "shop": [f"shop {shop}" for shop in chance.integers(0, 8, 200)],
            "event_time": pa.array([T + int(hour) * HOUR for hour in chance.integers(0, 200, 200)], INSTANT),
            "amount": chance.normal(size=200),
            "city": [f"city {city}" for city in chance.integers(0, 3, 200)],
        }
        store.ingest("purchases", pa.table(rows), ingest_id=f"{number}")
    store.close()
    return tmp_path


def join_of(root: Path, **options: Any) -> FeatureJoin:
    return FeatureJoin(Catalog(catalog_path(root)).state().resolve("s"), root, {"purchases": 2}, **options)


@pytest.mark.parametrize("tasks", [None, JoinTasks(pool=DiskTasks, from_rows=1)], ids=["here", "as tasks"])
def test_blocks_get_the_features_that_a_training_set_has(root: Path, tasks: JoinTasks | None) -> None:
    rows, join = spine(400), join_of(root, tasks=tasks)
    assert join.keys == ("shop", "event_time", "limit")
    joined = pa.concat_tables([join.join(rows.slice(first, 90)) for first in range(0, 400, 90)])
    expected = FeatureReader(root, clock=ManualClock(T)).training_set("s", rows, name="x").table()
    assert joined.equals(expected.select(joined.column_names))
    assert 0 < joined["purchases__amount"].null_count < 400


def test_one_instant_for_all_rows(root: Path) -> None:
    at = T + 100 * HOUR
    rows = spine(50)
    join = join_of(root, at=at)
    assert join.keys == ("shop", "limit")
    times = pa.array([at] * 50, INSTANT)
    dated = rows.set_column(1, "event_time", times)
    assert join.join(rows.drop_columns(["event_time"])).equals(join_of(root).join(dated))


def test_features_win_over_columns_of_the_rows_and_rules_are_those_of_requests(root: Path) -> None:
    inputs = [("purchases__amount", "FP64"), ("limit", "FP64"), ("other", "INT64")]
    signature = Signature(task="regressor", inputs=tuple(ColumnSpec(name=n, dtype=d) for n, d in inputs))
    schema, join = InputSchema(signature), join_of(root)
    assert needed_columns(schema, join) == ("shop", "event_time", "limit", "other")
    rows = spine(20).append_column("purchases__amount", pa.array([7.0] * 20))
    features = join.join(rows)
    columns = typed_inputs(rows, features, schema)
    assert np.array_equal(columns["purchases__amount"], features["purchases__amount"].to_numpy(), equal_nan=True)
    halves = rows.set_column(3, "other", pa.array([0.5] * 20))
    with pytest.raises(DataError, match="input 'other' must be INT64, got FP64 that is not"):
        typed_inputs(halves, features, schema)
    with pytest.raises(SchemaMismatch, match=r"model inputs \['other'\] are missing"):
        typed_inputs(rows.drop_columns(["other"]), features, schema)
