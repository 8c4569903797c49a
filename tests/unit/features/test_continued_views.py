"""A view that continues another keeps its history: columns that are new, renamed or wider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError, StorageError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field
from raymlops.features.intake.ingester import Ingester
from raymlops.features.online.materializer import Materializer

T = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
USER = Entity("user", ["user"])
FIRST = FeatureView("spending", USER, [Field("sum", "int64"), Field("days", "int64")], created_at="created_at")
SECOND = FeatureView(
    "spending",
    USER,
    [
        Field("total", "float64", formerly="sum"),
        Field("days", "int64"),
        Field("city", "string"),
        Field("currency", "string", nullable=False, backfill="EUR"),
    ],
    created_at="created_at",
    version=2,
    continues="spending@1",
)
SERVICE = FeatureService("s", ["spending@2:total", "spending@2:days", "spending@2:city", "spending@2:currency"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path, clock=ManualClock(T + 9 * HOUR))
    opened.apply(FIRST)
    opened.push("spending", rows(("ada", T, 1), ("bob", T, 2**53 + 1)), ingest_id="one")
    opened.push("spending", rows(("ada", T, 3)), ingest_id="two")  # the same instant: the order of arrival decides
    yield opened
    opened.close()


def rows(*given: tuple[str, datetime, int]) -> pa.Table:
    users, times, sums = zip(*given, strict=True)
    return pa.table({"user": users, "event_time": times, "created_at": times, "sum": sums, "days": [7] * len(given)})


def answers(root: Path, *users: str, at: datetime = T + HOUR) -> list[dict[str, Any]]:
    """Of the service, from a training set and online, which are the same."""
    reader = FeatureReader(root, clock=ManualClock(T + 9 * HOUR))
    spine = pa.table({"user": users, "event_time": [at] * len(users)})
    built = reader.training_set("s", spine, name="t")
    assert reader.rebuild(built.manifest).table().equals(built.table())
    joined = built.table().drop_columns(spine.column_names)
    assert reader.online("s", spine.select(["user"]), at).drop_columns(["user"]).equals(joined)
    reader.close()
    names = [name.removeprefix("spending__") for name in joined.column_names]
    return joined.rename_columns(names).to_pylist()


def test_history_goes_on_with_columns_that_are_new_renamed_and_wider(store: FeatureStore, tmp_path: Path) -> None:
    store.apply(SECOND, SERVICE)
    (ada,) = answers(tmp_path, "ada")
    assert ada == {"total": 3.0, "days": 7, "city": None, "currency": "EUR"}
    reader = FeatureReader(tmp_path)
    assert reader.table("spending@2")["total"].to_pylist() == [1.0, 3.0]
    (refused,) = reader.quarantine("spending@2")  # a float has no such value
    assert (refused.values["user"], refused.reasons) == (
        "bob",
        ("'total' must fit float64, got a int64 that does not",),
    )
    more = {"user": ["ada"], "event_time": [T + HOUR], "created_at": [T + HOUR], "total": [0.5], "days": [8]}
    store.push("spending", pa.table({**more, "city": ["Boston"], "currency": ["USD"]}), ingest_id="three")
    store.push("spending@1", rows(("ada", T + HOUR, 9)), ingest_id="four")
    assert answers(tmp_path, "ada") == [{"total": 0.5, "days": 8, "city": "Boston", "currency": "USD"}]
    assert store.apply(SECOND, SERVICE).added == ()
    assert reader.table("spending@2").num_rows == 3
    assert reader.table("spending@1")["sum"].to_pylist() == [1, 2**53 + 1, 3, 9]


def test_what_was_cut_off_is_made_up_for(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Ingester, "ingest", full)
        with pytest.raises(StorageError, match="the disk is full"):
            store.apply(SECOND, SERVICE)
    store.ingest("spending@1", rows(("ada", T + HOUR, 9)), ingest_id="too late")
    store.close()
    again = FeatureStore(tmp_path, clock=ManualClock(T + 9 * HOUR))
    assert answers(tmp_path, "ada")[0]["total"] == 3.0
    again.close()
    FeatureStore(tmp_path, clock=ManualClock(T + 9 * HOUR)).close()
    assert FeatureReader(tmp_path).table("spending@2").num_rows == 2


def test_a_view_without_rows_has_none_to_hand_over(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(FIRST, SECOND)
    store.ingest("spending@1", rows(("ada", T, 1)))
    store.close()
    FeatureStore(tmp_path, clock=ManualClock(T)).close()
    assert not (tmp_path / "tables" / "spending@2").exists()


def test_a_new_field_with_the_name_of_a_former_time_has_its_backfill(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    first = FeatureView("clicks", USER, [Field("n", "int64")], event_time="at")
    store.apply(first)
    store.push("clicks", pa.table({"user": ["ada"], "at": [T], "n": [1]}), ingest_id="one")
    fields = [Field("n", "int64"), Field("at", "int64", backfill=7)]
    store.apply(FeatureView("clicks", USER, fields, version=2, continues="clicks@1"))
    store.close()
    assert FeatureReader(tmp_path).table("clicks@2").to_pylist() == [{"user": "ada", "event_time": T, "n": 1, "at": 7}]


def test_a_key_of_another_type_than_the_stored_one_is_refused_and_the_store_still_opens(
    store: FeatureStore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="key 'user' must be string as in the table of 'spending@1', got int64"):
        store.apply(second(fields=[Field("user", "int64")]))
    assert store.apply(second(fields=[Field("user", "string")])).added == ("view spending@2",)
    store.close()
    FeatureStore(tmp_path, clock=ManualClock(T)).close()


@pytest.mark.parametrize("turned", [False, True])
def test_views_applied_together_hand_on_the_rows_of_the_first(
    *, turned: bool, store: FeatureStore, tmp_path: Path
) -> None:
    third = replace(SECOND, fields=[Field("total", "float64")], version=3, continues="spending@2")
    store.apply(*((third, SECOND) if turned else (SECOND, third)))
    assert FeatureReader(tmp_path).table("spending@3")["total"].to_pylist() == [1.0, 3.0]


def test_views_that_continue_each_other_in_a_circle_are_refused(store: FeatureStore) -> None:
    third = replace(SECOND, version=3, continues="spending@2")
    with pytest.raises(
        ConfigError, match=r"views must not continue each other in a circle, got spending@[23] -> spending@[23] -> "
    ):
        store.apply(second(continues="spending@3"), third)


def test_rows_that_were_cut_off_on_their_way_to_the_online_store_get_there(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Materializer, "views", full)
        with pytest.raises(StorageError, match="the disk is full"):
            store.apply(SECOND, SERVICE)
    store.close()
    again = FeatureStore(tmp_path, clock=ManualClock(T + 9 * HOUR))
    assert answers(tmp_path, "ada")[0]["total"] == 3.0
    again.close()


def second(**changed: Any) -> FeatureView:
    return replace(SECOND, **changed)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (second(continues="spending@7"), "continues 'spending@7', which is not applied"),
        (second(created_at=None), "created_at must be there as in 'spending@1', which has one, got None"),
        (second(entity=Entity("home", ["home"])), r"keys must be those of 'spending@1', \['user'\], got \['home'\]"),
        (second(fields=[Field("x", "int64", formerly="y")]), "has no field 'y', which 'x' was formerly"),
        (second(fields=[Field("x", "int64", nullable=False)]), "'x' is new and not nullable, it must have a backfill"),
        (second(fields=[Field("x", "int64", backfill=-1, ge=0)]), "'x': backfill must keep its own rules, got -1"),
        (second(fields=[Field("x", "int64", backfill=2, le=1)]), "'x': backfill must keep its own rules, got 2"),
        (second(fields=[Field("x", "string", backfill="c", allowed=["a"])]), "must keep its own rules, got 'c'"),
        (second(fields=[Field("sum", "string")]), "field 'sum' must be int64 as before, or wider, got string"),
    ],
)
def test_a_view_that_cannot_continue_another_is_refused(view: FeatureView, message: str, store: FeatureStore) -> None:
    with pytest.raises(ConfigError, match=message):
        store.apply(view)


def test_what_is_not_said_right_is_refused_when_it_is_declared() -> None:
    with pytest.raises(ConfigError, match="formerly and backfill need a view that it continues, got"):
        second(continues=None)
    for wrong in ("spending", "spending@2"):
        with pytest.raises(ConfigError, match="continues must be NAME@VERSION of another view"):
            second(continues=wrong)
    with pytest.raises(ConfigError, match="a view that continues another has its own table"):
        second(source="spending@1")
    with pytest.raises(ConfigError, match="field 'x': backfill must hold values of int64, got 'a'"):
        Field("x", "int64", backfill="a")


def test_definitions_from_before_keep_their_digests() -> None:
    assert FIRST.digest == "13b44d9930c85b8aa882a99e7e80d41e0a03193dd83ef049680d807a549aa8f2"
