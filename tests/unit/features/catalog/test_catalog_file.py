from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.errors import AlreadyRegistered, ConfigError, FeatureViewNotFound, StorageError
from raymlops.features import Entity, FeatureService, FeatureView, Field, OnDemandView, WindowAggregate
from raymlops.features.catalog.catalog_file import Catalog

HOUR = timedelta(hours=1)
SHOP = Entity("shop", ["shop"])
SALES = FeatureView(
    "sales",
    SHOP,
    [Field("amount", "float64", ge=0, allowed=[0.0, 1.5]), Field("city", "string"), Field("paid_at", "timestamp")],
    created_at="created_at",
    ttl=HOUR,
    tags={"team": "shop"},
    aggregates=[WindowAggregate("total", "sum", "amount", 24 * HOUR)],
)
BY_CITY = FeatureView("by_city", Entity("city", ["city"]), [Field("amount", "float64")], source="sales")
RATIO = OnDemandView(
    "ratio",
    ["sales:amount", "asked"],
    [Field("r", "float64")],
    f"{__name__}:per_asked",
    request_types={"asked": "int64"},
)
SERVICE = FeatureService("s", ["sales:total", "by_city:amount", "ratio:r"])


def per_asked(columns: Any) -> Any:
    return {"r": columns["sales__amount"] - columns["asked"]}


def zero(columns: Any) -> Any:
    return {"r": columns["a"] * 0.0}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "features" / "catalog.json")


def test_what_is_applied_is_there_for_every_process(catalog: Catalog, tmp_path: Path) -> None:
    report = catalog.apply([SERVICE, RATIO, BY_CITY, SALES])  # in any order
    assert set(report.added) == {
        *("entity shop", "entity city", "view sales@1", "view by_city@1", "on-demand view ratio@1", "service s@1")
    }
    other = Catalog(tmp_path / "features" / "catalog.json").state()
    assert other == catalog.state()
    assert other.view("sales") == SALES
    assert other.view("sales").digest == SALES.digest
    assert other.service("s@1").digest == SERVICE.digest
    assert [view.ref for view in other.views_on("sales")] == ["sales@1", "by_city@1"]
    assert other.tables() == {"sales"}


def test_the_same_again_changes_nothing(catalog: Catalog, tmp_path: Path) -> None:
    catalog.apply([SALES, BY_CITY, RATIO, SERVICE])
    before = (tmp_path / "features" / "catalog.json").stat()  # its reads move the access time, which may be kept
    report = catalog.apply([SALES, BY_CITY, RATIO, SERVICE])
    assert report.added == ()
    assert set(report.unchanged) == {"view sales@1", "view by_city@1", "on-demand view ratio@1", "service s@1"}
    after = (tmp_path / "features" / "catalog.json").stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


def test_nothing_is_applied_at_first(catalog: Catalog) -> None:
    assert catalog.state().tables() == set()
    with pytest.raises(FeatureViewNotFound, match=r"view 'sales' is not applied, got \[\]"):
        catalog.state().view("sales")
    with pytest.raises(FeatureViewNotFound, match="service 's'"):
        catalog.state().service("s")


def changed(**options: Any) -> FeatureView:
    return FeatureView(
        **{"name": "sales", "entity": SHOP, "fields": [Field("amount", "float64")], "created_at": "c"} | options
    )


@pytest.mark.parametrize(
    "different",
    [
        changed(),
        FeatureService("s", ["sales:total"]),
        OnDemandView("ratio", ["a"], [Field("r", "float64")], f"{__name__}:zero"),
    ],
)
def test_a_changed_definition_needs_a_new_version(catalog: Catalog, different: Any) -> None:
    catalog.apply([SALES, BY_CITY, RATIO, SERVICE])
    before = catalog.state()
    with pytest.raises(AlreadyRegistered, match=r"give the changed one a new version \(2 is free\)"):
        catalog.apply([FeatureView("fourth", SHOP, [Field("x", "int64")]), different])
    assert catalog.state() == before


@pytest.mark.parametrize(
    "different",
    [Entity("shop", ["other"]), FeatureView("third", Entity("shop", ["other"]), [Field("x", "int64")])],
)
def test_a_changed_entity_needs_a_new_name(catalog: Catalog, different: Any) -> None:
    catalog.apply([SALES])
    before = catalog.state()
    with pytest.raises(AlreadyRegistered) as caught:
        catalog.apply([different])
    rule = "an entity has no versions, give the changed one a new name"
    assert str(caught.value) == f"entity 'shop': keys ['shop'] -> ['other']: {rule}"
    assert catalog.state() == before


def test_documentation_may_change(catalog: Catalog) -> None:
    catalog.apply([FeatureView("v", SHOP, [Field("x", "int64")])])
    report = catalog.apply([FeatureView("v", SHOP, [Field("x", "int64", description="new")], owner="me")])
    assert report.unchanged == ("view v@1",)
    assert catalog.state().view("v").owner == "me"
    assert catalog.state().view("v").field("x").description == "new"


def test_versions_live_side_by_side_and_services_stay_with_theirs(catalog: Catalog) -> None:
    catalog.apply([SALES, BY_CITY, RATIO, SERVICE])
    second = changed(version=2, aggregates=[WindowAggregate("total", "sum", "amount", HOUR)])
    catalog.apply([second, FeatureService("s", ["sales:total"], version=2), FeatureService("old", ["sales@1:total"])])
    state = catalog.state()
    assert state.view("sales") == second
    assert state.view("sales@1") == SALES
    assert (state.table_of(SALES), state.table_of(second), state.table_of(BY_CITY)) == ("sales", "sales@2", "sales")
    pinned = {name: [view.view.ref for view in state.resolve(name).views] for name in ("s@1", "s@2", "s", "old")}
    assert pinned == {"s@1": ["sales@1", "by_city@1"], "s@2": ["sales@2"], "s": ["sales@2"], "old": ["sales@1"]}


