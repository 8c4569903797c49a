from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError, ConflictError, DataError, FeatureViewNotFound, SchemaMismatch, StorageError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.features.intake import row_batches as intake
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.tables.delta import DeltaTables
from tests.support.point_in_time import table_of

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SALES = FeatureView(
    "sales",
    Entity("shop", ["shop"]),
    [Field("amount", "float64", ge=0), Field("city", "string"), Field("paid_at", "timestamp")],
    created_at="created_at",
)
BY_CITY = FeatureView(
    "by_city",
    Entity("city", ["city"]),
    [Field("amount", "float64")],
    source="sales",
    aggregates=[WindowAggregate("total", "sum", "amount", HOUR)],
)
HIDDEN = FeatureView("hidden", Entity("shop", ["shop"]), [Field("x", "int64")], online=False)
PAID = FeatureView("paid", Entity("shop", ["shop"]), [Field("amount", "float64")], source="sales", event_time="paid_at")
SERVICE = FeatureService("s", ["sales:amount", "by_city:total"])


def sales(*rows: tuple[int, float], shop: str = "a", city: str | None = "rome") -> pa.Table:
    plain = [
        {
            "shop": shop,
            "event_time": T + minute * MINUTE,
            "created_at": T,
            "amount": amount,
            "city": city,
            "paid_at": None,
        }
        for minute, amount in rows
    ]
    return table_of(SALES, plain)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path, clock=clock, history=HOUR)
    opened.apply(SALES, BY_CITY, HIDDEN, PAID, SERVICE, FeatureService("p", ["paid:amount"]))
    yield opened
    opened.close()


@pytest.fixture
def reader(store: FeatureStore, tmp_path: Path, clock: ManualClock) -> Iterator[FeatureReader]:
    opened = FeatureReader(tmp_path, clock=clock)
    yield opened
    opened.close()


def online(reader: FeatureReader, minute: int = 0, shop: str = "a", city: str = "rome") -> tuple[Any, Any]:
    table = reader.online("s", pa.table({"shop": [shop], "city": [city]}), T + minute * MINUTE)
    assert table.column_names == ["shop", "city", "sales__amount", "by_city__total"]
    return table["sales__amount"][0].as_py(), table["by_city__total"][0].as_py()


def test_a_push_is_readable_when_it_returns(store: FeatureStore, reader: FeatureReader) -> None:
    receipt = store.push("sales", sales((-1, 1.0), (0, 2.0), (1, 4.0)), ingest_id="one")
    assert (receipt.table, receipt.table_version, receipt.rows, receipt.duplicate) == ("sales", 0, 3, False)
    assert [online(reader, minute) for minute in (-2, -1, 0, 1)] == [(None, None), (1.0, 1.0), (2.0, 3.0), (4.0, 7.0)]
    store.push("sales", sales((0, 8.0), shop="b"), ingest_id="two")
    assert online(reader, 0) == (2.0, 11.0)
    assert online(reader, 0, shop="b") == (8.0, 11.0)
    assert online(reader, 0, shop="c", city="oslo") == (None, None)


def test_a_push_may_be_empty(store: FeatureStore, reader: FeatureReader) -> None:
    assert store.push("sales", sales(), ingest_id="none").rows == 0
    store.push("sales", sales((0, 1.0)), ingest_id="some")
    store.push("sales", sales(), ingest_id="none again")
    assert online(reader) == (1.0, 1.0)


def test_p29_an_older_row_does_not_replace_a_newer_one(store: FeatureStore, reader: FeatureReader) -> None:
    store.push("sales", sales((0, 2.0)), ingest_id="new")
    store.push("sales", sales((-5, 1.0)), ingest_id="old")
    assert online(reader) == (2.0, 3.0)
    assert online(reader, -1) == (1.0, 1.0)


def test_p31_repeats_change_nothing(store: FeatureStore, reader: FeatureReader) -> None:
    for duplicate in (False, True, True):
        receipt = store.push("sales", sales((0, 2.0)), ingest_id="one")
        assert (receipt.duplicate, receipt.table_version) == (duplicate, 0)
        assert {(r.view, r.table_version, r.rows) for r in store.materialize()} == {
            *(("sales@1", 0, 0), ("by_city@1", 0, 0), ("paid@1", 0, 0))
        }
        assert online(reader) == (2.0, 2.0)
    assert reader.table("sales").num_rows == 1


