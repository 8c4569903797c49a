from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from raymlops.errors import ConfigError
from raymlops.features import Entity, FeatureView, Field, WindowAggregate

HOUR = timedelta(hours=1)
SHOP = Entity("shop", ["shop"])
AMOUNT = Field("amount", "float64")


def view(**options: Any) -> FeatureView:
    given: dict[str, Any] = {"name": "sales", "entity": SHOP, "fields": [AMOUNT]} | options
    return FeatureView(**given)


def test_entities_take_one_key_or_several_or_none() -> None:
    assert Entity("e", "k").keys == ("k",)  # type: ignore[arg-type]
    assert Entity("e", ["k", "j"]) == Entity("e", ("k", "j"))
    assert Entity("e", []).keys == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Entity("a__b", ["k"]), "entity name must be made of letters, digits and single underscores"),
        (lambda: Entity("", ["k"]), "entity name"),
        (lambda: Entity("e", ["k", "k"]), "names must be unique, got 'k' more than once"),
        (lambda: Entity("e", ["_seq"]), "must be text that does not start with '_', got '_seq'"),
        (lambda: Field("x", "float32"), "dtype must be one of"),  # type: ignore[arg-type]
        (lambda: Field("x", "string", ge=1), "ge needs an int64 or float64, got 'string'"),
        (lambda: Field("x", "int64", ge=2, le=1), "ge must not exceed le, got 2.0 > 1.0"),
        (lambda: Field("x", "timestamp", allowed=[1]), "allowed must hold values of timestamp, got 1"),
        (lambda: Field("x", "int64", allowed=[1, True]), "allowed must hold values of int64, got True"),
        (lambda: Field("x", "int64", allowed=[1.5]), "allowed must hold values of int64, got 1.5"),
        (lambda: Field("x", "bool", allowed=[1]), "allowed must hold values of bool, got 1"),
        (lambda: WindowAggregate("a", "median", "x", HOUR), "function must be one of"),  # type: ignore[arg-type]
        (lambda: WindowAggregate("a", "sum", "x", timedelta(0)), "window must be a timedelta above 0"),
        (lambda: WindowAggregate("a", "sum", "x", 3600), "got 3600"),  # type: ignore[arg-type]
        (lambda: WindowAggregate("a", "sum", "x", timedelta.max), "at most 1,000 years"),
        (lambda: view(name="9lives"), "view name"),
        (lambda: view(version=0), "version must be an integer of 1 or more, got 0"),
        (lambda: view(version=True), "version must be an integer"),
        (lambda: view(fields=[]), "fields must not be empty"),
        (lambda: view(fields=[AMOUNT, AMOUNT]), "got 'amount' more than once"),
        (lambda: view(event_time="amount"), "got 'amount' more than once"),
        (lambda: view(created_at="event_time"), "got 'event_time' more than once"),
        (lambda: view(ttl=-HOUR), "ttl must be a timedelta above 0"),
        (lambda: view(source="a:b"), "reference must be NAME or NAME@VERSION, got 'a:b'"),
        (lambda: view(entity=Entity("e", ["event_time"])), "a key must not be a time column"),
        (lambda: view(entity=Entity("e", ["amount"])), "key 'amount' must be int64 or string, got 'float64'"),
        (lambda: view(aggregates=[WindowAggregate("a", "sum", "x", HOUR)]), "field must be one of the view's, got 'x'"),
        (lambda: view(aggregates=[WindowAggregate("amount", "sum", "amount", HOUR)]), "got 'amount' more than once"),
        (
            lambda: view(fields=[Field("s", "string")], aggregates=[WindowAggregate("a", "mean", "s", HOUR)]),
            "mean needs one of \\['bool', 'float64', 'int64'\\], got 'string'",
        ),
    ],
)
def test_wrong_definitions_are_refused_by_name_and_rule(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Entity("e", None), "keys must be a list, got None"),
        (lambda: Entity("e", [1]), "keys must hold str only, got 1"),
        (lambda: Entity("e", ["\ud800"]), "a column name must be text"),
        (lambda: Entity("e" * 81, []), "entity name must have at most 80 characters, got 81"),
        (lambda: Field(None, "int64"), "a column name must be text"),
        (lambda: Field("x", ["int64"]), "dtype must be one of"),
        (lambda: Field("x", "int64", nullable=1), "nullable must be true or false, got 1"),
        (lambda: Field("x", "float64", ge="0"), "ge must be a finite number, got '0'"),
        (lambda: Field("x", "float64", ge=True), "ge must be a finite number, got True"),
        (lambda: Field("x", "float64", le=float("nan")), "le must be a finite number, got nan"),
        (lambda: Field("x", "float64", le=float("inf")), "le must be a finite number, got inf"),
        (lambda: Field("x", "string", allowed="abc"), "allowed must be a list, got 'abc'"),
        (lambda: Field("x", "string", allowed=[]), "allowed must not be empty"),
        (lambda: Field("x", "string", allowed=["\ud800"]), "allowed must be text"),
        (lambda: Field("x", "float64", allowed=[float("nan")]), "allowed must hold values of float64, got nan"),
        (lambda: Field("x", "int64", allowed=[2**63]), "allowed must hold values of int64, got 9223372036854775808"),
        (lambda: Field("x", "int64", description=None), "description must be text, got None"),
        (lambda: view(fields=None), "fields must be a list, got None"),
        (lambda: view(fields=["amount"]), "fields must hold Field only, got 'amount'"),
        (lambda: view(aggregates=[AMOUNT]), "aggregates must hold WindowAggregate only, got Field"),
        (lambda: view(entity=None), "entity name must be made of"),
        (lambda: view(entity=5), "entity name must be made of"),
        (lambda: view(ttl=3600), "ttl must be a timedelta above 0 and at most 1,000 years, got 3600"),
        (lambda: view(event_time=None), "a column name must be text"),
        (lambda: view(tags=["team"]), "tags must be a mapping, got"),
        (lambda: view(tags={"team": 5}), "must be text, got 5"),
        (lambda: view(tags={5: "team"}), "a key of tags must be text, got 5"),
        (lambda: view(owner=None), "owner must be text, got None"),
        (lambda: view(description="\ud800"), "description must be text"),
        (lambda: view(online=None), "online must be true or false, got None"),
        (lambda: view(source=5), "reference must be NAME or NAME@VERSION, got 5"),
        (lambda: view(join_keys={"shop": None}), "must be text, got None"),
        (lambda: view(join_keys={"town": "x"}), "join_keys must rename keys of 'shop', got"),
    ],
)
def test_values_of_other_kinds_are_refused_where_they_are_given(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


def test_types_of_features() -> None:
    functions = ["count", "sum", "mean", "std", "min", "max", "last"]
    numbers = view(
        fields=[Field("i", "int64")],
        aggregates=[WindowAggregate(function, function, "i", HOUR) for function in functions],  # type: ignore[arg-type]
    )
    expected = ["int64", "int64", "float64", "float64", "float64", "int64", "int64", "int64"]
    assert [numbers.dtype_of(name) for name in numbers.feature_names] == expected


def test_the_digest_covers_what_determines_values() -> None:
    same = [
        view(),
        view(owner="me", description="text", tags={"a": "b"}),
        view(fields=[Field("amount", "float64", description="money")]),
        view(ttl=timedelta(0)),
    ]
    different = [
        view(ttl=HOUR),
        view(version=2),
        view(name="other"),
        view(created_at="created_at"),
        view(event_time="at"),
        view(source="other"),
        view(online=False),
        view(entity=Entity("shop", ["id"])),
        view(fields=[Field("amount", "float64", ge=0)]),
        view(aggregates=[WindowAggregate("a", "sum", "amount", HOUR)]),
        view(aggregates=[WindowAggregate("a", "sum", "amount", HOUR * 2)]),
    ]
    assert {one.digest for one in same} == {view().digest}
    assert len({one.digest for one in [view(), *different]}) == len(different) + 1
    assert SHOP.digest != Entity("shop", ["other"]).digest


def test_a_view_with_a_named_entity_is_resolved() -> None:
    named = view(entity="shop")
    with pytest.raises(ConfigError, match="entity 'shop' is only named"):
        _ = named.keys
    assert named.resolved({"shop": SHOP}) == view()
    with pytest.raises(ConfigError, match="a key must not be a time column"):
        named.resolved({"shop": Entity("shop", ["event_time"])})


def test_what_a_view_reads() -> None:
    wide = view(
        entity=Entity("pair", ["shop", "amount_id"]),
        fields=[Field("amount_id", "int64"), AMOUNT, Field("other", "bool")],
        created_at="known",
        aggregates=[WindowAggregate("day", "sum", "amount", 24 * HOUR), WindowAggregate("n", "count", "other", HOUR)],
    )
    assert wide.table_columns == ("shop", "amount_id", "event_time", "known", "amount", "other")
    assert wide.ref == "sales@1"
    assert wide.longest_window == 24 * HOUR
    assert view().longest_window == timedelta(0)
    assert wide.narrowed(["day"]).feature_names == ("amount", "day")
    assert wide.narrowed(["other"]).feature_names == ("other",)


def test_definitions_are_values() -> None:
    one = view(tags={"a": "b"}, aggregates=[WindowAggregate("a", "sum", "amount", HOUR)])
    assert pickle.loads(pickle.dumps(one)) == one
    assert {one: 1}[view(tags={"a": "b"}, aggregates=[WindowAggregate("a", "sum", "amount", HOUR)])] == 1
