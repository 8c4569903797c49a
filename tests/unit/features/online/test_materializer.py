"""Materialisation in batches, cut off anywhere; what it leads to is in test_conformance_online and test_laws."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import StorageError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, WindowAggregate
from raymlops.features.catalog.layout import online_path
from raymlops.features.online import materializer as materializer_module
from raymlops.features.online.materializer import Fresh, Materializer
from raymlops.features.online.online_store import OnlineStore, ViewUpdate, Watermark
from tests.support.in_memory_store import InMemoryOnlineStore
from tests.support.point_in_time import spine_of, table_of

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [Field("x", "float64"), Field("s", "string")],
    aggregates=[WindowAggregate("n", "count", "x", 20 * MINUTE), WindowAggregate("total", "sum", "x", 20 * MINUTE)],
)
OTHER = FeatureView("w", Entity("e", ["k"]), [Field("s", "string")], source="v")
SERVICE = FeatureService("all", [*(f"v:{name}" for name in VIEW.feature_names), "w:s"])
ROWS = [
    {"k": number % 3, "event_time": T - (number * 7 % 13) * MINUTE, "x": 0.1 * number, "s": str(number)}
    for number in range(12)
]
ASKED = spine_of([{"event_time": T, "k": k} for k in range(4)])


class CutOff(InMemoryOnlineStore):
    """A store whose process ends before some commit."""

    def __init__(self, commits: int) -> None:
        super().__init__()
        self.commits_left = commits
        self.committed: list[list[ViewUpdate]] = []

    def commit(self, updates: Sequence[ViewUpdate]) -> None:
        if not self.commits_left:
            raise KeyboardInterrupt
        self.commits_left -= 1
        self.committed.append(list(updates))
        super().commit(updates)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rows of the views' four columns, and of their place, per batch."""
    monkeypatch.setattr(materializer_module, "_BATCH_BYTES", 5 * 5 * 8)


def open_store(root: Path, online: OnlineStore) -> tuple[FeatureStore, FeatureReader]:
    store = FeatureStore(root, clock=ManualClock(T), online=online)
    store.apply(VIEW, OTHER, SERVICE)
    return store, FeatureReader(root, clock=ManualClock(T), online=online)


def assert_as_joined(reader: FeatureReader) -> None:
    assert reader.online("all", ASKED, T).equals(reader.training_set("all", ASKED, name="check").table())


def marks(online: OnlineStore) -> list[Watermark | None]:
    return [online.watermark(ref) for ref in ("v@1", "w@1")]


def test_a_batch_is_one_commit_for_all_views_of_the_table(tmp_path: Path, small_batches: None) -> None:
    online = CutOff(99)
    store, reader = open_store(tmp_path, online)
    store.ingest("v", table_of(VIEW, ROWS))
    receipts = store.materialize()
    assert [(receipt.view, receipt.rows) for receipt in receipts] == [("v@1", 12), ("w@1", 12)]
    assert [{(u.view, u.watermark) for u in updates} for updates in online.committed] == [
        {(view, mark) for view in ("v@1", "w@1")} for mark in (Watermark(-1, 4), Watermark(-1, 9), Watermark(0, 11))
    ]
    assert_as_joined(reader)


@pytest.mark.parametrize("commits", range(3))
def test_p31_what_was_cut_off_goes_on_behind_the_last_batch(tmp_path: Path, small_batches: None, commits: int) -> None:
    online = CutOff(commits)
    store, _ = open_store(tmp_path, online)
    store.ingest("v", table_of(VIEW, ROWS))
    with pytest.raises(KeyboardInterrupt):
        store.materialize()
    assert marks(online) == [Watermark(-1, 5 * commits - 1) if commits else None] * 2
    online.commits_left = 99
    store, reader = open_store(tmp_path, online)
    store.materialize()
    assert [updates[0].watermark.sequence for updates in online.committed] == [4, 9, 11]
    assert marks(online) == [Watermark(0, 11)] * 2
    assert_as_joined(reader)


def test_a_view_that_lags_behind_is_brought_level_first(tmp_path: Path, small_batches: None) -> None:
    online = CutOff(99)
    store, reader = open_store(tmp_path, online)
    store.ingest("v", table_of(VIEW, ROWS[:7]), ingest_id="1")
    store.materialize("w")
    online.committed.clear()
    store.push("v", table_of(VIEW, ROWS[7:]), ingest_id="2")
    assert [{(u.view, u.watermark.sequence) for u in updates} for updates in online.committed] == [
        {("v@1", 4)},
        {("v@1", 6)},
        {("v@1", 11), ("w@1", 11)},
    ]
    assert_as_joined(reader)


def test_where_runs_are_long_fewer_rows_are_taken_at_once(
    tmp_path: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materializer_module, "_COMMIT_BYTES", 1500)
    online = CutOff(99)
    store, reader = open_store(tmp_path, online)
    store.ingest("v", table_of(VIEW, ROWS * 4))
    store.materialize()
    ends = np.array([updates[0].watermark.sequence for updates in online.committed])
    assert ends[-1] == len(ROWS) * 4 - 1
    assert ends[0] == 4
    assert 1 in np.diff(ends)
    assert_as_joined(reader)


def test_an_empty_table_is_complete_once(tmp_path: Path) -> None:
    online = CutOff(99)
    store, _ = open_store(tmp_path, online)
    store.ingest("v", table_of(VIEW, [{"k": 1}]).slice(0, 0))
    assert [receipt.rows for receipt in store.materialize()] == [0, 0]
    assert marks(online) == [Watermark(0, -1)] * 2
    store.materialize()
    assert len(online.committed) == 1


def test_an_online_store_of_another_layout_is_built_again_by_the_writer(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(VIEW, OTHER, SERVICE)
    store.push("v", table_of(VIEW, ROWS), ingest_id="1")
    store.close()
    with lmdb.open(str(online_path(tmp_path))) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"\x00layout", b"older")
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    with pytest.raises(StorageError, match="is of another layout"):
        reader.plan("all")
    FeatureStore(tmp_path, clock=ManualClock(T)).close()
    assert_as_joined(reader)
    reader.close()


class Refusing:
    """Tables that must not be read."""

    def __init__(self, last: int) -> None:
        self._last = last

    def exists(self, name: str) -> bool:
        return True

    def version(self, name: str) -> int:
        return 3

    def last_sequence(self, name: str) -> int:
        return self._last

    def read(self, name: str, *, columns: Sequence[str], after_sequence: int, until_sequence: int) -> Any:
        raise AssertionError


def test_rows_at_hand_are_not_read_back(small_batches: None) -> None:
    online = InMemoryOnlineStore()
    online.commit([ViewUpdate("v@1", Watermark(2, 99), {})])
    materializer = Materializer(Refusing(111), online, ManualClock(T), timedelta(0))
    (receipt,) = materializer.table("v", [VIEW], Fresh(table_of(VIEW, ROWS), 100))
    assert (receipt.rows, online.watermark("v@1")) == (12, Watermark(3, 111))


def test_rows_that_are_gone_are_noticed() -> None:
    online = InMemoryOnlineStore()
    online.commit([ViewUpdate("v@1", Watermark(2, 99), {})])
    with pytest.raises(StorageError, match="table 'v' ends at row 50, but 'v@1' was materialised up to 99"):
        Materializer(Refusing(50), online, ManualClock(T), timedelta(0)).table("v", [VIEW], None)


def test_a_table_that_does_not_exist_has_no_receipt(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path, InMemoryOnlineStore())
    assert store.materialize() == []
