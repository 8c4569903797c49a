"""Training sets joined in this process and by tasks: equal, and pinned to the versions they were asked of."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import DataError, NotFoundError, SchemaMismatch, StorageError
from raymlops.features import (
    Entity,
    FeatureReader,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    OnDemandView,
    WindowAggregate,
)
from raymlops.features.offline.service_join import JoinTasks
from raymlops.tables.columns import INSTANT
from tests.support.disk_tasks import DiskTasks

T = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEATHER = FeatureView(
    "weather",
    Entity("city", ["city"]),
    [Field("temp", "float64"), Field("sky", "string")],
    created_at="created_at",
    ttl=20 * HOUR,
    aggregates=[WindowAggregate("warmest", "max", "temp", 9 * HOUR), WindowAggregate("seen", "count", "sky", 9 * HOUR)],
)
RATE = FeatureView("rate", Entity("world", []), [Field("price", "float64")])


WARMER = """
def warmer(columns):
    return {"by": columns["weather__temp"] - columns["threshold"]}
"""


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "on_demand_of_service_join.py").write_text(WARMER)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("on_demand_of_service_join", None)


def weather(rows: int, seed: int) -> pa.Table:
    chance = np.random.default_rng(seed)
    happened = [T + int(hour) * HOUR for hour in chance.integers(0, 100, rows)]
    created = [at + int(delay) * HOUR for at, delay in zip(happened, chance.integers(0, 6, rows), strict=True)]
    return pa.table(
        {
            "city": [f"city {n}" for n in chance.integers(0, 12, rows)],
            "event_time": pa.array(happened, INSTANT),
            "created_at": pa.array(created, INSTANT),
            "temp": chance.normal(size=rows),
            "sky": pa.array([f"sky {n}" for n in chance.integers(0, 4, rows)], mask=chance.random(rows) < 0.2),
        }
    )


def asked(rows: int = 150) -> pa.Table:
    chance = np.random.default_rng(9)
    return pa.table(
        {
            "origin": [f"city {n}" for n in chance.integers(0, 14, rows)],
            "city": [f"city {n}" for n in chance.integers(0, 14, rows)],
            "event_time": pa.array([T + int(hour) * HOUR for hour in chance.integers(0, 120, rows)], INSTANT),
            "threshold": chance.normal(size=rows),
            "label": np.arange(rows),
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path / "store", clock=ManualClock(T))
    warmer = OnDemandView(
        "warmer", ["weather:temp", "threshold"], [Field("by", "float64")], "on_demand_of_service_join:warmer"
    )
    features = ["at_origin:sky", "weather:temp", "weather:warmest", "warmer:by", "rate:price", "at_origin:seen"]
    origin = WEATHER.aliased("at_origin", {"city": "origin"})
    opened.apply(WEATHER, RATE, origin, warmer, FeatureService("all", features))
    for number in range(5):
        opened.ingest("weather", weather(60, number), ingest_id=f"{number}")
    times = pa.array([T + hour * HOUR for hour in range(0, 90, 7)], INSTANT)
    opened.ingest("rate", pa.table({"event_time": times, "price": np.arange(len(times)) * 0.5}))
    yield opened
    opened.close()


def readers(tmp_path: Path, from_rows: int = 1) -> tuple[FeatureReader, FeatureReader]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    tasks = JoinTasks(pool=lambda: DiskTasks(scratch), from_rows=from_rows)
    root, clock = tmp_path / "store", ManualClock(T)
    return FeatureReader(root, clock=clock), FeatureReader(root, clock=clock, join_tasks=tasks)


@pytest.mark.parametrize("per_bucket", [10, 100, 10**6])
@pytest.mark.parametrize("cutoff", [False, True])
def test_p22_tasks_over_many_files_give_the_same_training_set(
    store: FeatureStore, tmp_path: Path, per_bucket: int, cutoff: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aliases, an on-demand view, aggregates, a view without keys; late rows and the manifest too."""
    monkeypatch.setattr("raymlops.features.offline.large_tables.bucketed_join.ROWS_PER_BUCKET", per_bucket)
    monkeypatch.setattr("raymlops.features.offline.large_tables.bucketed_tables.BLOCK_ROWS", per_bucket)
    plain, cut = readers(tmp_path)
    if cutoff:
        store.apply(FeatureService("dated", ["weather:temp", "at_origin:sky", "weather:warmest"]))
    name = "dated" if cutoff else "all"
    expected = plain.training_set(name, asked(), name="x", knowledge_cutoff=cutoff)
    found = cut.training_set(name, asked(), name="x", knowledge_cutoff=cutoff)
    assert found.table().equals(expected.table())
    assert found.manifest == expected.manifest
    assert (expected.manifest.late_rows["weather"] > 0) is not cutoff
    assert list((tmp_path / "scratch").iterdir()) == []


