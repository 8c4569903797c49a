from __future__ import annotations

import sys
from collections.abc import Iterator
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
    OnDemandView,
    WindowAggregate,
    audit,
)
from raymlops.records.features import ConsistencyReport, FeatureConsistency
from raymlops.tables.columns import INSTANT

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
    """Rows that have been online for an hour."""
    store = FeatureStore(tmp_path, clock=ManualClock(T - HOUR), history=2 * HOUR)
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
        "v__i": FeatureConsistency(
            mismatch=0.25, missing=0.25, extra=0.25, largest_difference=1.0, mean_difference=1.0
        ),
        "v__s": FeatureConsistency(mismatch=0.25, missing=0.25, extra=0.0),
        "v__mean": GOOD,
    }


def test_a_log_of_doubles_is_compared_as_numbers(reader: FeatureReader) -> None:
    logged = served(reader, v__i=pa.array([7.0, float("nan"), None, 7.0]))
    assert audit("svc", logged, reader).features["v__i"] == GOOD
    last_bit = pa.array([7.000000000000001, None, None, None])
    assert audit("svc", served(reader, v__mean=last_bit), reader).features["v__mean"].mismatch == 0.25


def push_later(root: Path, at: datetime, value: int, ingest_id: str = "late") -> None:
    store = FeatureStore(root, clock=ManualClock(at), history=2 * HOUR)
    row = pa.table({"k": [1], "event_time": pa.array([T], INSTANT), "i": [value], "s": ["a"]})
    store.push("v", row, ingest_id=ingest_id)
    store.close()


def test_a_row_that_became_visible_after_the_answer_is_late(reader: FeatureReader, tmp_path: Path) -> None:
    """The view has no created-at: the store itself noted when rows came."""
    before = served(reader).append_column("served_at", pa.array([T] * 4, INSTANT))
    push_later(tmp_path, T + timedelta(seconds=4), 9)
    report = audit("svc", before, reader)
    found, mean = report.features["v__i"], report.features["v__mean"]
    assert report.consistent
    assert (found.share, found.late, mean.share, mean.late) == (0.0, 0.5, 0.0, 0.25)


def test_a_row_that_was_visible_and_not_served_is_a_mismatch(reader: FeatureReader, tmp_path: Path) -> None:
    before = served(reader).append_column("served_at", pa.array([T + HOUR] * 4, INSTANT))
    push_later(tmp_path, T + timedelta(seconds=4), 9)
    report = audit("svc", before, reader)
    found, mean = report.features["v__i"], report.features["v__mean"]
    assert (found.mismatch, found.missing, found.extra, found.late) == (0.5, 0.0, 0.0, 0.0)
    assert (found.largest_difference, found.mean_difference) == (2.0, 2.0)
    assert (mean.mismatch, mean.share) == (0.25, 0.25)


def test_a_wrong_value_is_wrong_also_where_rows_came_late(reader: FeatureReader, tmp_path: Path) -> None:
    tampered = served(reader, v__i=pa.array([8, None, None, 7]))
    push_later(tmp_path, T + HOUR + HOUR, 9)
    found = audit("svc", tampered, reader).features["v__i"]
    assert (found.mismatch, found.late) == (0.25, 0.25)


def test_a_row_in_the_table_that_is_not_online_yet_is_late(reader: FeatureReader, tmp_path: Path) -> None:
    before = served(reader)
    store = FeatureStore(tmp_path, clock=ManualClock(T - HOUR), history=2 * HOUR)
    row = pa.table({"k": [1], "event_time": pa.array([T], INSTANT), "i": [9], "s": ["a"]})
    store.ingest("v", row, ingest_id="not materialised")
    store.close()
    found = audit("svc", before, reader).features["v__i"]
    assert (found.share, found.late) == (0.0, 0.5)


def test_without_a_record_of_when_rows_came_a_late_row_is_a_mismatch(reader: FeatureReader, tmp_path: Path) -> None:
    """Stores from before there were records."""
    before = served(reader)
    push_later(tmp_path, T + timedelta(seconds=4), 9)
    for path in (tmp_path / "visible").iterdir():
        path.unlink()
    found = audit("svc", before, reader).features["v__i"]
    assert (found.mismatch, found.late) == (0.5, 0.0)


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


