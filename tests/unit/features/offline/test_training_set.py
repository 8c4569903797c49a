from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError, DataError, NotFoundError, SchemaMismatch, StorageError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.features.offline import training_set
from raymlops.features.offline.training_set import code_digest, table_digest
from raymlops.tables.columns import INSTANT
from raymlops.tables.content import content_digest

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64"), Field("unused", "string")],
    created_at="created_at",
    aggregates=[WindowAggregate("n", "count", "x", HOUR), WindowAggregate("far", "sum", "x", 9 * HOUR)],
)
NO_CREATED = FeatureView("w", Entity("e", ["k"]), [Field("y", "int64")])
SERVICE = FeatureService("s", ["v:n", "v:x"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path, clock=ManualClock(T))
    opened.apply(VIEW, NO_CREATED, SERVICE, FeatureService("both", ["v:x", "w:y"]))
    opened.ingest("v", rows((-HOUR / 2, 1.0, -HOUR)), ingest_id="one")
    yield opened
    opened.close()


@pytest.fixture
def reader(store: FeatureStore, tmp_path: Path) -> FeatureReader:
    return FeatureReader(tmp_path, clock=ManualClock(T))


def rows(*given: tuple[timedelta, float, timedelta]) -> pa.Table:
    return pa.table(
        {
            "k": ["a"] * len(given),
            "event_time": pa.array([T + event for event, _, _ in given], INSTANT),
            "created_at": pa.array([T + created for _, _, created in given], INSTANT),
            "x": [x for _, x, _ in given],
            "unused": pa.nulls(len(given), pa.string()),
        }
    )


def spine(**more: Any) -> pa.Table:
    return pa.table({"label": [0, 1], "k": ["a", "b"], "event_time": pa.array([T, T], INSTANT), **more})


def test_the_services_features_follow_the_spine(reader: FeatureReader) -> None:
    built = reader.training_set("s", spine(), name="first")
    assert built.table().to_pylist() == [
        {"label": 0, "k": "a", "event_time": T, "v__n": 1, "v__x": 1.0},
        {"label": 1, "k": "b", "event_time": T, "v__n": 0, "v__x": None},
    ]
    manifest = built.manifest
    assert (manifest.name, manifest.service, manifest.rows) == ("first", "s@1", 2)
    assert manifest.views == {"v@1": VIEW.digest}
    assert manifest.table_versions == {"v": 0}
    assert manifest.code_digest == code_digest()
    assert manifest.spine_digest == table_digest(spine())
    assert manifest.created_at == T


def test_a_training_set_is_rebuilt_after_later_ingests(store: FeatureStore, reader: FeatureReader) -> None:
    built = reader.training_set("s", spine(), name="first")
    store.ingest("v", rows((-HOUR / 4, 2.0, -HOUR)), ingest_id="late")
    store.ingest("v", rows((-HOUR / 2, 3.0, HOUR)), ingest_id="later")
    assert reader.training_set("s", spine(), name="first").table()["v__n"].to_pylist() == [3, 0]
    again = reader.rebuild(reader.manifest(built.manifest.digest))
    assert again.table().equals(built.table())
    assert again.manifest == built.manifest
    assert table_digest(again.table()) == table_digest(built.table())


def test_the_digest_tells_training_sets_apart(store: FeatureStore, reader: FeatureReader) -> None:
    first = reader.training_set("s", spine(), name="a").manifest.digest
    assert reader.training_set("s", spine(), name="a").manifest.digest == first
    chunks = pa.concat_tables([spine().slice(0, 1), spine().slice(1, 1)])
    assert reader.training_set("s", chunks, name="a").manifest.digest == first
    other = spine().set_column(0, "label", pa.array([1, 1]))
    store.ingest("v", rows((HOUR, 1.0, HOUR)), ingest_id="two")
    digests = {
        first,
        reader.training_set("s", spine(), name="b").manifest.digest,
        reader.training_set("s", other, name="a").manifest.digest,
        reader.training_set("s", spine(), name="a", knowledge_cutoff=True).manifest.digest,
        reader.training_set("s", spine(), name="a").manifest.digest,
    }
    assert len(digests) == 5


def test_rows_known_later_than_asked_are_counted_or_cut_off(store: FeatureStore, reader: FeatureReader) -> None:
    store.ingest("v", rows((-HOUR / 3, 2.0, timedelta(0))), ingest_id="just in time")
    assert reader.training_set("s", spine(), name="x").manifest.late_rows == {"v": 0}
    store.ingest("v", rows((-HOUR / 4, 4.0, HOUR)), ingest_id="late")
    built = reader.training_set("s", spine(), name="x")
    assert (built.table()["v__x"].to_pylist(), built.manifest.late_rows) == ([4.0, None], {"v": 1})
    cut = reader.training_set("s", spine(), name="x", knowledge_cutoff=True)
    assert (cut.table()["v__x"].to_pylist(), cut.manifest.late_rows) == ([2.0, None], {"v": 0})
    assert cut.table()["v__n"].to_pylist() == [2, 0]
    store.ingest("w", pa.table({"k": ["a"], "event_time": pa.array([T], INSTANT), "y": [1]}), ingest_id="w")
    with pytest.raises(ConfigError, match="view 'w': knowledge_cutoff needs created_at"):
        reader.training_set("both", spine(), name="x", knowledge_cutoff=True)


def test_rows_of_the_future_leave_no_trace(store: FeatureStore, reader: FeatureReader) -> None:
    before = reader.training_set("s", spine(), name="x").table()
    microsecond = timedelta(microseconds=1)
    store.ingest("v", rows((microsecond, 9.0, -HOUR), (HOUR, 9.0, -HOUR)), ingest_id="future")
    assert reader.training_set("s", spine(), name="x").table().equals(before)


def test_a_wrong_spine_leaves_nothing_behind(reader: FeatureReader, tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match=r"spine: columns \['event_time'\] are missing"):
        reader.training_set("s", spine().drop_columns(["event_time"]), name="x")
    with pytest.raises(SchemaMismatch, match=r"spine: columns \['k'\] are missing"):
        reader.training_set("s", spine().drop_columns(["k"]), name="x")
    with pytest.raises(SchemaMismatch, match="column 'v__x' is the name of a feature"):
        reader.training_set("s", spine(v__x=[1, 2]), name="x")
    assert not (tmp_path / "training_sets").exists()


def test_a_spine_that_was_altered_is_noticed(reader: FeatureReader) -> None:
    manifest = reader.training_set("s", spine(), name="x").manifest
    path = Path(manifest.spine_path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match="training set 'x': spine must hash to"):
        reader.rebuild(manifest)
    path.unlink()
    with pytest.raises(StorageError, match="training set 'x': cannot read"):
        reader.rebuild(manifest)


def test_manifests_that_are_not_there_or_broken(reader: FeatureReader, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="training set 'abc' does not exist"):
        reader.manifest("abc")
    digest = reader.training_set("s", spine(), name="x").manifest.digest
    (tmp_path / "training_sets" / f"{digest}.json").write_text("{")
    with pytest.raises(StorageError, match="cannot read"):
        reader.manifest(digest)


def test_a_training_set_that_cannot_be_stored(reader: FeatureReader, tmp_path: Path) -> None:
    (tmp_path / "training_sets").write_text("a file where the directory should be")
    with pytest.raises(StorageError, match="cannot write"):
        reader.training_set("s", spine(), name="x")


def test_a_rebuild_that_is_not_the_same_says_so(
    store: FeatureStore, reader: FeatureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = reader.training_set("s", spine(), name="x")
    manifest = built.manifest
    assert (manifest.content_digest, built.code_changed) == (content_digest(built.table()), False)
    other = manifest.model_copy(update={"content_digest": "0" * 64})
    message = f"training set 'x': content must hash to {'0' * 64}, got {manifest.content_digest}"
    with pytest.raises(DataError, match=f"^{message}$"):
        reader.rebuild(other)
    monkeypatch.setattr(training_set, "code_digest", lambda: "1" * 64)
    computed = f"; it was computed by other code: {manifest.code_digest} then, {'1' * 64} now"
    with pytest.raises(DataError, match=f"^{message}{computed}$"):
        reader.rebuild(other)
    again = reader.rebuild(manifest)
    assert again.table().equals(built.table())
    assert (again.code_changed, again.manifest) == (True, manifest)
    older = manifest.model_copy(update={"content_digest": ""})
    assert reader.rebuild(older).table().equals(built.table())


def test_views_that_are_not_the_manifests_are_named(reader: FeatureReader) -> None:
    manifest = reader.training_set("s", spine(), name="x").manifest
    other = manifest.model_copy(update={"views": {"v@1": "0" * 64}})
    with pytest.raises(DataError, match=r"training set 'x': views must be those of the manifest, .* \['v@1'\]"):
        reader.rebuild(other)


def test_a_table_that_is_gone_is_not_one_that_never_was(reader: FeatureReader, tmp_path: Path) -> None:
    manifest = reader.training_set("s", spine(), name="x").manifest
    shutil.rmtree(tmp_path / "tables" / "v")
    with pytest.raises(StorageError, match=r"training set 'x': what it pins was removed .*table 'v' does not exist"):
        FeatureReader(tmp_path).rebuild(manifest)
    with pytest.raises(StorageError, match=r"table 'v': .*removed behind the store's back"):
        reader.rebuild(manifest)
