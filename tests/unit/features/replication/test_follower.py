"""Copies follow a writer: level, never ahead, never back, and on from where they were cut off."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import StorageError, UnavailableError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureView, Field, WindowAggregate
from raymlops.features.catalog.applied import CatalogState, ResolvedService, ResolvedView
from raymlops.features.online import lmdb as lmdb_module
from raymlops.features.online import materializer as materializer_module
from raymlops.features.online.lmdb import LmdbOnlineStore
from raymlops.features.online.online_store import OnlineStore, Watermark
from raymlops.features.replication.follower import Follower
from raymlops.features.replication.leader import LeadingStore
from raymlops.features.replication.ports import Progress
from tests.support.in_memory_store import InMemoryOnlineStore
from tests.support.point_in_time import table_of

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SALES = FeatureView(
    "sales",
    Entity("shop", ["shop"]),
    [Field("amount", "float64"), Field("city", "string")],
    ttl=timedelta(minutes=30),
    aggregates=[WindowAggregate("total", "sum", "amount", 20 * MINUTE)],
)
BY_CITY = FeatureView("by_city", Entity("city", ["city"]), [Field("amount", "float64")], source="sales")
VISITS = FeatureView("visits", Entity("number", ["number"]), [Field("seen", "int64")])
SERVICE = FeatureService("s", ["sales:amount", "sales:total", "by_city:amount", "visits:seen"])
SHOPS = ["a", "b", "c", None, "nobody"]


class Recorded:
    """The writer, with the calls for rows noted, and failing on demand."""

    def __init__(self, store: LeadingStore) -> None:
        self.store = store
        self.asked: list[tuple[str, int, int]] = []
        self.fail_at: int | None = None

    def progress(self) -> Progress:
        return self.store.progress()

    def definitions(self) -> CatalogState:
        return self.store.definitions()

    def rows(self, table: str, *, columns: Any, after_sequence: int, until_sequence: int) -> Any:
        if self.fail_at == len(self.asked):
            raise UnavailableError("the features actor did not answer")
        self.asked.append((table, after_sequence, until_sequence))
        return self.store.rows(table, columns=columns, after_sequence=after_sequence, until_sequence=until_sequence)

    def key_types(self, view: ResolvedView) -> tuple[type, ...] | None:
        return self.store.key_types(view)

    def has_table(self, table: str) -> bool:
        return self.store.has_table(table)


class Copy:
    """What a reader on the copy's node holds."""

    def __init__(self, leader: Recorded, online: OnlineStore, follower: Follower) -> None:
        self._leader, self._online, self._follower = leader, online, follower

    def state(self) -> CatalogState:
        return self._leader.definitions()

    def key_types(self, view: ResolvedView) -> tuple[type, ...] | None:
        return self._leader.key_types(view)

    def await_views(self, service: ResolvedService) -> None:
        marks = self._leader.progress().watermarks
        self._follower.reach(
            {view.view.ref: marks[view.view.ref] for view in service.views if view.view.ref in marks}, 0
        )

    def open(self) -> OnlineStore:
        return self._online


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T)


@pytest.fixture
def leader(tmp_path: Path, clock: ManualClock) -> Iterator[Recorded]:
    store = LeadingStore(tmp_path / "writer", clock=clock, history=2 * HOUR)
    store.apply(SALES, BY_CITY, VISITS, SERVICE)
    yield Recorded(store)
    store.close()


@pytest.fixture
def online() -> OnlineStore:
    return InMemoryOnlineStore()


@pytest.fixture
def follower(leader: Recorded, online: OnlineStore, clock: ManualClock) -> Follower:
    return Follower(leader, online, clock, 2 * HOUR)


def sales(*rows: tuple[int, float | None], shop: str = "a", city: str | None = "rome") -> pa.Table:
    plain = [{"shop": shop, "event_time": T + minute * MINUTE, "amount": x, "city": city} for minute, x in rows]
    return table_of(SALES, plain)


def random_sales(chance: random.Random) -> pa.Table:
    return table_of(
        SALES,
        [
            {
                "shop": chance.choice("abc"),
                "event_time": T - chance.randrange(90) * MINUTE,
                "amount": chance.choice([None, 1.5, -2.0]),
                "city": chance.choice([None, "rome", "oslo"]),
            }
            for _ in range(chance.randrange(1, 9))
        ],
    )