def test_without_an_id_the_rows_are_the_id(store: FeatureStore, reader: FeatureReader) -> None:
    first = store.ingest("sales", sales((0, 1.0)))
    assert store.ingest("sales", sales((0, 1.0))).duplicate
    assert not store.ingest("sales", sales((0, 2.0))).duplicate
    assert len(first.ingest_id) == 64
    assert reader.table("sales").num_rows == 2


def test_an_ingest_is_online_once_materialised(store: FeatureStore, reader: FeatureReader) -> None:
    store.ingest("sales", sales((0, 1.0)), ingest_id="one")
    store.ingest("sales", sales((0, 2.0)), ingest_id="two")
    assert online(reader) == (None, None)
    (receipt,) = store.materialize("by_city")
    assert (receipt.view, receipt.table_version, receipt.rows) == ("by_city@1", 1, 2)
    assert online(reader) == (None, 3.0)
    store.push("sales", sales((0, 4.0)), ingest_id="three")
    assert online(reader) == (4.0, 7.0)


def test_a_view_that_comes_later_gets_what_was_ingested_before(store: FeatureStore, reader: FeatureReader) -> None:
    store.push("sales", sales((0, 1.0), (0, 2.0)), ingest_id="one")
    later = FeatureView("later", Entity("city", ["city"]), [Field("amount", "float64")], source="sales")
    store.apply(later, FeatureService("l", ["later:amount"]))
    store.push("sales", sales((-9, 9.0)), ingest_id="two")
    assert reader.online("l", pa.table({"city": ["rome"]}), T)["later__amount"].to_pylist() == [2.0]


def test_what_was_ingested_but_not_materialised_is_made_up_for(
    store: FeatureStore, tmp_path: Path, clock: ManualClock
) -> None:
    store.push("sales", sales((0, 1.0)), ingest_id="one")
    store.ingest("sales", sales((0, 2.0)), ingest_id="two")  # killed between the two halves of a push
    store.close()
    again = FeatureStore(tmp_path, clock=clock, history=HOUR)
    reader = FeatureReader(tmp_path, clock=clock)
    assert online(reader) == (2.0, 3.0)
    reader.close()
    again.close()


def test_a_lost_online_store_is_built_again(store: FeatureStore, tmp_path: Path, clock: ManualClock) -> None:
    store.push("sales", sales((0, 1.0)), ingest_id="one")
    store.close()
    shutil.rmtree(tmp_path / "online.lmdb")
    again = FeatureStore(tmp_path, clock=clock, history=HOUR)
    again.materialize()
    reader = FeatureReader(tmp_path, clock=clock)
    assert online(reader) == (1.0, 1.0)
    reader.close()
    again.close()


def test_rows_removed_behind_its_back_are_noticed(store: FeatureStore, tmp_path: Path) -> None:
    store.push("sales", sales((0, 1.0), (0, 2.0)), ingest_id="one")
    shutil.rmtree(tmp_path / "tables" / "sales")
    with pytest.raises(StorageError, match="rows were removed behind the store's back"):
        store.push("sales", sales((0, 3.0)), ingest_id="two")


def test_an_event_from_the_future_pushes_nothing_out(store: FeatureStore, reader: FeatureReader) -> None:
    store.push("sales", sales((-30, 1.0), (0, 2.0)), ingest_id="one")
    store.push("sales", sales((60 * 24 * 365, 64.0)), ingest_id="future")
    assert online(reader) == (2.0, 3.0)
    assert online(reader, -30) == (1.0, 1.0)


def test_history_is_kept_exact_and_beyond_it_refused(
    store: FeatureStore, reader: FeatureReader, clock: ManualClock
) -> None:
    for minute in range(0, 300, 10):
        clock.advance_to(T + minute * MINUTE)
        store.push("sales", sales((minute, 1.0)), ingest_id=str(minute))
    assert online(reader, 290) == (1.0, 6.0)
    assert online(reader, 230) == (1.0, 6.0)
    with pytest.raises(DataError, match="at must not be before 2024-03-01T15:50:00"):
        online(reader, 229)


def test_created_at_is_the_clocks_where_it_is_not_given(
    store: FeatureStore, reader: FeatureReader, clock: ManualClock
) -> None:
    clock.advance_to(T + HOUR)
    store.ingest("sales", sales((0, 1.0)).drop_columns(["created_at"]), ingest_id="one")
    assert reader.table("sales")["created_at"].to_pylist() == [T + HOUR]


