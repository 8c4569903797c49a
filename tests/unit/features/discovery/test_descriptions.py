from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import FeatureViewNotFound, NotFoundError, StorageError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, OnDemandView
from raymlops.records.people.discovery import FeatureDescription, FeatureLineage, LineageEdge, LineageNode
from raymlops.tables.columns import INSTANT

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SHOP = Entity("shop", ["shop_id"])
SALES = FeatureView(
    "sales",
    SHOP,
    [Field("amount", "float64", description="net, in Euro"), Field("kind", "string")],
    created_at="created_at",
    ttl=2 * HOUR,
    owner="Revenue",
    description="What was sold.",
    tags={"domain": "retail", "pii": "no"},
)
PARTNER = SALES.aliased("partner", {"shop_id": "partner_id"})
OFFLINE = FeatureView("audit_trail", SHOP, [Field("flag", "bool")], owner="risk", online=False, tags={"PII": "yes"})
DOUBLED = OnDemandView("doubled", ["sales:amount"], [Field("twice", "float64")], f"{__name__}:twice")
SERVICE = FeatureService("basket", ["sales:amount", "partner:kind", "doubled:twice"])
SECOND = FeatureService("basket", ["sales:kind"], version=2)


def twice(columns: dict[str, Any]) -> dict[str, Any]:
    return {"twice": 2 * columns["sales__amount"]}


