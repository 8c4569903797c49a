"""The same table under two names, joined by other columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError, SchemaMismatch
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    OnDemandView,
    WindowAggregate,
    point_in_time_join,
)
from raymlops.tables.columns import INSTANT

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DELAYS = FeatureView(
    "delays",
    Entity("airport", ["airport"]),
    [Field("delay", "float64")],
    created_at="known",
    aggregates=[WindowAggregate("mean", "mean", "delay", HOUR)],
)
ORIGIN = DELAYS.aliased("origin", {"airport": "from"})
DEST = DELAYS.aliased("dest", {"airport": "to"})
SERVICE = FeatureService("flight", ["origin:delay", "dest:delay", "origin:mean", "gap:minutes"])


def gap(columns: Any) -> Any:
    return {"minutes": columns["origin__delay"] - columns["dest__mean"]}


GAP = OnDemandView("gap", ["origin:delay", "dest:mean"], [Field("minutes", "float64")], f"{__name__}:gap")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path, clock=ManualClock(T), history=HOUR)
    opened.apply(SERVICE, GAP, DEST, ORIGIN, DELAYS)
    rows = {"airport": ["rome", "oslo", "oslo"], "event_time": pa.array([T - HOUR, T - HOUR / 2, T], INSTANT)}
    opened.push("delays", pa.table({**rows, "delay": [1.0, 5.0, 9.0]}), ingest_id="one")
    yield opened
    opened.close()


@pytest.fixture
def reader(store: FeatureStore, tmp_path: Path) -> Iterator[FeatureReader]:
    opened = FeatureReader(tmp_path, clock=ManualClock(T))
    yield opened
    opened.close()


@pytest.fixture
def spine() -> pa.Table:
    instants = pa.array([T] * 4, INSTANT)
    return pa.table(
        {"from": ["rome", "oslo", "rome", None], "to": ["oslo", "rome", "nowhere", "oslo"], "event_time": instants}
    )


EXPECTED = {
    "origin__delay": [1.0, 9.0, 1.0, None],
    "dest__delay": [9.0, 1.0, None, 9.0],
    "origin__mean": [None, 7.0, None, None],
    "gap__minutes": [-6.0, None, None, None],
}


def test_two_aliases_in_one_service_offline_and_online(reader: FeatureReader, spine: pa.Table) -> None:
    training = reader.training_set("flight", spine, name="x")
    assert training.table().column_names == [*spine.column_names, *EXPECTED]
    assert training.table().select(list(EXPECTED)).to_pydict() == EXPECTED
    online = reader.online("flight", spine.drop_columns(["event_time"]), T)
    assert online.select(list(EXPECTED)).to_pydict() == EXPECTED
    assert reader.plan("flight").request_columns == ("from", "to")


def test_the_manifest_names_each_alias_and_the_table_once(reader: FeatureReader, spine: pa.Table) -> None:
    training = reader.training_set("flight", spine, name="x")
    assert training.manifest.views.keys() == {"origin@1", "dest@1", "gap@1"}
    assert training.manifest.views["origin@1"] == ORIGIN.digest
    assert ORIGIN.digest != DEST.digest
    assert training.manifest.table_versions == {"delays": 0}
    assert reader.rebuild(training.manifest).table().equals(training.table())


def test_the_pure_join_gives_the_same(reader: FeatureReader, spine: pa.Table) -> None:
    joined = point_in_time_join(spine, [ORIGIN, DEST], {"delays": reader.table("delays")})
    for name in ("origin__delay", "dest__delay", "origin__mean"):
        assert joined[name].to_pylist() == EXPECTED[name]


def test_rows_are_ingested_by_the_name_of_the_table(store: FeatureStore) -> None:
    rows = pa.table({"from": ["rome"], "event_time": pa.array([T], INSTANT), "delay": [1.0]})
    with pytest.raises(ConfigError, match="view 'origin' reads the table of 'delays@1': ingest there"):
        store.push("origin", rows, ingest_id="x")


def test_the_columns_asked_for_are_the_aliases_own(reader: FeatureReader, spine: pa.Table) -> None:
    renamed = spine.rename_columns(["airport", "to", "event_time"])
    with pytest.raises(SchemaMismatch, match=r"columns \['from'\] are missing"):
        reader.training_set("flight", renamed, name="x")
    with pytest.raises(SchemaMismatch, match=r"columns \['from'\] are missing"):
        reader.online("flight", renamed, T)