KNOWN = FeatureView(
    "n",
    Entity("e", ["k"]),
    [Field("x", "float64"), Field("s", "string")],
    created_at="created_at",
    aggregates=[WindowAggregate("sum", "sum", "x", HOUR)],
)
ALIAS = KNOWN.aliased("other", {"k": "other_k"})
DOUBLED = OnDemandView("od", ["n:x", "factor"], [Field("times", "float64")], f"{__name__}:times")
KNOWN_SERVICE = FeatureService("known", ["n:x", "n:s", "n:sum", "other:x", "od:times"])


def times(columns: dict[str, Any]) -> dict[str, Any]:
    return {"times": columns["n__x"] * columns["factor"]}


@pytest.fixture
def known_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    store = FeatureStore(tmp_path, clock=ManualClock(T), history=10 * HOUR)
    store.apply(KNOWN, ALIAS, DOUBLED, KNOWN_SERVICE)
    push(store, "one", (1, T, T, 1.0, "a"), (2, T, T, 10.0, "b"))
    yield store
    store.close()


def push(store: FeatureStore, ingest_id: str, *rows: tuple[int, datetime, datetime, float | None, str]) -> None:
    names = ("k", "event_time", "created_at", "x", "s")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    for name in ("event_time", "created_at"):
        columns[name] = pa.array(columns[name], INSTANT)
    columns["x"] = pa.array(columns["x"], pa.float64())
    store.push("n", pa.table(columns), ingest_id=ingest_id)


def answered(reader: FeatureReader, *asked: tuple[int, int, datetime, datetime]) -> pa.Table:
    """Rows as the log has them: keys 1 and 2, the instant asked about, the instant of the answer."""
    rows = pa.table(
        {
            "k": [row[0] for row in asked],
            "other_k": [row[1] for row in asked],
            "factor": [2.0] * len(asked),
            "event_time": pa.array([row[2] for row in asked], INSTANT),
            "served_at": pa.array([row[3] for row in asked], INSTANT),
            "request_id": [f"r{i}" for i in range(len(asked))],
        }
    )
    plan = reader.plan("known")
    features = plan.table(plan.read(rows.to_pylist(), rows["event_time"].cast(pa.int64()).to_pylist()))
    for name in features.column_names:
        rows = rows.append_column(name, features[name])
    return rows


def test_what_late_data_explains_is_no_mismatch(known_store: FeatureStore, tmp_path: Path) -> None:
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    soon = T + timedelta(minutes=10)
    served = answered(reader, (1, 2, T, soon), (1, 2, T, soon), (2, 1, T, soon))
    assert audit("known", served, reader).consistent
    push(known_store, "late", (1, T, T + HOUR, 5.0, "late"))  # about then, known after the answers
    report = audit("known", served, reader)
    assert report.consistent
    assert report.examples == ()
    shares = {name: round(found.late, 3) for name, found in report.features.items()}
    assert shares == {"n__x": 0.667, "n__s": 0.667, "n__sum": 0.667, "other__x": 0.333, "od__times": 0.667}
    reader.close()


def test_what_was_known_and_not_served_is_a_mismatch(known_store: FeatureStore, tmp_path: Path) -> None:
    """A row created between the instant asked about and the answer was known: the older value is no late data."""
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    served = answered(reader, (1, 2, T, T + HOUR), (1, 2, T, T + timedelta(minutes=1)))
    push(known_store, "between", (1, T, T + timedelta(minutes=30), 5.0, "between"))
    push(known_store, "late", (1, T, T + 2 * HOUR, 7.0, "late"))
    report = audit("known", served, reader)
    x = report.features["n__x"]
    assert (x.mismatch, x.late, x.largest_difference) == (0.5, 0.5, 6.0)
    example = next(found for found in report.examples if found.feature == "n__x")
    assert example.keys == {"k": 1, "other_k": 2, "factor": 2.0}
    assert (example.event_time, example.served_at, example.request_id) == (T, T + HOUR, "r0")
    assert (example.served, example.recomputed) == (1.0, 7.0)
    reader.close()


