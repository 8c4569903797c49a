from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.errors import AlreadyRegistered, ConfigError, FeatureViewNotFound
from raymlops.features import Entity, FeatureService, FeatureView, Field, OnDemandView
from raymlops.features.catalog.catalog_file import Catalog

DAY = timedelta(days=1)
SHOP = Entity("shop", ["shop"])
SALES = FeatureView("sales", SHOP, [Field("amount", "float64")], ttl=DAY, owner="a", tags={"team": "x"})
STOCK = FeatureView("stock", "shop", [Field("pieces", "int64")])
DOUBLE = OnDemandView("double", ["sales:amount"], [Field("y", "float64")], f"{__name__}:doubled")
SERVICE = FeatureService("s", ["sales:amount", "double:y"])


def doubled(columns: Any) -> Any:
    return {"y": columns["sales__amount"] * 2}


def centred(columns: Any) -> Any:
    return {"y": columns["sales__amount"] - columns["sales__amount"].mean()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.json"


@pytest.fixture
def catalog(path: Path) -> Catalog:
    made = Catalog(path)
    made.apply([SHOP, SALES, STOCK, DOUBLE, SERVICE])
    return made


def test_every_fault_of_every_definition_is_in_one_error(catalog: Catalog) -> None:
    before = catalog.state()
    wrong = [
        replace(SALES, ttl=2 * DAY),
        FeatureView("lost", "nobody", [Field("x", "int64")]),
        FeatureView("orphan", SHOP, [Field("x", "int64")], source="nothing"),
        FeatureView("reader", SHOP, [Field("pieces", "float64"), Field("colour", "string")], source="stock"),
        OnDemandView("stock", ["a"], [Field("y", "float64")], f"{__name__}:doubled"),
        OnDemandView("centre", ["sales:amount"], [Field("y", "float64")], f"{__name__}:centred"),
        OnDemandView("absent", ["a"], [Field("y", "float64")], f"{__name__}:no_such_function"),
        FeatureService("s", ["sales:amount"]),
        FeatureService("t", ["sales:weight", "nobody:x"]),
        "sales",
    ]
    with pytest.raises(AlreadyRegistered) as caught:
        catalog.apply(wrong)  # type: ignore[arg-type]
    faults: Any = caught.value.context["faults"]
    for part in [
        "definitions must be entities, views, on-demand views and services, got str 'sales'",
        "view 'sales@1': ttl 1 day -> 2 days: give the changed one a new version (2 is free)",
        "view 'lost@1': entity 'nobody' is not applied",
        "view 'orphan@1': source 'nothing' is not applied",
        "view 'reader@1': field 'pieces' must be int64 as in its source, got float64",
        "view 'reader@1': source 'stock@1' has no column 'colour'",
        "on-demand view 'stock@1': the name is a view's",
        "on-demand view 'stock@1': test_draft:doubled raised KeyError('sales__amount')",
        "on-demand view 'centre@1': test_draft:centred must give a row the same",
        "on-demand view 'absent@1': cannot import",
        "service 's@1': features ['sales:amount', 'double:y'] -> ['sales:amount']: give the changed one",
        "service 't@1': view 'sales@1' has no feature 'weight', got ['amount']",
        "service 't@1': view 'nobody' is not applied",
    ]:
        assert sum(part.replace("test_draft:", f"{__name__}:") in fault for fault in faults) == 1, (part, faults)
    assert len(faults) == 13
    assert str(caught.value).startswith("13 faults: ")
    assert catalog.state() == before


def test_a_definition_is_judged_by_what_others_are_meant_to_be(catalog: Catalog) -> None:
    wider = replace(SALES, fields=[*SALES.fields, Field("weight", "float64")])
    with pytest.raises(AlreadyRegistered) as caught:
        catalog.apply([wider, FeatureService("t", ["sales:weight"])])
    assert len(caught.value.context["faults"]) == 1  # type: ignore[arg-type]


def test_a_dry_run_writes_nothing_and_tells_everything(catalog: Catalog, path: Path) -> None:
    before = path.read_bytes()
    report = catalog.apply(
        [
            SHOP,
            replace(SALES, ttl=2 * DAY, owner="c"),
            replace(STOCK, owner="b", tags={"team": "y"}),
            replace(DOUBLE, version=2),
            DOUBLE,
            FeatureView("lost", "nobody", [Field("x", "int64")]),
        ],
        dry_run=True,
    )
    assert report.dry_run
    assert report.added == ("view lost@1", "on-demand view double@2")
    assert report.unchanged == ("entity shop", "view stock@1", "on-demand view double@1")
    ((changed),) = report.changed
    assert (changed.name, [str(each) for each in changed.attributes]) == (
        "view stock@1",
        ["owner '' -> b", "tags.team absent -> y"],
    )
    ((refused),) = report.refused
    assert (refused.name, refused.free_version) == ("view sales@1", 2)
    assert [str(each) for each in refused.attributes] == ["ttl 1 day -> 2 days"]
    assert report.faults == (
        "view 'sales@1': ttl 1 day -> 2 days: give the changed one a new version (2 is free)",
        "view 'lost@1': entity 'nobody' is not applied",
    )
    assert path.read_bytes() == before


def test_a_dry_run_tells_what_the_run_then_does(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "new" / "catalog.json")
    definitions = [SERVICE, DOUBLE, SALES, STOCK]
    foretold = catalog.apply(definitions, dry_run=True)
    assert not (tmp_path / "new").exists()
    assert catalog.apply(definitions) == foretold.model_copy(update={"dry_run": False})
    assert catalog.apply(definitions).added == ()


def test_documentation_changes_in_place_and_is_told(catalog: Catalog) -> None:
    report = catalog.apply([replace(SALES, owner="b", tags={})])
    assert report.unchanged == ("view sales@1",)
    assert [str(each) for each in report.changed[0].attributes] == ["owner a -> b", "tags.team x -> absent"]
    assert catalog.state().view("sales").owner == "b"
    described = replace(DOUBLE, fields=[Field("y", "float64", description="twice")])
    assert [str(each) for each in catalog.apply([described]).changed[0].attributes] == [
        "fields.y.description '' -> twice"
    ]
    assert catalog.state().on_demand["double@1"].view.fields[0].description == "twice"


def test_the_free_version_is_behind_all_that_are_there_or_given(catalog: Catalog) -> None:
    catalog.apply([replace(SALES, version=4, ttl=3 * DAY)])
    with pytest.raises(AlreadyRegistered, match=r"\(6 is free\)"):
        catalog.apply([replace(SALES, ttl=2 * DAY), replace(SALES, ttl=5 * DAY, version=5)])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (SALES, replace(SALES, ttl=2 * DAY), "view 'sales@1' is given twice: ttl 1 day -> 2 days"),
        (SALES, replace(SALES, owner="b"), "view 'sales@1' is given twice: owner a -> b"),
        (SHOP, Entity("shop", ["k"]), "entity 'shop' is given twice: keys ['shop'] -> ['k']"),
        (
            SALES,
            FeatureView("v", Entity("shop", ["k"]), [Field("x", "int64")]),
            "entity 'shop' is given twice: keys ['shop'] -> ['k']",
        ),
        (
            FeatureService("t", ["sales:amount"]),
            FeatureService("t", ["double:y"]),
            "service 't@1' is given twice: features ['sales:amount'] -> ['double:y']",
        ),
    ],
)
def test_one_name_given_twice(tmp_path: Path, first: Any, second: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalog(tmp_path / "c.json").apply([SALES, DOUBLE, first, second])
    assert str(caught.value) == message


def test_the_same_given_twice_is_one(tmp_path: Path) -> None:
    report = Catalog(tmp_path / "c.json").apply([SALES, SALES, replace(SALES), SHOP, SHOP])
    assert report.added == ("entity shop", "view sales@1")


def test_a_view_that_is_not_there_is_not_found_whatever_else_is_wrong(catalog: Catalog) -> None:
    with pytest.raises(FeatureViewNotFound, match="2 faults"):
        catalog.apply([FeatureService("t", ["sales:weight"]), FeatureService("u", ["nobody:x"])])


def test_catalogs_from_before_the_code_was_kept(catalog: Catalog, path: Path) -> None:
    kept = catalog.state().on_demand["double@1"].view.code
    assert len(kept) == 64
    path.write_text(path.read_text().replace(kept, ""))
    older = Catalog(path)
    assert older.state().on_demand["double@1"].view.code == ""
    assert older.apply([DOUBLE]).unchanged == ("on-demand view double@1",)
    assert older.state().on_demand["double@1"].view.code == kept