def assert_equals_the_join(reader: FeatureReader, offline: FeatureReader) -> None:
    entities = pa.table(
        {"shop": SHOPS, "city": ["rome", "oslo", "bari", "rome", None], "number": pa.array([1, 2, None, 3, 4])}
    )
    for minutes in range(0, 100, 9):
        at = T - minutes * MINUTE
        spine = entities.append_column("event_time", pa.array([at] * len(SHOPS), pa.timestamp("us", tz="UTC")))
        expected = offline.features_at("s", spine)
        assert reader.online("s", entities, at).select(expected.column_names).equals(expected), f"at {at}"


def test_a_copy_equals_the_join(
    leader: Recorded, follower: Follower, online: OnlineStore, clock: ManualClock, tmp_path: Path
) -> None:
    chance = random.Random(3)
    visits = table_of(VISITS, [{"number": number, "event_time": T - HOUR, "seen": number} for number in range(3)])
    leader.store.push("visits", visits, ingest_id="visits")
    offline = FeatureReader(tmp_path / "writer", clock=clock)
    reader = FeatureReader(tmp_path / "elsewhere", clock=clock, copy=Copy(leader, online, follower))
    for batch in range(15):
        leader.store.push("sales", random_sales(chance), ingest_id=f"{batch}")
        if chance.random() < 0.6 or batch == 0:
            follower.step()
    follower.step()
    assert_equals_the_join(reader, offline)
    assert reader.definitions() == offline.definitions()


def test_a_copy_fetches_what_it_lacks_and_no_more(leader: Recorded, follower: Follower, online: OnlineStore) -> None:
    leader.store.push("sales", sales((-3, 1.0), (-2, 2.0)), ingest_id="one")
    follower.step()
    follower.step()
    assert leader.asked == [("sales", -1, 1)]
    leader.store.push("sales", sales((-1, 3.0)), ingest_id="two")
    follower.step()
    assert leader.asked[1:] == [("sales", 1, 2)]
    assert online.watermark("sales@1") == online.watermark("by_city@1") == Watermark(1, 2)


def test_a_copy_is_never_ahead_of_the_writer(leader: Recorded, follower: Follower, online: OnlineStore) -> None:
    leader.store.push("sales", sales((-3, 1.0)), ingest_id="one")
    leader.store.ingest("sales", sales((-2, 2.0)), ingest_id="two")
    follower.step()
    assert online.watermark("sales@1") == Watermark(0, 0)
    leader.store.materialize("sales")
    follower.step()
    assert online.watermark("sales@1") == Watermark(1, 1)
    assert online.watermark("by_city@1") == Watermark(0, 0)


def test_a_view_that_comes_later_is_followed_from_the_first_row(
    leader: Recorded, follower: Follower, online: OnlineStore
) -> None:
    leader.store.push("sales", sales((-3, 1.0)), ingest_id="one")
    follower.step()
    leader.store.apply(FeatureView("late", Entity("shop", ["shop"]), [Field("amount", "float64")], source="sales"))
    follower.step()
    assert online.watermark("late@1") is None
    leader.store.push("sales", sales((-2, 1.0)), ingest_id="two")
    follower.step()
    assert online.watermark("late@1") == online.watermark("sales@1") == Watermark(1, 1)


def test_a_copy_that_was_cut_off_goes_on_from_its_last_batch(
    leader: Recorded, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materializer_module, "_BATCH_BYTES", 200)
    leader.store.push("sales", sales(*[(-minute, 1.0) for minute in range(60)]), ingest_id="one")
    leader.fail_at = 2
    copy = LmdbOnlineStore(tmp_path / "copy.lmdb", writable=True)
    with pytest.raises(UnavailableError):
        Follower(leader, copy, clock, 2 * HOUR).step()
    reached = copy.watermark("sales@1")
    copy.close()
    assert reached is not None
    assert reached.sequence == leader.asked[-1][2] < 59
    leader.fail_at = None
    again = LmdbOnlineStore(tmp_path / "copy.lmdb", writable=True)
    follower = Follower(leader, again, clock, 2 * HOUR)
    follower.step()
    assert leader.asked[2][1] == reached.sequence
    offline = FeatureReader(tmp_path / "writer", clock=clock)
    visits = table_of(VISITS, [{"number": 1, "event_time": T, "seen": 1}])
    leader.store.push("visits", visits, ingest_id="visits")
    follower.step()
    reader = FeatureReader(tmp_path / "elsewhere", clock=clock, copy=Copy(leader, again, follower))
    assert_equals_the_join(reader, offline)
    reader.close()