def sales(*rows: tuple[int, datetime, float | None]) -> pa.Table:
    return pa.table(
        {
            "shop_id": pa.array([row[0] for row in rows], pa.int64()),
            "event_time": pa.array([row[1] for row in rows], INSTANT),
            "amount": pa.array([row[2] for row in rows], pa.float64()),
            "kind": pa.array(["a"] * len(rows)),
        }
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    opened = FeatureStore(tmp_path, clock=clock, history=10 * HOUR)
    opened.apply(SALES, PARTNER, OFFLINE, DOUBLED, SERVICE)
    opened.push("sales", sales((1, T - HOUR, 5.0), (2, T - 3 * HOUR, 7.0)), ingest_id="one")
    yield opened
    opened.close()


@pytest.fixture
def reader(store: FeatureStore, tmp_path: Path, clock: ManualClock) -> Iterator[FeatureReader]:
    opened = FeatureReader(tmp_path, clock=clock)
    yield opened
    opened.close()


def test_statistics_are_computed_once_per_version(
    store: FeatureStore, reader: FeatureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reader.discovery.statistics("sales")
    assert (first.view, first.table, first.table_version, first.rows, first.keys) == ("sales@1", "sales", 0, 2, 2)
    store.ingest("sales", sales((1, T, None)), ingest_id="two")
    newest = reader.discovery.statistics("sales@1")
    assert (newest.table_version, newest.rows, newest.fields["amount"].values) == (1, 3, 2)
    monkeypatch.setattr("raymlops.features.discovery.descriptions.read_batches", None)
    assert reader.discovery.statistics("sales") == newest
    assert reader.discovery.statistics("sales", 0) == first


def test_an_alias_has_statistics_of_its_sources_table(reader: FeatureReader) -> None:
    found = reader.discovery.statistics("partner")
    assert (found.view, found.table, found.keys) == ("partner@1", "sales", 2)


def test_statistics_of_what_is_not_there(reader: FeatureReader) -> None:
    with pytest.raises(FeatureViewNotFound, match="view 'nothing'"):
        reader.discovery.statistics("nothing")
    with pytest.raises(NotFoundError, match="table 'audit_trail' does not exist"):
        reader.discovery.statistics("audit_trail")
    with pytest.raises(NotFoundError, match="version must be 0 to 0, got 7"):
        reader.discovery.statistics("sales", 7)


def test_statistics_that_cannot_be_stored_say_so(reader: FeatureReader, tmp_path: Path) -> None:
    (tmp_path / "statistics").write_text("in the way")
    with pytest.raises(StorageError, match="statistics"):
        reader.discovery.statistics("sales")


def test_broken_statistics_are_computed_anew(reader: FeatureReader, tmp_path: Path) -> None:
    whole = reader.discovery.statistics("sales")
    file = next((tmp_path / "statistics").rglob("*.json"))
    file.write_text(file.read_text()[:-20])
    assert reader.discovery.statistics("sales") == whole


def test_freshness_tells_how_far_a_view_is(store: FeatureStore, reader: FeatureReader, clock: ManualClock) -> None:
    fresh = reader.discovery.freshness("sales")
    assert (fresh.table_version, fresh.rows, fresh.online_table_version, fresh.online_rows_behind) == (0, 2, 0, 0)
    assert (fresh.newest_event_time, fresh.newest_created_at) == (T - HOUR, T)
    assert (fresh.age_s, fresh.ttl_s, fresh.verdict) == (3600.0, 7200.0, "fresh")
    assert fresh.ingested_at is not None
    assert fresh.expired_keys_share is None  # nobody asked for statistics yet
    store.ingest("sales", sales((3, T - HOUR, 1.0), (3, T - HOUR, 2.0)), ingest_id="not materialised")
    reader.discovery.statistics("sales")
    behind = reader.discovery.freshness("sales")
    assert (behind.table_version, behind.online_table_version, behind.online_rows_behind) == (1, 0, 2)
    assert behind.expired_keys_share == pytest.approx(1 / 3, abs=0.01)
    clock.advance_to(T + HOUR)
    assert reader.discovery.freshness("sales").verdict == "fresh"  # the TTL's end is included
    clock.advance_to(T + HOUR + timedelta(microseconds=1))
    stale = reader.discovery.freshness("sales")
    assert (stale.verdict, stale.expired_keys_share) == ("stale", 1.0)


def test_freshness_of_a_view_without_rows_and_without_an_online_copy(reader: FeatureReader) -> None:
    empty = reader.discovery.freshness("audit_trail")
    assert (empty.table_version, empty.rows, empty.verdict, empty.online_rows_behind) == (None, 0, None, None)


def test_freshness_goes_on_where_the_online_store_cannot_be_read(reader: FeatureReader, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name in ("catalog.json", "tables"):
        (tmp_path / "elsewhere" / name).symlink_to(tmp_path / name)
    elsewhere = FeatureReader(tmp_path / "elsewhere", clock=ManualClock(T)).discovery.freshness("sales")
    assert (elsewhere.rows, elsewhere.online_table_version) == (2, None)
    assert "cannot open" in elsewhere.online_problem


def test_the_newest_time_is_found_where_the_log_does_not_hold_it(tmp_path: Path) -> None:
    """Delta keeps figures of the first 32 columns of a table."""
    fields = [Field(f"c{i:02}", "float64") for i in range(28)]
    wide = FeatureView("wide", SHOP, fields, event_time="zzz", online=False)
    store = FeatureStore(tmp_path, clock=ManualClock(T))
    store.apply(wide)
    columns: dict[str, Any] = {name: pa.array([1.0]) for name in (field.name for field in fields)}
    rows = pa.table({**columns, "shop_id": pa.array([1]), "zzz": pa.array([T], INSTANT)})
    store.ingest("wide", rows, ingest_id="one")
    reader = FeatureReader(tmp_path, clock=ManualClock(T))
    assert reader.discovery.freshness("wide").newest_event_time == T
    store.close()


def edges(lineage: FeatureLineage, forward: bool) -> set[tuple[str, str]]:
    found = lineage.downstream if forward else lineage.upstream
    return {(f"{e.source.kind} {e.source.name}", f"{e.target.kind} {e.target.name}") for e in found}


def test_lineage_leads_from_the_source_to_whoever_uses_it_and_back(store: FeatureStore, reader: FeatureReader) -> None:
    spine = pa.table({"shop_id": pa.array([1]), "partner_id": pa.array([2]), "event_time": pa.array([T], INSTANT)})
    manifest = reader.training_set("basket", spine, name="m").manifest
    store.apply(SECOND)
    made = f"training set {manifest.digest}"
    consumers = [
        LineageEdge(
            source=LineageNode(kind="training set", name=manifest.digest), target=LineageNode(kind="model", name="m@1")
        ),
        LineageEdge(source=LineageNode(kind="service", name="basket@2"), target=LineageNode(kind="endpoint", name="m")),
    ]
    down = edges(reader.discovery.lineage("sales", consumers), True)
    assert down == {
        ("view sales@1", "view partner@1"),
        ("view sales@1", "on-demand view doubled@1"),
        ("view sales@1", "service basket@1"),
        ("view sales@1", "service basket@2"),
        ("view partner@1", "service basket@1"),
        ("on-demand view doubled@1", "service basket@1"),
        ("service basket@1", made),
        (made, "model m@1"),
        ("service basket@2", "endpoint m"),
    }
    up = edges(reader.discovery.lineage("basket@1"), False)
    assert {("table sales", "view sales@1"), ("entity shop", "view sales@1"), ("view sales@1", "view partner@1")} <= up
    assert ("service basket@1", made) not in up
    assert edges(reader.discovery.lineage("basket"), True) == set()  # the newest version made no training set
    with pytest.raises(NotFoundError, match="no definition is called 'nothing'"):
        reader.discovery.lineage("nothing")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"text": "SALES"}, ["sales@1", "doubled@1", "basket@1"]),
        ({"text": "euro"}, ["partner@1", "sales@1"]),
        ({"text": "sold revenue"}, ["partner@1", "sales@1"]),
        ({"text": "shop_id"}, ["audit_trail@1", "partner@1", "sales@1", "shop"]),
        ({"text": "sold nowhere"}, []),
        ({"owner": "RISK"}, ["audit_trail@1"]),
        ({"owner": "ris"}, []),
        ({"tags": {"pii": "yes"}}, ["audit_trail@1"]),
        ({"tags": {"pii": ""}}, ["audit_trail@1", "partner@1", "sales@1"]),
        ({"tags": {"domain": "Retail"}, "text": "kind", "owner": "revenue"}, ["partner@1", "sales@1"]),
        ({"text": "twice"}, ["doubled@1", "basket@1"]),
    ],
)
def test_search_looks_everywhere_in_any_case(reader: FeatureReader, asked: dict[str, Any], found: list[str]) -> None:
    matches = reader.discovery.search(**asked)
    assert [match.name for match in matches] == found