def test_an_alias_is_audited_by_its_own_column(known_store: FeatureStore, tmp_path: Path) -> None:
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    served = answered(reader, (1, 2, T, T), (2, 1, T, T))
    place = served.column_names.index("other__x")
    wrong = served.set_column(place, "other__x", pa.array([10.0, 2.5]))
    report = audit("known", wrong, reader)
    assert report.features["other__x"].mismatch == 0.5
    assert report.features["n__x"].share == 0.0
    assert [(found.keys["other_k"], found.served, found.recomputed) for found in report.examples] == [(1, 2.5, 1.0)]
    reader.close()


def test_the_examples_are_the_worst_of_many_features(known_store: FeatureStore, tmp_path: Path) -> None:
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    served = answered(reader, *[(1, 2, T, T + HOUR)] * 9)
    numbers = pa.array([1.0, 2.0, 3.0, 101.0, 5.0, 6.0, 7.0, 8.0, None])
    wrong = served.set_column(served.column_names.index("n__x"), "n__x", numbers)
    wrong = wrong.set_column(wrong.column_names.index("n__s"), "n__s", pa.array(["a"] * 8 + ["z"]))
    report = audit("known", wrong, reader)
    assert report.features["n__x"].mean_difference == pytest.approx((1 + 2 + 100 + 4 + 5 + 6 + 7) / 7)
    found = [(each.feature, each.served) for each in report.examples]
    assert found == [("n__x", None), ("n__s", "z"), ("n__x", 101.0), ("n__x", 8.0), ("n__x", 7.0)]
    assert ConsistencyReport.model_validate_json(report.model_dump_json()) == report
    reader.close()


def test_tables_are_audited_one_at_a_time(known_store: FeatureStore, tmp_path: Path) -> None:
    """A log that does not fit comes in pieces; a model that takes fewer inputs does not count as missing them."""
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    whole = answered(reader, *[(1 + i % 2, 2 - i % 2, T, T) for i in range(10)])
    wrong = whole.set_column(whole.column_names.index("n__x"), "n__x", pa.array([3.0] * 10))
    pieces = (table for table in (wrong.slice(0, 3), wrong.slice(3, 4), wrong.slice(7).drop_columns(["n__x"])))
    report = audit("known", pieces, reader)
    assert (report.rows, report.features["n__x"].mismatch) == (10, 1.0)
    assert (
        report.features == audit("known", [wrong.slice(0, 7), whole.slice(7).drop_columns(["n__x"])], reader).features
    )
    reader.close()


def test_numbers_that_a_double_rounds_and_instants_as_microseconds(tmp_path: Path) -> None:
    view = FeatureView("b", Entity("e", ["k"]), [Field("id", "int64"), Field("seen", "timestamp")])
    store = FeatureStore(tmp_path, clock=ManualClock(T), history=HOUR)
    store.apply(view, FeatureService("big", ["b:id", "b:seen"]))
    instants = pa.array([T], INSTANT)
    store.push("b", pa.table({"k": [1], "event_time": instants, "id": [2**60 + 1], "seen": instants}), ingest_id="one")
    store.close()
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    asked = {"k": [1], "event_time": instants}
    as_logged = pa.table({**asked, "b__id": [float(2**60 + 1)], "b__seen": [T.timestamp() * 1e6]})
    assert audit("big", as_logged, reader).consistent
    as_read = pa.table({**asked, "b__id": [2**60 + 1], "b__seen": instants})
    assert audit("big", as_read, reader).consistent
    later = pa.table({**asked, "b__id": [2**60 + 1], "b__seen": pa.array([T + HOUR], INSTANT)})
    report = audit("big", later, reader)
    assert (report.features["b__seen"].mismatch, report.examples[0].recomputed) == (1.0, T.isoformat())
    reader.close()
