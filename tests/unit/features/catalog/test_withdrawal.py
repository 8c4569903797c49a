from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from raymlops.clock import ManualClock
from raymlops.features import Entity, FeatureService, FeatureStore, FeatureView, Field, OnDemandView, WindowAggregate
from raymlops.features.catalog.catalog_file import Catalog

AT = datetime(2026, 1, 5, tzinfo=UTC)
SHOP = Entity("shop", ["shop_id"])
LOADS = FeatureView("loads", SHOP, [Field("load", "float64")])
RECENT = FeatureView(
    "recent",
    SHOP,
    [Field("load", "float64")],
    source="loads",
    aggregates=[WindowAggregate("load_7d", "mean", "load", timedelta(days=7))],
)
FIRST = (SHOP, LOADS, FeatureService("toy", ["loads:load"]))


def _catalog(place: Path) -> Catalog:
    catalog = Catalog(place / "definitions.json")
    catalog.apply(FIRST)
    return catalog


def _withdraw(catalog: Catalog, labels: tuple[str, ...], tables: frozenset[str] = frozenset()) -> None:
    catalog.withdraw(labels, tables.__contains__)


def test_what_an_apply_added_is_taken_back_and_nothing_else(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path)
    before = catalog.state()
    added = catalog.apply([*FIRST, RECENT, FeatureService("toy", ["recent:load_7d"], version=2)]).added
    assert set(added) == {"view recent@1", "service toy@2"}
    _withdraw(catalog, added)
    assert catalog.state() == before
    other = FeatureService("toy", ["loads:load", "recent:load_7d"], version=2)
    assert "service toy@2" in catalog.apply([RECENT, other]).added, "the version is free again"


def test_what_others_need_stays(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path)
    added = catalog.apply([RECENT, FeatureService("mine", ["recent:load_7d"])]).added
    catalog.apply([FeatureService("others", ["recent:load_7d"])])
    _withdraw(catalog, (*added, "view loads@1", "entity shop"))
    state = catalog.state()
    assert set(state.services) == {"toy@1", "others@1"}
    assert set(state.views) == {"loads@1", "recent@1"}, "one is pinned, and reads the other's table"
    assert set(state.entities) == {"shop"}


def test_a_view_with_rows_stays_and_so_does_its_entity(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path)
    depot = Entity("depot", ["depot_id"])
    added = catalog.apply([depot, FeatureView("stock", depot, [Field("left", "int64")])]).added
    _withdraw(catalog, added, frozenset({"stock"}))
    assert "stock@1" in catalog.state().views
    _withdraw(catalog, added)
    assert set(catalog.state().entities) == {"shop"}


def test_on_demand_views_are_taken_back(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path)
    before = catalog.state()
    purchases = FeatureView("purchases", SHOP, [Field("amount", "float64")])
    code = "tests.support.on_demand_examples:share_of_limit"
    share = OnDemandView("share", ["purchases:amount", "limit"], [Field("share", "float64")], code)
    added = catalog.apply([purchases, share, FeatureService("twice", ["share:share"])]).added
    _withdraw(catalog, ("on-demand view share@1", "view purchases@1"))
    assert "share@1" in catalog.state().on_demand, "a service is pinned to it"
    assert "purchases@1" in catalog.state().views, "and it to that"
    _withdraw(catalog, added)
    assert catalog.state() == before


def test_a_store_keeps_what_rows_came_into(tmp_path: Path) -> None:
    with closing(FeatureStore(tmp_path / "features", clock=ManualClock(AT))) as store:
        first = store.apply(SHOP, LOADS).added
        store.ingest("loads", pa.table({"shop_id": ["a"], "event_time": [AT], "load": [1.0]}))
        second = store.apply(RECENT, FeatureService("toy", ["recent:load_7d"])).added
        assert store.apply(withdraw=[*first, *second]).added == ()
        assert store.apply(SHOP, LOADS, dry_run=True).added == ()
        assert set(store.apply(RECENT, dry_run=True).added) == {"view recent@1"}