def test_a_service_is_resolved_with_what_it_needs(catalog: Catalog) -> None:
    catalog.apply([SALES, BY_CITY, RATIO, SERVICE])
    resolved = catalog.state().resolve("s")
    assert resolved.columns == {"sales__total": "float64", "by_city__amount": "float64", "ratio__r": "float64"}
    assert list(resolved.columns) == ["sales__total", "by_city__amount", "ratio__r"]
    assert {view.view.name: view.features for view in resolved.views} == {
        "sales": ("total", "amount"),
        "by_city": ("amount",),
    }
    assert resolved.on_demand == (RATIO,)
    assert {view.table for view in resolved.views} == {"sales"}


def reading(name: str, keys: list[str], field: Field, **options: Any) -> FeatureView:
    return FeatureView(name, Entity("e_" + name, keys), [field], source="sales", **options)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (FeatureView("v", "nobody", [Field("x", "int64")]), "view 'v@1': entity 'nobody' is not applied"),
        (reading("v", ["street"], Field("amount", "float64")), "source 'sales@1' has no column 'street'"),
        (reading("v", ["city"], Field("price", "float64")), "source 'sales@1' has no column 'price'"),
        (
            reading("v", ["city"], Field("amount", "int64")),
            "field 'amount' must be float64 as in its source, got int64",
        ),
        (reading("v", ["amount"], Field("city", "string")), "key 'amount' must be int64 or string, got float64"),
        (reading("v", ["city"], Field("amount", "float64"), event_time="at"), "source 'sales@1' has no column 'at'"),
        (FeatureView("v", SHOP, [Field("amount", "float64")], source="by_city"), "source must have its own table"),
        (FeatureService("x", ["sales:price"]), "view 'sales@1' has no feature 'price'"),
        (FeatureService("x", ["ratio:q"]), "view 'ratio@1' has no feature 'q'"),
        (OnDemandView("sales", ["a"], [Field("r", "float64")], f"{__name__}:zero"), "the name is a view's"),
        (FeatureView("ratio", SHOP, [Field("x", "int64")]), "the name is an on-demand view's"),
        (
            OnDemandView("od", ["sales:x"], [Field("r", "float64")], f"{__name__}:zero"),
            "view 'sales@1' has no feature 'x'",
        ),
    ],
)
def test_references_that_do_not_fit_are_refused(catalog: Catalog, definition: Any, message: str) -> None:
    catalog.apply([SALES, BY_CITY, RATIO])
    with pytest.raises(ConfigError) as caught:
        catalog.apply([definition])
    assert message in str(caught.value)


def test_all_faults_are_told_at_once(catalog: Catalog) -> None:
    views = [FeatureView(name, "nobody", [Field("x", "int64")]) for name in ("a", "b")]
    with pytest.raises(ConfigError) as caught:
        catalog.apply([SALES, *views])
    assert len(caught.value.context["faults"]) == 2  # type: ignore[arg-type]
    assert catalog.state().tables() == set()


@pytest.mark.parametrize("unknown", [FeatureService("x", ["nothing:y"]), reading("v", ["city"], Field("x", "int64"))])
def test_references_to_nothing(catalog: Catalog, unknown: Any) -> None:
    with pytest.raises(FeatureViewNotFound, match="is not applied"):
        catalog.apply([unknown])


def test_one_version_of_a_view_per_service(catalog: Catalog) -> None:
    catalog.apply([SALES, RATIO])
    catalog.apply([changed(version=2)])
    with pytest.raises(ConfigError, match="one version of a view at a time, got 'sales@1' and 'sales@2'"):
        catalog.apply([FeatureService("x", ["sales@1:total", "sales@2:amount"])])
    with pytest.raises(ConfigError, match="one version of a view at a time"):
        catalog.apply([FeatureService("x", ["sales@2:amount", "ratio:r"])])


def test_a_view_may_take_a_field_of_its_source_for_its_time(catalog: Catalog) -> None:
    paid = reading("paid", ["city"], Field("amount", "float64"), event_time="paid_at", created_at="created_at")
    catalog.apply([SALES, paid])
    assert catalog.state().view("paid").event_time == "paid_at"


def test_a_broken_file_is_named(catalog: Catalog, tmp_path: Path) -> None:
    catalog.apply([SALES])
    (tmp_path / "features" / "catalog.json").write_text("{")
    with pytest.raises(StorageError, match=r"catalog .*catalog\.json: cannot read"):
        catalog.state()


def test_a_file_with_a_definition_that_is_none_is_named(catalog: Catalog, tmp_path: Path) -> None:
    catalog.apply([SALES])
    path = tmp_path / "features" / "catalog.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 0'))
    with pytest.raises(StorageError, match=r"catalog .*catalog\.json: cannot read: .*version must be an integer of 1"):
        catalog.state()


def test_a_catalog_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    catalog = Catalog(tmp_path / "file" / "catalog.json")
    with pytest.raises(StorageError, match=r"catalog\.json: cannot"):
        catalog.apply([SALES])
