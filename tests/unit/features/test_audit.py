from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import SchemaMismatch
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
from raymlops.features.schema import INSTANT
from raymlops.records.features import FeatureConsistency

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("i", "int64"), Field("s", "string")],
    aggregates=[WindowAggregate("mean", "mean", "i", HOUR)],
)
SERVICE = FeatureService("svc", ["v:i", "v:s", "v:mean"])
GOOD = FeatureConsistency(mismatch=0.0, missing=0.0, extra=0.0)


@pytest.fixture
def reader(tmp_path: Path) -> FeatureReader:
    store = FeatureStore(tmp_path, clock=ManualClock(T), history=HOUR)
    store.apply(VIEW, SERVICE)
    times = pa.array([T, T], INSTANT)
    store.push("v", pa.table({"k": [1, 2], "event_time": times, "i": [7, None], "s": ["a", "b"]}), ingest_id="one")
    store.close()
    return FeatureReader(tmp_path, clock=ManualClock(T))


def served(reader: FeatureReader, **replaced: Any) -> pa.Table:
    asked = pa.table({"k": [1, 2, 3, 1], "event_time": pa.array([T, T, T, T + HOUR], INSTANT)})
    plan = reader.plan("svc")
    times = asked["event_time"].cast(pa.int64()).to_pylist()
    features = plan.table(plan.read(asked.to_pylist(), times))
    columns = {name: features[name] for name in features.column_names} | replaced
    for name, column in columns.items():
        asked = asked.append_column(name, column)
    return asked


def test_what_was_served_is_what_the_tables_say(reader: FeatureReader) -> None:
    report = audit("svc", served(reader), reader)
    assert report.consistent
    assert (report.service, report.rows) == ("svc@1", 4)
    assert report.features == {name: GOOD for name in ("v__i", "v__s", "v__mean")}


def test_differences_are_told_by_kind(reader: FeatureReader) -> None:
    wrong = served(reader, v__i=pa.array([8, 5, None, None]), v__s=pa.array([None, "x", None, "a"]))
    report = audit("svc", wrong, reader)
    assert not report.consistent
    assert report.features == {
        "v__i": FeatureConsistency(mismatch=0.25, missing=0.25, extra=0.25),
        "v__s": FeatureConsistency(mismatch=0.25, missing=0.25, extra=0.0),
        "v__mean": GOOD,
    }


def test_a_log_of_doubles_is_compared_as_numbers(reader: FeatureReader) -> None:
    logged = served(reader, v__i=pa.array([7.0, float("nan"), None, 7.0]))
    assert audit("svc", logged, reader).features["v__i"] == GOOD
    last_bit = pa.array([7.000000000000001, None, None, None])
    assert audit("svc", served(reader, v__mean=last_bit), reader).features["v__mean"].mismatch == 0.25


def test_a_late_row_shows(reader: FeatureReader, tmp_path: Path) -> None:
    before = served(reader)
    store = FeatureStore(tmp_path, clock=ManualClock(T), history=HOUR)
    late = pa.table({"k": [1], "event_time": pa.array([T], INSTANT), "i": [9], "s": ["a"]})
    store.push("v", late, ingest_id="late")
    store.close()
    report = audit("svc", before, reader)
    assert report.features["v__i"] == FeatureConsistency(mismatch=0.5, missing=0.0, extra=0.0)
    assert report.features["v__mean"] == FeatureConsistency(mismatch=0.25, missing=0.0, extra=0.0)


def test_only_what_was_logged_is_audited(reader: FeatureReader) -> None:
    some = served(reader).drop_columns(["v__i", "v__s"])
    assert set(audit("svc", some, reader).features) == {"v__mean"}
    nothing = audit("svc", served(reader).slice(0, 0), reader)
    assert nothing.consistent
    assert nothing.rows == 0


def test_wrong_logs_are_refused(reader: FeatureReader) -> None:
    with pytest.raises(SchemaMismatch, match=r"served: columns \['event_time'\] are missing"):
        audit("svc", served(reader).drop_columns(["event_time"]), reader)
    with pytest.raises(SchemaMismatch, match=r"spine: columns \['k'\] are missing"):
        audit("svc", served(reader).drop_columns(["k"]), reader)
    with pytest.raises(SchemaMismatch, match="served: column 'v__i' must be double, got string"):
        audit("svc", served(reader, v__i=pa.array(["7"] * 4)), reader)