def test_p28_what_is_appended_meanwhile_changes_nothing(store: FeatureStore, tmp_path: Path) -> None:
    """The append happens after the version was settled and before a row is read."""
    plain, cut = readers(tmp_path)
    expected = plain.training_set("all", asked(), name="x").table()
    versions = plain.table_versions()

    class Appending(DiskTasks):
        def __enter__(self) -> Appending:
            store.ingest("weather", weather(500, 77), ingest_id="late")
            return super().__enter__()

    meanwhile = FeatureReader(tmp_path / "store", join_tasks=JoinTasks(pool=Appending, from_rows=1))
    assert meanwhile.training_set("all", asked(), name="y").table().equals(expected)
    for reader in (plain, cut):
        assert not reader.training_set("all", asked(), name="z").table().equals(expected)
        assert reader.training_set("all", asked(), name="x", table_versions=versions).table().equals(expected)


def test_small_joins_need_no_tasks(store: FeatureStore, tmp_path: Path) -> None:
    def refused() -> DiskTasks:
        raise AssertionError("no pool is needed")

    rows = 150 + 300 + 13
    root = tmp_path / "store"
    small = FeatureReader(root, clock=ManualClock(T), join_tasks=JoinTasks(pool=refused, from_rows=rows + 1))
    assert small.training_set("all", asked(), name="x").table().num_rows == 150
    large = FeatureReader(root, clock=ManualClock(T), join_tasks=JoinTasks(pool=refused, from_rows=rows))
    with pytest.raises(AssertionError, match="no pool is needed"):
        large.training_set("all", asked(), name="x")


def test_faults_are_the_same_either_way(store: FeatureStore, tmp_path: Path) -> None:
    naive = asked().set_column(2, "event_time", asked()["event_time"].cast(pa.timestamp("us")))
    missing = asked().set_column(2, "event_time", pa.array([None] * 150, INSTANT))
    numbers = asked().set_column(1, "city", pa.array(np.arange(150)))
    not_a_number = asked().set_column(1, "city", pa.array([float("nan")] * 150))
    wrong = [
        (asked().drop_columns(["event_time"]), SchemaMismatch, r"spine: columns \['event_time'\] are missing"),
        (asked().drop_columns(["origin"]), SchemaMismatch, r"spine: columns \['origin'\] are missing"),
        (asked().drop_columns(["threshold"]), SchemaMismatch, r"spine: columns \['threshold'\] are missing"),
        (asked().append_column("label", asked()["label"]), SchemaMismatch, r"must be unique, got \['label'\]"),
        (asked().append_column("rate__price", asked()["label"]), SchemaMismatch, "is the name of a feature"),
        (naive, SchemaMismatch, "'event_time' must be a tz-aware timestamp, got timestamp"),
        (missing, DataError, "'event_time' must not be null, got null in 150 rows"),
        (numbers, SchemaMismatch, "'city' must be string as in the view's table, got int64"),
        (not_a_number, SchemaMismatch, "'city' must be string as in the view's table, got double"),
    ]
    for reader in readers(tmp_path):
        for spine, error, message in wrong:
            with pytest.raises(error, match=message):
                reader.training_set("all", spine, name="x")
        with pytest.raises(NotFoundError, match="version must be 0 to 4, got 9"):
            reader.training_set("all", asked(), name="x", table_versions={"weather": 9})
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("hours", [(0, 0), (3, 30), (40, 41), (90, 119), (500, 600), (-90, -50)])
def test_rows_that_bear_on_no_instant_are_not_read_and_not_missed(
    store: FeatureStore, tmp_path: Path, hours: tuple[int, int]
) -> None:
    """The features of a stretch of time are those that the same rows have among rows of all times."""
    reader, _ = readers(tmp_path)
    some = asked().set_column(2, "event_time", pa.array([T + int(h) * HOUR for h in np.linspace(*hours, 150)], INSTANT))
    far = pa.concat_tables([some, asked(1).set_column(2, "event_time", pa.array([T - 10**5 * HOUR], INSTANT))])
    far = pa.concat_tables([far, asked(1).set_column(2, "event_time", pa.array([T + 10**5 * HOUR], INSTANT))])
    assert reader.features_at("all", some).equals(reader.features_at("all", far).slice(0, 150))


def test_an_audit_of_the_newest_rows_does_not_open_old_files(tmp_path: Path) -> None:
    """However long a table has grown, a few rows cost what their span of time holds."""
    with contextlib.closing(FeatureStore(tmp_path / "store", clock=ManualClock(T))) as opened:
        opened.apply(WEATHER, FeatureService("all", ["weather:temp", "weather:warmest"]))
        opened.ingest("weather", weather(60, 1), ingest_id="old")
        (old,) = (tmp_path / "store").rglob("*.parquet")
        times = pa.array([T + 1000 * HOUR] * 60, INSTANT)
        opened.ingest("weather", weather(60, 2).set_column(1, "event_time", times), ingest_id="new")
        old.unlink()
        reader = FeatureReader(tmp_path / "store", clock=ManualClock(T))
        newest = asked().set_column(2, "event_time", pa.array([T + 1001 * HOUR] * 150, INSTANT))
        assert reader.features_at("all", newest)["weather__temp"].null_count < 75
        with pytest.raises(StorageError):
            reader.features_at("all", asked())
