"""One suite for where a feature store may be: a directory, its ``file://`` URI, and an S3 server started here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyarrow import parquet

from raymlops.clock import ManualClock
from raymlops.config.features import FeaturePlace, FeaturesConfig
from raymlops.errors import ConfigError, DataError, NotFoundError, StorageError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.features.catalog.layout import tables_path
from raymlops.features.replication.removal import remove_features, tables_in
from raymlops.monitoring.profiles.reference import Reference
from raymlops.scoring.sources import RowSource, cut_parts, find_source
from raymlops.scoring.table_profiles import TableRows, fit_reference
from raymlops.tables import delta
from raymlops.tables.columns import INSTANT, SEQUENCE
from raymlops.tables.delta import DeltaTables
from raymlops.tables.files import child, open_files, parse_root, storage_options_for
from tests.support.each_part import in_process
from tests.support.servers import running_s3

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64", ge=0)],
    created_at="created_at",
    aggregates=[WindowAggregate("n", "count", "x", 24 * HOUR)],
)
OTHER = FeatureView("w", Entity("e", ["k"]), [Field("y", "int64")])
SERVICE = FeatureService("s", ["v:x", "v:n"])
DEADLINE_S = 60
SECRET = "never-to-be-seen"
PROGRAM = "import runpy, sys; runpy.run_path(sys.argv[1])['append_for'](*sys.argv[2:])"


@dataclass
class Place:
    """Where a store is."""

    root: Path | str
    local: Path
    options: dict[str, str] = field(default_factory=dict)
    opened: list[Any] = field(default_factory=list)

    def store(self) -> FeatureStore:
        store = FeatureStore(self.root, clock=ManualClock(T), local=self.local, storage_options=self.options)
        store.apply(VIEW, OTHER, SERVICE)
        self.opened.append(store)
        return store

    def reader(self) -> FeatureReader:
        reader = FeatureReader(self.root, clock=ManualClock(T), local=self.local, storage_options=self.options)
        self.opened.append(reader)
        return reader

    def tables(self) -> DeltaTables:
        return DeltaTables(tables_path(self.root), self.options)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Endpoint of an S3 server that is empty but for the bucket ``features``."""
    pytest.importorskip("moto", reason="needs moto's S3 server: pip install 'moto[server]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        with running_s3("features") as endpoint:
            yield endpoint


def s3_options(endpoint: str) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}


