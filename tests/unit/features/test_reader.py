from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import (
    ConfigError,
    DataError,
    FeatureViewNotFound,
    NotFoundError,
    SchemaMismatch,
    StorageError,
)
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, OnDemandView
from raymlops.tables.columns import INSTANT

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
VIEW = FeatureView("v", Entity("e", ["k"]), [Field("x", "float64"), Field("t", "timestamp")])
OTHER = FeatureView("o", Entity("e", ["k"]), [Field("y", "int64")], source=None)
SERVICE = FeatureService("s", ["v:x", "v:t"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path, clock=ManualClock(T))
    yield opened
    opened.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[FeatureReader]:
    opened = FeatureReader(tmp_path, clock=ManualClock(T))
    yield opened
    opened.close()


def rows(*values: float) -> pa.Table:
    times = pa.array([T] * len(values), INSTANT)
    return pa.table({"k": pa.array([1] * len(values), pa.int64()), "event_time": times, "x": list(values), "t": times})


def test_a_reader_may_come_before_everything(reader: FeatureReader, tmp_path: Path) -> None:
    assert reader.definitions() == []
    assert reader.table_versions() == {}
    with pytest.raises(FeatureViewNotFound, match="service 's'"):
        reader.plan("s")
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(VIEW, SERVICE)
    store.push("v", rows(1.5), ingest_id="one")
    assert reader.online("s", pa.table({"k": [1]})).to_pylist() == [{"k": 1, "v__x": 1.5, "v__t": T}]
    store.close()


def test_a_reader_on_a_node_without_an_online_store(store: FeatureStore, tmp_path: Path) -> None:
    store.apply(VIEW, SERVICE)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "catalog.json").write_bytes((tmp_path / "catalog.json").read_bytes())
    with pytest.raises(StorageError, match="cannot open"):
        FeatureReader(tmp_path / "elsewhere").plan("s")


def test_online_reads_are_checked(store: FeatureStore, reader: FeatureReader) -> None:
    store.apply(VIEW, SERVICE)
    with pytest.raises(SchemaMismatch, match=r"entities: columns \['k'\] are missing"):
        reader.online("s", pa.table({"j": [1]}))
    with pytest.raises(DataError, match="at must be tz-aware"):
        reader.online("s", pa.table({"k": [1]}), T.replace(tzinfo=None))
    empty = reader.online("s", pa.table({"k": pa.array([], pa.int64())}))
    assert empty.schema.types == [pa.int64(), pa.float64(), INSTANT]
    assert reader.online("s", pa.table({"k": pa.array([1, None], pa.int8())}))["v__x"].to_pylist() == [None, None]


def test_plans_are_compiled_once_per_version(store: FeatureStore, reader: FeatureReader) -> None:
    store.apply(VIEW, SERVICE)
    first = reader.plan("s")
    assert reader.plan("s@1") is first
    store.apply(FeatureService("s", ["v:t"], version=2))
    assert reader.plan("s").feature_columns == ("v__t",)
    assert reader.plan("s@1") is first
    assert reader.service("s").version == 2
    assert reader.service("s@1") == SERVICE


def halved(columns: Any) -> Any:
    return {"z": columns["v__x"] / 2}


def test_definitions_are_listed_by_kind_and_name(store: FeatureStore, reader: FeatureReader) -> None:
    computed = OnDemandView("od", ["v:x"], [Field("z", "float64")], f"{__name__}:halved")
    second = FeatureView("v", Entity("e", ["k"]), VIEW.fields, version=2)
    tenth = FeatureView("v", Entity("e", ["k"]), VIEW.fields, version=10)
    store.apply(SERVICE, computed, VIEW, OTHER, tenth, second)
    names = [getattr(found, "ref", found.name) for found in reader.definitions()]
    assert names == ["e", "o@1", "v@1", "v@2", "v@10", "od@1", "s@1"]


def test_tables_and_their_versions(store: FeatureStore, reader: FeatureReader) -> None:
    store.apply(VIEW, OTHER)
    store.ingest("v", rows(1.0), ingest_id="one")
    store.ingest("v", rows(2.0, 3.0), ingest_id="two")
    assert reader.table("v")["x"].to_pylist() == [1.0, 2.0, 3.0]
    assert reader.table("v@1", 0).to_pylist() == [{"k": 1, "event_time": T, "x": 1.0, "t": T}]
    assert reader.table_versions() == {"v": 1}
    with pytest.raises(NotFoundError, match="version must be 0 to 1, got 7"):
        reader.table("v", 7)
    with pytest.raises(NotFoundError, match="table 'o' does not exist"):
        reader.table("o")
    with pytest.raises(FeatureViewNotFound, match="view 'x'"):
        reader.table("x")


def test_pinned_versions_may_name_tables_of_other_services(store: FeatureStore, reader: FeatureReader) -> None:
    store.apply(VIEW, OTHER, SERVICE)
    store.ingest("v", rows(1.0), ingest_id="one")
    store.ingest("v", rows(2.0), ingest_id="two")
    spine = pa.table({"k": [1], "event_time": pa.array([T + timedelta(1)], INSTANT)})
    pinned = reader.training_set("s", spine, name="x", table_versions={"v": 0, "o": 3})
    assert pinned.table()["v__x"].to_pylist() == [1.0]
    assert pinned.manifest.table_versions == {"v": 0}
    with pytest.raises(ConfigError, match=r"must name tables of applied views, got \['nothing'\]"):
        reader.training_set("s", spine, name="x", table_versions={"nothing": 0})
    store.apply(FeatureService("both", ["v:x", "o:y"]))
    with pytest.raises(NotFoundError, match="table 'o' does not exist"):
        reader.training_set("both", spine, name="x")
