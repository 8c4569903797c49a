from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raymlops.errors import ConfigError, FeatureViewNotFound
from raymlops.features import Entity, FeatureService, FeatureView, Field, OnDemandView, WindowAggregate
from raymlops.features.catalog.catalog_file import Catalog

HOUR = timedelta(hours=1)
AIRPORT = Entity("airport", ["airport"])
DELAYS = FeatureView(
    "delays",
    AIRPORT,
    [Field("delay", "float64", ge=-60), Field("kind", "string", allowed=["a", "b"]), Field("landed", "timestamp")],
    created_at="known",
    aggregates=[WindowAggregate("mean", "mean", "delay", HOUR)],
)
ORIGIN = DELAYS.aliased("origin", {"airport": "from"})
DEST = DELAYS.aliased("dest", {"airport": "to"})


def over(*fields: Field, **options: Any) -> FeatureView:
    return FeatureView(**{"name": "v", "entity": AIRPORT, "fields": fields, "source": "delays"} | options)


def noop(columns: Any) -> Any:
    return {"y": next(iter(columns.values())) * 0.0}


def words(columns: Any) -> Any:
    return {"y": [None if word is None else float(len(word)) for word in next(iter(columns.values()))]}


def on_demand(name: str, *inputs: str, function: str = "noop", **options: Any) -> OnDemandView:
    return OnDemandView(name, inputs, [Field("y", "float64")], f"{__name__}:{function}", **options)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    made = Catalog(tmp_path / "catalog.json")
    made.apply([DELAYS])
    return made


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (over(Field("delay", "int64")), "field 'delay' must be float64 as in its source, got int64"),
        (
            over(Field("airport", "float64"), entity=Entity("x", [])),
            "field 'airport' must be int64 or string as in its",
        ),
        (over(Field("delay", "float64", ge=0)), "field 'delay' must not constrain ['ge'] more than source 'delays@1'"),
        (over(Field("delay", "float64", le=0)), "must not constrain ['le'] more than source"),
        (over(Field("delay", "float64", nullable=False)), "must not constrain ['nullable'] more than source"),
        (over(Field("kind", "string", allowed=["a"])), "must not constrain ['allowed'] more than source"),
        (over(Field("kind", "string"), event_time="delay"), "time column 'delay' must be a timestamp as in its source"),
        (over(Field("kind", "string"), entity=Entity("x", ["landed"])), "key 'landed' must be int64 or string, got"),
    ],
)
def test_a_view_must_fit_its_source(catalog: Catalog, view: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        catalog.apply([view])
    assert message in str(caught.value)
    assert str(caught.value).startswith("view 'v@1': ")


def test_a_view_may_be_wider_than_its_source(catalog: Catalog) -> None:
    wider = over(Field("delay", "float64", ge=-100), Field("kind", "string", allowed=["a", "b", "c"]))
    catalog.apply([wider])
    assert catalog.state().views["v@1"].owner == "delays@1"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"a": "a"}, "view 'a@1': sources must not form a cycle, got a@1 -> a@1"),
        ({"a": "a@1"}, "view 'a@1': sources must not form a cycle, got a@1 -> a@1"),
        ({"a": "b", "b": "a"}, "view 'b@1': sources must not form a cycle, got b@1 -> a@1 -> b@1"),
        ({"a": "b", "b": "c@1", "c": "a"}, "view 'a@1': sources must not form a cycle, got a@1 -> b@1 -> c@1 -> a@1"),
        ({"a": "b", "b": "delays"}, "view 'a@1': source must have its own table, got 'b@1', which reads 'delays'"),
    ],
)
def test_sources_end_at_a_table(catalog: Catalog, sources: dict[str, str], message: str) -> None:
    views = [over(Field("kind", "string"), name=name, source=source) for name, source in sources.items()]
    with pytest.raises(ConfigError) as caught:
        catalog.apply(views)
    assert message in str(caught.value)


def test_a_source_that_is_not_there(catalog: Catalog) -> None:
    for source in ("nothing", "delays@7"):
        with pytest.raises(FeatureViewNotFound, match=f"view 'v@1': source '{source}' is not applied"):
            catalog.apply([over(Field("kind", "string"), source=source)])