def test_a_copy_of_another_layout_is_built_again(
    leader: Recorded, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader.store.push("sales", sales((-3, 1.0), (-2, 2.0)), ingest_id="one")
    with monkeypatch.context() as former:
        former.setattr(lmdb_module, "_MAGIC", b"\1\2\3\4")
        copy = LmdbOnlineStore(tmp_path / "copy.lmdb", writable=True)
        Follower(leader, copy, clock, 2 * HOUR).step()
        copy.close()
    copy = LmdbOnlineStore(tmp_path / "copy.lmdb", writable=True)
    assert copy.watermark("sales@1") == Watermark(-1, -1)
    follower = Follower(leader, copy, clock, 2 * HOUR)
    with pytest.raises(UnavailableError, match="stands at row -1, the writer at row 1"):
        follower.reach(leader.progress().watermarks, 0)
    follower.step()
    assert copy.watermark("sales@1") == Watermark(0, 1)
    assert leader.asked[-1] == ("sales", -1, 1)
    copy.close()


def test_a_copy_does_not_go_back_with_a_writer_that_lost_its_store(
    leader: Recorded, follower: Follower, online: OnlineStore, clock: ManualClock, tmp_path: Path
) -> None:
    leader.store.push("sales", sales((-3, 1.0), (-2, 2.0)), ingest_id="one")
    follower.step()
    emptied = LeadingStore(tmp_path / "writer", clock=clock, history=2 * HOUR, online=InMemoryOnlineStore())
    leader.store.close()
    leader.store = emptied
    follower.step()
    assert online.watermark("sales@1") == Watermark(0, 1)
    emptied.push("sales", sales((-1, 3.0)), ingest_id="two")
    follower.step()
    assert online.watermark("sales@1") == Watermark(1, 2)


def test_who_waits_for_a_copy_is_told_when_it_is_there(leader: Recorded, follower: Follower) -> None:
    leader.store.push("sales", sales((-3, 1.0)), ingest_id="one")
    goals = leader.progress().watermarks
    thread = threading.Thread(target=follower.step)
    thread.start()
    follower.reach(goals, 30)
    thread.join()
    follower.reach({}, 0)


def test_who_waits_in_vain_is_told_why(leader: Recorded, follower: Follower) -> None:
    leader.store.push("sales", sales((-3, 1.0)), ingest_id="one")
    follower.step()
    leader.store.push("sales", sales((-3, 1.0), (-2, 1.0)), ingest_id="two")
    leader.fail_at = 1
    with pytest.raises(UnavailableError):
        follower.step()
    with pytest.raises(UnavailableError) as caught:
        follower.reach(leader.progress().watermarks, 0.01)
    assert str(caught.value) in {
        f"the copy of view '{view}@1' stands at row 0, the writer at row 2, after 0.01 s; its last attempt failed: "
        "UnavailableError: the features actor did not answer"
        for view in ("sales", "by_city")
    }


def test_a_reader_does_not_answer_before_the_copy_is_there(
    leader: Recorded, follower: Follower, online: OnlineStore, tmp_path: Path
) -> None:
    leader.store.push("sales", sales((-3, 1.0)), ingest_id="one")
    reader = FeatureReader(tmp_path / "elsewhere", copy=Copy(leader, online, follower))
    with pytest.raises(UnavailableError, match="stands at nowhere, the writer at row 0"):
        reader.plan("s")
    follower.step()
    assert reader.plan("s") is reader.plan("s")


def test_a_report_says_how_far_a_copy_is(
    leader: Recorded, follower: Follower, online: OnlineStore, clock: ManualClock
) -> None:
    assert follower.report().level_at is None
    leader.store.push("sales", sales((-3, 1.0)), ingest_id="one")
    follower.step()
    clock.advance_to(T + MINUTE)
    leader.store.push("sales", sales((-2, 1.0), (-1, 1.0)), ingest_id="two")
    leader.fail_at = 1
    with pytest.raises(UnavailableError):
        follower.step()
    report = follower.report()
    assert report.watermarks == {"sales@1": Watermark(0, 0), "by_city@1": Watermark(0, 0)}
    assert report.behind_rows == {"sales@1": 2, "by_city@1": 2}
    assert (report.level_at, report.error) == (T, "UnavailableError: the features actor did not answer")
    leader.fail_at = None
    follower.step()
    report = follower.report()
    assert (set(report.behind_rows.values()), report.level_at, report.error) == ({0}, T + MINUTE, None)


def test_a_copy_that_cannot_be_written_says_so(leader: Recorded, clock: ManualClock, tmp_path: Path) -> None:
    LmdbOnlineStore(tmp_path / "copy.lmdb", writable=True).close()
    follower = Follower(leader, LmdbOnlineStore(tmp_path / "copy.lmdb"), clock, HOUR)
    leader.store.push("sales", sales((-3, 1.0)), ingest_id="one")
    with pytest.raises(StorageError, match="cannot write"):
        follower.step()
    assert "cannot write" in str(follower.report().error)