@pytest.fixture(params=["directory", pytest.param("file URI", marks=pytest.mark.slow), "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    match request.param:
        case "directory":
            found = Place(tmp_path / "store", tmp_path / "local")
        case "file URI":
            found = Place((tmp_path / "a store").as_uri(), tmp_path / "local")
        case _:
            endpoint: str = request.getfixturevalue("s3")
            found = Place(f"s3://features/{tmp_path.name}", tmp_path / "local", s3_options(endpoint))
    yield found
    for opened in found.opened:
        opened.close()


def rows(*given: tuple[timedelta, float], created: timedelta = -HOUR, key: str = "a") -> pa.Table:
    return pa.table(
        {
            "k": [key] * len(given),
            "event_time": pa.array([T + event for event, _ in given], INSTANT),
            "created_at": pa.array([T + created] * len(given), INSTANT),
            "x": [x for _, x in given],
        }
    )


def spine() -> pa.Table:
    return pa.table({"label": [0, 1], "k": ["a", "b"], "event_time": pa.array([T, T], INSTANT)})


def test_what_is_ingested_is_read_at_every_version(place: Place) -> None:
    store, reader = place.store(), place.reader()
    for number in range(3):
        receipt = store.ingest("v", rows((-HOUR, float(number))), ingest_id=str(number))
        assert (receipt.table_version, receipt.duplicate) == (number, False)
    assert store.ingest("v", rows((-HOUR, 0.0)), ingest_id="0").duplicate
    assert [reader.table("v", version)["x"].to_pylist() for version in range(3)] == [[0.0], [0.0, 1.0], [0.0, 1.0, 2.0]]
    assert reader.table_versions() == {"v": 2}
    assert reader.service("s").ref == "s@1"
    with pytest.raises(NotFoundError, match="table 'w' does not exist: nothing was ingested"):
        reader.table("w")


def test_a_push_is_online_when_it_returns(place: Place) -> None:
    store = place.store()
    store.push("v", rows((-HOUR, 1.0), (-2 * HOUR, 4.0)), ingest_id="one")
    found = place.reader().online("s", pa.table({"k": ["a", "b"]}), T)
    assert found.select(["v__x", "v__n"]).to_pylist() == [{"v__x": 1.0, "v__n": 2}, {"v__x": None, "v__n": 0}]
    assert (place.local / "online.lmdb").exists()


def test_p28_an_append_does_not_change_what_is_read_at_a_pinned_version(place: Place) -> None:
    store, tables = place.store(), place.tables()
    store.ingest("v", rows((-HOUR, 1.0), (-HOUR, 2.0)), ingest_id="one")
    before = tables.read("v", 0)
    with tables.opened("v", 0) as pinned:
        batches = pinned.to_pyarrow_dataset().to_batches(columns=["x"], batch_size=1)
        read = next(batches)["x"].to_pylist()
        store.ingest("v", rows((-HOUR, 3.0)), ingest_id="two")
        for batch in batches:
            read += batch["x"].to_pylist()
    assert read == [1.0, 2.0]
    assert tables.read("v", 0).equals(before)
    assert tables.read("v")["x"].to_pylist() == [1.0, 2.0, 3.0]


def test_a_training_set_is_the_same_after_all_that_may_happen_to_its_tables(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "_COMPACT_EVERY", 4)
    store, reader = place.store(), place.reader()
    for number in range(3):
        store.ingest("v", rows((-(number + 1) * HOUR, float(number))), ingest_id=f"before {number}")
    built = reader.training_set("s", spine(), name="first")
    for number in range(6):  # packs the files of the pinned version, once or more
        store.ingest("v", rows((-HOUR / 2, 10.0 + number), created=number * HOUR), ingest_id=f"late {number}")
    changed = reader.training_set("s", spine(), name="first")
    assert changed.manifest.late_rows == {"v": 1}
    assert not changed.table().equals(built.table())
    told = store.vacuum(retention=timedelta(0))
    assert (told.dry_run, told.files > 0, told.size_bytes > 0) == (True, True, True)
    assert [(table.table, table.pinned_versions) for table in told.tables] == [
        ("v", tuple(sorted({built.manifest.table_versions["v"], changed.manifest.table_versions["v"]})))
    ]
    done = store.vacuum(retention=timedelta(0), dry_run=False)
    assert (done.files, done.size_bytes) == (told.files, told.size_bytes)
    assert store.vacuum(retention=timedelta(0)).files == 0
    for one in (built, changed):
        again = place.reader().rebuild(place.reader().manifest(one.manifest.digest))
        assert again.table().equals(one.table())
        assert (again.manifest, again.code_changed) == (one.manifest, False)
    assert store.ingest("v", rows((-HOUR, 1.0)), ingest_id="after").duplicate is False
    assert store.ingest("v", rows((-HOUR, 0.0)), ingest_id="before 0").duplicate is True
    assert place.tables().read("v", columns=[SEQUENCE])[SEQUENCE].to_pylist() == list(range(10))


def test_what_is_not_pinned_is_removed_and_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "_COMPACT_EVERY", 4)
    store, reader = place.store(), place.reader()
    for number in range(5):
        store.ingest("v", rows((-HOUR, float(number))), ingest_id=str(number))
    assert store.vacuum().files == 0, "all of this is younger than a week"
    assert store.vacuum(retention=timedelta(0), dry_run=False).files == 5
    assert reader.table("v")["x"].to_pylist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    with pytest.raises(StorageError, match="table 'v': cannot read"):
        place.tables().read("v", 2)


def test_features_that_are_removed_leave_nothing_and_a_root_of_a_longer_name_stays(place: Place) -> None:
    other = Place(f"{place.root}-2", place.local.with_name("local-2"), place.options)
    for each in (place, other):
        store = each.store()
        store.push("v", rows((-HOUR, 1.0)), ingest_id="one")
        each.reader().training_set("s", spine(), name="t")
        store.close()
    settings = FeaturesConfig(storage_options=place.options)
    environment = FeaturePlace("dev", place.root, place.local, settings)
    assert tables_in(environment) == ("v",)
    for _ in range(2):  # it may be called again
        remove_features(environment)
        assert tables_in(environment) is None
    files = open_files(parse_root(place.root), place.options)
    assert (files.list(), files.list("tables/v/_delta_log"), place.local.exists()) == ([], [], False)
    assert tables_in(FeaturePlace("dev-2", other.root, other.local, settings)) == ("v",)
    assert other.reader().table("v")["x"].to_pylist() == [1.0]


def test_refused_rows_are_put_aside(place: Place) -> None:
    store, reader = place.store(), place.reader()
    with pytest.raises(DataError, match=r"column 'x' must be at least 0, broken by 1 rows, first \[1\]"):
        store.ingest("v", rows((-HOUR, 1.0), (-HOUR, -1.0)), ingest_id="one")
    for duplicate in (False, True):
        receipt = store.ingest("v", rows((-HOUR, 1.0), (-HOUR, -1.0)), ingest_id="one", on_invalid="quarantine")
        assert (receipt.rows, receipt.rejected, receipt.duplicate) == (1, 1, duplicate)
    (refused,) = reader.quarantine("v")
    assert (refused.row, refused.reasons, refused.values["x"]) == (1, ("'x' must be at least 0",), -1.0)
    assert reader.quarantine("v", "another") == []


def append_for(place: str, who: str, count: str) -> None:
    """What the processes of the next test run."""
    tables = DeltaTables(*json.loads(place))
    print("ready", flush=True)  # noqa: T201 - tells the parent, which then lets all go at once
    sys.stdin.readline()
    for number in range(int(count)):
        table = pa.table({"who": [who] * 3, "n": pa.array([number] * 3, pa.int64())})
        tables.append("shared", table, ingest_id=f"{who}/{number}")


def test_several_processes_append_to_one_table(place: Place) -> None:
    writers, count = 3, 6
    arguments = json.dumps([str(tables_path(place.root)), place.options])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, __file__, arguments, str(who), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for who in range(writers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.communicate("go\n", timeout=DEADLINE_S)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * writers
    tables = place.tables()
    found = tables.read("shared", columns=["who", "n", SEQUENCE])
    assert found[SEQUENCE].to_pylist() == list(range(3 * writers * count))
    for who in range(writers):
        mine = [row["n"] for row in found.to_pylist() if row["who"] == str(who)]
        assert mine == [number for number in range(count) for _ in range(3)]
    assert tables.version("shared") == writers * count - 1
    assert tables.last_sequence("shared") == 3 * writers * count - 1


def test_no_secret_is_told(s3: str, tmp_path: Path) -> None:
    options = {**s3_options(s3), "AWS_SECRET_ACCESS_KEY": SECRET}
    tables = DeltaTables("s3://nowhere/tables", options)
    with pytest.raises(StorageError, match="table 't': cannot read s3://nowhere/tables/t: ") as caught:
        tables.read("t")
    reader = FeatureReader("s3://nowhere", local=tmp_path, storage_options=options)
    for told in (str(caught.value), repr(caught.value.context), repr(tables), repr(reader), repr(vars(reader))):
        assert SECRET not in told
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="root must not carry credentials") as refused:
        DeltaTables(f"s3://somebody:{SECRET}@features/tables")
    assert SECRET not in str(refused.value)


@pytest.mark.timeout(DEADLINE_S)
def test_a_server_that_is_gone_is_a_storage_error_before_long(tmp_path: Path) -> None:
    options = {**s3_options("http://127.0.0.1:9"), "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET}
    for ask in (
        lambda: DeltaTables("s3://features/tables", options).read("t"),
        lambda: FeatureReader("s3://features", local=tmp_path, storage_options=options).service("s"),
        lambda: FeatureStore("s3://features", clock=ManualClock(T), local=tmp_path, storage_options=options),
    ):
        with pytest.raises(StorageError, match="s3://features"):
            ask()


def test_a_uri_needs_a_directory_for_what_stays_on_the_node() -> None:
    with pytest.raises(ConfigError, match="local must be a directory of this node where the root is a URI"):
        FeatureStore("s3://features", clock=ManualClock(T))


def test_files_and_tables_of_a_bucket_are_profiled_as_those_in_a_directory(place: Place) -> None:
    rows = pa.table({"x": np.random.default_rng(0).normal(size=900), "city": ["a", "b", "c"] * 300})
    root = parse_root(place.root)
    files = open_files(root, place.options)
    for number in range(3):
        sink = io.BytesIO()
        parquet.write_table(rows.slice(300 * number, 300), sink, row_group_size=70)
        files.write(f"rows/{number}.parquet", sink.getvalue())
    write_deltalake(str(child(root, "table")), rows, storage_options=storage_options_for(root, place.options))
    for name in ("rows", "table", "table@v0", "rows/1.parquet"):
        source = find_source(str(child(root, name)), place.options)
        parts = cut_parts(RowSource(source, place.options).row_groups(), 200)
        found = fit_reference(TableRows(source, parts, 50, place.options), in_process)
        wanted = rows.slice(300, 300) if name.endswith(".parquet") else rows
        assert found.dumps() == Reference.fit(wanted).dumps(), name
    with pytest.raises((NotFoundError, ConfigError)):
        find_source(str(child(root, "nowhere")), place.options)