def test_a_new_version_may_read_the_table_of_the_old(catalog: Catalog) -> None:
    second = replace(DELAYS, source="delays", version=2, ttl=HOUR)
    catalog.apply([second])
    assert catalog.state().table_of(second) == "delays"


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (FeatureView("v", "airport", [Field("x", "int64")], join_keys={"a": "b"}), "join_keys must rename keys of"),
        (FeatureView("v", "airport", [Field("airport", "bool")]), "key 'airport' must be int64 or string, got 'bool'"),
        (FeatureView("v", "airport", [Field("x", "int64")], event_time="airport"), "must not be a time column"),
    ],
)
def test_a_view_must_fit_the_entity_it_names(catalog: Catalog, view: FeatureView, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        catalog.apply([view])
    assert message in str(caught.value)
    assert len(caught.value.context["faults"]) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("definitions", "message"),
    [
        (
            [on_demand("a", "asked"), on_demand("b", "asked", function="words", request_types={"asked": "string"})],
            "service 's@1': request column 'asked' cannot be string and float64, 'b@1' asks for it",
        ),
        (
            [on_demand("a", "from", request_types={"from": "bool"})],
            "request column 'from' cannot be bool and int64 or string, 'a@1' asks for it",
        ),
        (
            [on_demand("a", "event_time")],
            "service 's@1': request column 'event_time' cannot be float64 and timestamp, 'a@1' asks for it",
        ),
        ([on_demand("a", "origin__mean")], "service 's@1': request column 'origin__mean' has the name of a feature"),
    ],
)
def test_what_a_service_asks_for_must_go_together(catalog: Catalog, definitions: list[Any], message: str) -> None:
    features = ["origin:mean", *(f"{view.name}:y" for view in definitions)]
    with pytest.raises(ConfigError) as caught:
        catalog.apply([ORIGIN, *definitions, FeatureService("s", features)])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (Field("k", "int64"), Field("k", "string"), "request column 'k' cannot be string and int64, 'q@1' asks for it"),
        (None, Field("k", "string"), None),
        (Field("k", "int64"), None, None),
    ],
)
def test_keys_of_one_name_must_be_of_one_type(
    catalog: Catalog, first: Field | None, second: Field | None, message: str | None
) -> None:
    views = [
        FeatureView(name, Entity(f"e_{name}", ["k"]), [Field("x", "int64"), *([] if key is None else [key])])
        for name, key in (("p", first), ("q", second))
    ]
    definitions = [*views, FeatureService("s", ["p:x", "q:x"])]
    if message is None:
        catalog.apply(definitions)
    else:
        with pytest.raises(ConfigError) as caught:
            catalog.apply(definitions)
        assert message in str(caught.value)


def test_a_key_cannot_be_the_instant_asked_about(catalog: Catalog) -> None:
    view = FeatureView("p", Entity("e", ["event_time"]), [Field("x", "int64")], event_time="at")
    with pytest.raises(ConfigError, match="request column 'event_time' cannot be int64 or string and timestamp"):
        catalog.apply([view, FeatureService("s", ["p:x"])])


def test_what_goes_together_is_applied(catalog: Catalog) -> None:
    views = [
        on_demand("a", "asked", "from"),
        on_demand("b", "asked", request_types={"asked": "int64"}),
        on_demand("c", "origin:kind", "to", function="words", request_types={"to": "string"}),
    ]
    catalog.apply([ORIGIN, DEST, *views, FeatureService("s", ["a:y", "b:y", "c:y", "dest:mean", "origin:mean"])])
    assert catalog.state().services["s@1"].pins == {
        **{name: f"{name}@1" for name in ("a", "b", "c", "dest", "origin")},
    }


@pytest.mark.parametrize(
    ("feature", "error", "message"),
    [
        ("delays:speed", ConfigError, "service 's@1': view 'delays@1' has no feature 'speed', got ['delay', 'kind'"),
        ("delays@2:delay", FeatureViewNotFound, "service 's@1': view 'delays@2' is not applied, got ['delays@1']"),
        ("speeds:speed", FeatureViewNotFound, "service 's@1': view 'speeds' is not applied"),
        ("origin:speed", FeatureViewNotFound, "service 's@1': view 'origin' is not applied"),
    ],
)
def test_features_that_are_not_there(catalog: Catalog, feature: str, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        catalog.apply([FeatureService("s", [feature])])
    assert message in str(caught.value)


def test_an_alias_is_a_view_with_all_its_rules(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match=r"join_keys must rename keys of 'airport', got \['town'\]"):
        DELAYS.aliased("v", {"town": "from"})
    with pytest.raises(FeatureViewNotFound, match="view 'v@1': source 'delays@2' is not applied"):
        catalog.apply([replace(DELAYS, version=2).aliased("v", {"airport": "from"})])