def test_search_says_where(reader: FeatureReader) -> None:
    match = reader.discovery.search("euro retail")[0]
    assert match.matched == ("tag domain", "field amount")
    assert (match.owner, match.tags) == ("Revenue", {"domain": "retail", "pii": "no"})
    assert len(reader.discovery.search()) == 6


def test_describe_has_all_about_one_definition(reader: FeatureReader) -> None:
    sales_view = reader.discovery.describe("sales")
    assert (sales_view.kind, sales_view.name) == ("view", "sales@1")
    assert sales_view.definition["ttl"] == 7200.0
    assert sales_view.definition["tags"] == {"domain": "retail", "pii": "no"}
    assert sales_view.statistics is not None
    assert sales_view.freshness is not None
    assert sales_view.freshness.expired_keys_share == pytest.approx(0.5, abs=0.01)
    assert FeatureDescription.model_validate_json(sales_view.model_dump_json()) == sales_view
    for name, kind in (("basket", "service"), ("shop", "entity"), ("doubled", "on-demand view")):
        other = reader.discovery.describe(name)
        assert (other.kind, other.statistics, other.freshness) == (kind, None, None)
    assert reader.discovery.describe("audit_trail").statistics is None


def test_the_listing_has_everything_by_kind(store: FeatureStore, reader: FeatureReader) -> None:
    store.apply(SECOND)
    rows = reader.discovery.listing()
    assert [row["kind"] for row in rows] == ["entity", *["view"] * 3, "on-demand view", "service", "service"]
    listed = next(row for row in rows if row["name"] == "sales")
    assert (listed["rows"], listed["ttl_s"], listed["newest_event_time"]) == (2, 7200.0, (T - HOUR).isoformat())
    assert listed["tags"] == {"domain": "retail", "pii": "no"}
    assert [row["version"] for row in rows if row["name"] == "basket"] == [1, 2]
