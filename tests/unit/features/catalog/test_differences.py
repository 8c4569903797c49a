from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.features import Entity, FeatureService, FeatureView, Field, OnDemandView, WindowAggregate
from raymlops.features.catalog.differences import differences, documentation_changes

HOUR = timedelta(hours=1)
AMOUNT = Field("amount", "float64", ge=0, allowed=[0.0, 1.5])
TOTAL = WindowAggregate("total", "sum", "amount", HOUR)
VIEW = FeatureView("sales", Entity("shop", ["shop"]), [AMOUNT], ttl=timedelta(days=1), aggregates=[TOTAL])
COMPUTED = OnDemandView("od", ["a"], [Field("r", "float64")], "m:f", code="1" * 64)
SERVICE = FeatureService("s", ["sales:amount"])


def told(old: Any, new: Any) -> list[str]:
    return [str(change) for change in differences(old, new)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ttl": timedelta(days=2)}, ["ttl 1 day -> 2 days"]),
        ({"ttl": timedelta(hours=25)}, ["ttl 1 day -> 25 hours"]),
        ({"ttl": timedelta(seconds=1.5)}, ["ttl 1 day -> 1.5 s"]),
        ({"ttl": timedelta(seconds=90)}, ["ttl 1 day -> 90 s"]),
        ({"ttl": timedelta(minutes=1)}, ["ttl 1 day -> 1 minute"]),
        ({"ttl": None}, ["ttl 1 day -> none"]),
        ({"event_time": "at"}, ["event_time event_time -> at"]),
        ({"created_at": "known"}, ["created_at none -> known"]),
        ({"created_at": "none"}, ["created_at none -> 'none'"]),
        ({"source": "other@3"}, ["source none -> other@3"]),
        ({"online": False}, ["online True -> False"]),
        ({"entity": Entity("town", ["town"])}, ["entity shop -> town", "keys ['shop'] -> ['town']"]),
        ({"join_keys": {"shop": "seller"}}, ["join_keys.shop absent -> seller"]),
        ({"fields": [replace(AMOUNT, ge=1)]}, ["fields.amount.ge 0.0 -> 1.0"]),
        ({"fields": [replace(AMOUNT, allowed=None)]}, ["fields.amount.allowed [0.0, 1.5] -> none"]),
        ({"fields": [AMOUNT, Field("owner", "string")]}, ["fields ['amount'] -> ['amount', 'owner']"]),
        ({"aggregates": []}, ["aggregates ['total'] -> []"]),
        ({"aggregates": [replace(TOTAL, window=2 * HOUR)]}, ["aggregates.total.window 1 hour -> 2 hours"]),
    ],
)
def test_what_determines_values_is_told(options: dict[str, Any], expected: list[str]) -> None:
    changed = replace(VIEW, **options)
    assert changed.digest != VIEW.digest
    assert told(VIEW, changed) == expected
    assert documentation_changes(VIEW, changed) == ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"owner": "b"}, ["owner '' -> b"]),
        ({"description": "d"}, ["description '' -> d"]),
        ({"tags": {"team": "x"}}, ["tags.team absent -> x"]),
        ({"fields": [replace(AMOUNT, description="d")]}, ["fields.amount.description '' -> d"]),
    ],
)
def test_what_may_change_in_place_is_told_apart(options: dict[str, Any], expected: list[str]) -> None:
    changed = replace(VIEW, **options)
    assert changed.digest == VIEW.digest
    assert [str(change) for change in documentation_changes(VIEW, changed)] == expected
    assert differences(VIEW, changed) == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (Entity("e", ["a"]), Entity("e", ["a", "b"]), ["keys ['a'] -> ['a', 'b']"]),
        (SERVICE, replace(SERVICE, features=["sales:total"]), ["features ['sales:amount'] -> ['sales:total']"]),
        (COMPUTED, replace(COMPUTED, inputs=["a", "b"]), ["inputs ['a'] -> ['a', 'b']"]),
        (COMPUTED, replace(COMPUTED, function="m:g"), ["function m:f -> m:g"]),
        (COMPUTED, replace(COMPUTED, code="2" * 64), ["code 111111111111 -> 222222222222"]),
        (COMPUTED, replace(COMPUTED, request_types={"a": "string"}), ["request_types.a absent -> string"]),
        (COMPUTED, replace(COMPUTED, fields=[Field("r", "int64")]), ["fields.r.dtype float64 -> int64"]),
    ],
)
def test_other_kinds(old: Any, new: Any, expected: list[str]) -> None:
    assert old.digest != new.digest
    assert told(old, new) == expected


def test_fields_that_are_called_like_documentation_are_no_documentation() -> None:
    old = replace(VIEW, aggregates=(), fields=[Field("description", "string"), Field("tags.description", "string")])
    new = replace(old, fields=[Field("description", "int64"), Field("tags.description", "int64")])
    assert len(differences(old, new)) == 2
    assert documentation_changes(old, new) == ()


def test_the_same_definition_does_not_differ() -> None:
    for one in (VIEW, COMPUTED, SERVICE, Entity("e", ["a"])):
        assert differences(one, replace(one)) == documentation_changes(one, replace(one)) == ()


_NAMES = st.sampled_from(["a", "b", "owner", "none", "absent"])
_NUMBERS = st.sampled_from([None, 0.0, 1.5])
_SPANS = st.sampled_from([HOUR, 2 * HOUR, timedelta(microseconds=1), timedelta(days=1)])
_TEXTS = st.sampled_from(["", "none", "x", "x, y"])


@st.composite
def views(draw: st.DrawFn) -> FeatureView:
    """Views of one name and version that differ in whatever may differ."""
    low = draw(_NUMBERS)
    fields = [
        Field(name, "float64", nullable=draw(st.booleans()), ge=low, le=low, description=draw(_TEXTS))
        for name in draw(st.lists(st.sampled_from(["a", "b", "owner"]), min_size=1, max_size=3, unique=True))
    ]
    words = draw(st.sampled_from([None, ["x", "y"], ["x, y"], ["x', 'y"]]))
    aggregate = WindowAggregate("total", draw(st.sampled_from(["sum", "mean"])), fields[0].name, draw(_SPANS))
    return FeatureView(
        "v",
        Entity(draw(st.sampled_from(["e", "f"])), draw(st.sampled_from([[], ["k"], ["k", "j"]]))),
        [*fields, Field("words", "string", allowed=words)],
        created_at=draw(st.sampled_from([None, "known", "none", "absent"])),
        ttl=draw(st.none() | _SPANS),
        source=draw(st.sampled_from([None, "w", "w@1", "none"])),
        owner=draw(_TEXTS),
        description=draw(_TEXTS),
        tags=draw(st.dictionaries(_NAMES, _TEXTS, max_size=2)),
        aggregates=draw(st.sampled_from([(), (aggregate,)])),
        online=draw(st.booleans()),
    )


@given(old=views(), new=views())
def test_what_is_told_is_exactly_what_differs(old: FeatureView, new: FeatureView) -> None:
    assert bool(differences(old, new)) == (old.digest != new.digest)
    assert bool(differences(old, new) or documentation_changes(old, new)) == (old != new)


@given(old=views(), changed=views(), name=st.sampled_from(["ttl", "source", "created_at", "owner", "tags", "online"]))
def test_one_attribute_that_differs_is_told_alone(old: FeatureView, changed: FeatureView, name: str) -> None:
    new = replace(old, **{name: getattr(changed, name)})
    told = {change.attribute.partition(".")[0] for change in differences(old, new) + documentation_changes(old, new)}
    assert told == ({name} if old != new else set())