def test_a_view_may_be_timed_by_a_field_of_its_source(store: FeatureStore, reader: FeatureReader) -> None:
    rows = [
        {"shop": "a", "event_time": T, "amount": amount, "paid_at": paid}
        for amount, paid in [(1.0, T - HOUR), (2.0, None), (4.0, T + HOUR)]
    ]
    store.push("sales", table_of(SALES, rows), ingest_id="one")
    assert reader.online("p", pa.table({"shop": ["a"]}), T)["paid__amount"].to_pylist() == [1.0]
    spine = pa.table({"shop": ["a", "a"], "event_time": pa.array([T, T + HOUR], pa.timestamp("us", tz="UTC"))})
    assert reader.training_set("p", spine, name="x").table()["paid__amount"].to_pylist() == [1.0, 4.0]


def test_bad_rows_are_refused_and_nothing_is_stored(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'amount' must be at least 0, broken by 1 rows, first \[1\]"):
        store.push("sales", sales((0, 1.0), (0, -1.0)), ingest_id="one")
    with pytest.raises(SchemaMismatch, match=r"columns .*more.* are not declared"):
        store.ingest("sales", sales((0, 1.0)).append_column("more", pa.array([1])))
    with pytest.raises(SchemaMismatch, match=r"columns \['city'\] are missing"):
        store.ingest("sales", sales((0, 1.0)).drop_columns(["city"]))
    assert not (tmp_path / "tables" / "sales").exists()
    assert store.materialize() == []


def test_a_key_must_stay_of_its_type(store: FeatureStore) -> None:
    store.ingest("sales", sales((0, 1.0)), ingest_id="one")
    numbers = sales((0, 1.0)).set_column(0, "shop", pa.array([5]))
    with pytest.raises(SchemaMismatch, match=r"\{'shop': \('string', 'int64'\)\}"):
        store.ingest("sales", numbers, ingest_id="two")


def test_what_cannot_be_asked_of_a_view(store: FeatureStore, tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(ConfigError, match="view 'by_city' reads the table of 'sales': ingest there"):
        store.push("by_city", sales((0, 1.0)), ingest_id="one")
    with pytest.raises(FeatureViewNotFound, match="view 'other' is not applied"):
        store.ingest("other", sales((0, 1.0)))
    with pytest.raises(FeatureViewNotFound, match="view 'other' is not applied"):
        store.materialize("other")
    with pytest.raises(ConfigError, match="view 'hidden' is not kept online"):
        store.materialize("hidden")
    with pytest.raises(ConfigError, match="history must not be negative"):
        FeatureStore(tmp_path / "other", clock=clock, history=-HOUR)


def test_all_faults_are_told_at_once(store: FeatureStore) -> None:
    rows = sales((0, 1.0), (0, -1.0), (0, float("inf"))).set_column(0, "shop", pa.array(["a", None, "b"]))
    with pytest.raises(DataError) as caught:
        store.ingest("sales", rows)
    assert str(caught.value) == (
        "view 'sales': column 'shop' must not be null, broken by 1 rows, first [1]; "
        "column 'amount' must lie within -1e+100 and 1e+100, broken by 1 rows, first [2]; "
        "column 'amount' must be at least 0, broken by 1 rows, first [1]"
    )
    assert caught.value.context["rejected"] == 2


def test_quarantine_keeps_the_good_rows_and_stores_the_bad_ones(store: FeatureStore, reader: FeatureReader) -> None:
    for duplicate in (False, True):
        receipt = store.push("sales", sales((0, 1.0), (0, -1.0)), ingest_id="one", on_invalid="quarantine")
        assert (receipt.rows, receipt.rejected, receipt.duplicate) == (1, 1, duplicate)
        assert reader.table("sales")["amount"].to_pylist() == [1.0]
        assert [(row.row, row.reasons, row.ingest_id) for row in reader.quarantine("sales")] == [
            (1, ("'amount' must be at least 0",), "one")
        ]
        assert online(reader) == (1.0, 1.0)
    assert reader.quarantine("by_city") == []
    assert reader.quarantine("hidden") == []
    with pytest.raises(ConfigError, match="on_invalid must be one of"):
        store.ingest("sales", sales((0, 1.0)), on_invalid="ignore")  # type: ignore[arg-type]


def test_an_ingest_of_bad_rows_alone_is_remembered(store: FeatureStore, reader: FeatureReader) -> None:
    assert store.ingest("sales", sales((0, -1.0)), ingest_id="one", on_invalid="quarantine").rows == 0
    assert store.ingest("sales", sales((0, -1.0)), ingest_id="one", on_invalid="quarantine").duplicate
    assert reader.table("sales").num_rows == 0
    assert len(reader.quarantine("sales@1", "one")) == 1


def test_an_ingest_that_was_cut_off_behind_the_quarantine_is_completed(
    store: FeatureStore, reader: FeatureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = DeltaTables.append

    def cut_off(tables: DeltaTables, name: str, rows: Any, **more: Any) -> Any:
        if tables is store._tables:
            raise StorageError("the disk is gone")
        return whole(tables, name, rows, **more)

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTables, "append", cut_off)
        with pytest.raises(StorageError, match="the disk is gone"):
            store.ingest("sales", sales((0, 1.0), (0, -1.0)), ingest_id="one", on_invalid="quarantine")
    assert len(reader.quarantine("sales")) == 1
    assert not store.ingest("sales", sales((0, 1.0), (0, -1.0)), ingest_id="one", on_invalid="quarantine").duplicate
    assert len(reader.quarantine("sales")) == 1
    assert reader.table("sales")["amount"].to_pylist() == [1.0]


def test_staged_blocks_are_one_ingest(store: FeatureStore, reader: FeatureReader, tmp_path: Path) -> None:
    staged = "0" * 32
    for number, block in enumerate([sales((0, 1.0)), sales(), sales((1, 2.0), (2, -3.0))]):
        store.stage(staged, number, block)
    with pytest.raises(DataError, match=r"'amount' must be at least 0, broken by 1 rows, first \[2\]"):
        store.ingest_staged("sales", staged, 3, ingest_id="one")
    for duplicate in (False, True):
        receipt = store.ingest_staged("sales", staged, 3, ingest_id="one", on_invalid="quarantine")
        assert (receipt.rows, receipt.rejected, receipt.table_version) == (2, 1, 0)
        assert receipt.duplicate is duplicate
    store.discard(staged)
    assert list((tmp_path / "staging").iterdir()) == []
    assert reader.table("sales")["amount"].to_pylist() == [1.0, 2.0]
    with pytest.raises(DataError, match="block 0 of 3 was not handed over"):
        store.ingest_staged("sales", staged, 3, ingest_id="two")


def test_what_does_not_fit_in_memory_is_streamed(
    store: FeatureStore, reader: FeatureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_IN_MEMORY_BYTES", 0)
    rows = sales((0, 1.0), (1, 2.0), (2, -1.0))
    receipt = store.push("sales", rows, ingest_id="one", on_invalid="quarantine")
    assert (receipt.rows, receipt.rejected) == (2, 1)
    assert online(reader, 1) == (2.0, 3.0)


def test_texts_take_the_types_of_the_table(store: FeatureStore, reader: FeatureReader) -> None:
    staged = "0" * 32
    store.ingest("sales", sales((0, 1.0)), ingest_id="one")
    text = {"shop": ["7"], "event_time": ["2024-03-01T12:05:00Z"], "created_at": ["2024-03-01T13:00:00+01:00"]}
    store.stage(staged, 0, pa.table({**text, "amount": ["2"], "city": ["rome"], "paid_at": pa.nulls(1, pa.string())}))
    store.ingest_staged("sales", staged, 1, ingest_id="two", text=True)
    assert reader.table("sales").to_pylist()[1] == {
        "shop": "7",
        "event_time": T + 5 * MINUTE,
        "created_at": T,
        "amount": 2.0,
        "city": "rome",
        "paid_at": None,
    }


def test_types_that_cannot_be_stored(store: FeatureStore) -> None:
    odd = sales((0, 1.0)).append_column("odd", pa.array([(1, 2, 3)], pa.month_day_nano_interval()))
    with pytest.raises(SchemaMismatch, match="view 'sales': "):
        store.ingest("sales", odd)


def test_vacuum_says_what_it_cannot_do(store: FeatureStore, reader: FeatureReader, tmp_path: Path) -> None:
    assert store.vacuum().tables == ()
    with pytest.raises(ConfigError, match="retention must not be negative"):
        store.vacuum(retention=-HOUR)
    store.ingest("sales", sales((0, 1.0)), ingest_id="one")
    store.ingest("sales", sales((0, 2.0)), ingest_id="two")
    spine = pa.table({"shop": ["a"], "city": ["rome"], "event_time": pa.array([T], pa.timestamp("us", tz="UTC"))})
    manifest = reader.training_set("s", spine, name="x").manifest
    assert [(table.table, table.pinned_versions) for table in store.vacuum().tables] == [("sales", (1,))]
    (tmp_path / "tables" / "sales" / "_delta_log" / f"{1:020}.json").unlink()
    with pytest.raises(StorageError, match=r"training set 'x': what it pins was removed behind .*sales"):
        FeatureReader(tmp_path).rebuild(manifest)
    with pytest.raises(StorageError, match="sales"):
        store.vacuum(retention=timedelta(0), dry_run=False)
    (tmp_path / "training_sets" / f"{manifest.digest}.json").write_text("{")
    with pytest.raises(StorageError, match=r"\.json: cannot read"):
        store.vacuum()


def test_vacuum_lets_files_go_that_never_became_rows(store: FeatureStore, tmp_path: Path) -> None:
    store.ingest("sales", sales((0, 1.0)), ingest_id="one")
    orphan, young = (tmp_path / "tables" / "sales" / f"part-{name}.parquet" for name in ("orphan", "young"))
    for path in (orphan, young):
        path.write_bytes(b"cut off")
    os.utime(orphan, (0, 0))
    report = store.vacuum(dry_run=False)
    assert (report.files, report.size_bytes, report.retention_s) == (1, 7, 7 * 86400)
    assert (orphan.exists(), young.exists()) == (False, True)


def test_a_store_that_cannot_be_opened_leaves_nothing_open(store: FeatureStore, tmp_path: Path) -> None:
    store.push("sales", sales((0, 1.0)), ingest_id="one")
    store.ingest("sales", sales((1, 2.0)), ingest_id="two")  # what the next start makes up for
    store.close()
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    for _ in range(2):
        with pytest.raises(StorageError):
            FeatureStore(tmp_path, clock=ManualClock(T))
    assert [path for path in LmdbOnlineStore._open_files if path.is_relative_to(tmp_path)] == []


class TestReusedIds:
    def test_other_rows_under_an_id_are_refused_and_not_forgotten(
        self, store: FeatureStore, reader: FeatureReader
    ) -> None:
        store.push("sales", sales((0, 1.0)), ingest_id="one")
        for again in (store.push, store.ingest):
            with pytest.raises(ConflictError, match="id 'one' came with other rows before"):
                again("sales", sales((0, 2.0)), ingest_id="one")
        assert store.push("sales", sales((0, 1.0)), ingest_id="one").duplicate
        assert reader.table("sales")["amount"].to_pylist() == [1.0]

    def test_other_refused_rows_are_other_rows(self, store: FeatureStore) -> None:
        store.ingest("sales", sales((0, 1.0), (0, -1.0)), ingest_id="one", on_invalid="quarantine")
        assert store.ingest("sales", sales((0, 1.0), (0, -1.0)), ingest_id="one", on_invalid="quarantine").duplicate
        with pytest.raises(ConflictError):
            store.ingest("sales", sales((0, 1.0), (0, -2.0)), ingest_id="one", on_invalid="quarantine")

    def test_the_same_rows_in_other_blocks_are_a_repeat(self, store: FeatureStore) -> None:
        whole = sales((0, 1.0), (1, 2.0), (2, 3.0))
        store.ingest("sales", whole, ingest_id="one")
        for number, block in enumerate([whole.slice(0, 1), whole.slice(1)]):
            store.stage("0" * 32, number, block)
        assert store.ingest_staged("sales", "0" * 32, 2, ingest_id="one").duplicate

    def test_a_stamp_of_the_platforms_own_makes_no_other_rows(self, tmp_path: Path) -> None:
        clock = ManualClock(datetime(2024, 1, 1, tzinfo=UTC))
        store = FeatureStore(tmp_path / "stamped", clock=clock)
        store.apply(FeatureView("v", Entity("e", ["k"]), [Field("x", "float64")], created_at="created"))
        row = pa.table({"k": [1], "event_time": pa.array([clock.now()], pa.timestamp("us", "UTC")), "x": [1.0]})
        store.ingest("v", row, ingest_id="one")
        clock.advance_to(clock.now() + timedelta(hours=1))
        assert store.ingest("v", row, ingest_id="one").duplicate
        with pytest.raises(ConflictError):
            store.ingest("v", row.set_column(2, "x", pa.array([2.0])), ingest_id="one")
        store.close()
