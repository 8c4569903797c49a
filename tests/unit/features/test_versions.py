"""Definitions that change: what was there before stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import AlreadyRegistered
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureStore, FeatureView, Field, OnDemandView
from raymlops.tables.columns import INSTANT

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SALES = FeatureView("sales", Entity("shop", ["shop"]), [Field("amount", "float64")], ttl=HOUR)
SERVICE = FeatureService("s", ["sales:amount", "double:y"])


def doubled(columns: Any) -> Any:
    return {"y": columns["sales__amount"] * 2}


def tripled(columns: Any) -> Any:
    return {"y": columns["sales__amount"] * 3}


DOUBLE = OnDemandView("double", ["sales:amount"], [Field("y", "float64")], f"{__name__}:doubled")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path, clock=clock, history=HOUR)
    opened.apply(SALES, DOUBLE, SERVICE)
    opened.push("sales", rows(1.0), ingest_id="one")
    yield opened
    opened.close()


@pytest.fixture
def reader(store: FeatureStore, tmp_path: Path, clock: ManualClock) -> Iterator[FeatureReader]:
    opened = FeatureReader(tmp_path, clock=clock)
    yield opened
    opened.close()


def rows(amount: float, **keys: str) -> pa.Table:
    columns = {name: [value] for name, value in (keys or {"shop": "a"}).items()}
    return pa.table({**columns, "event_time": pa.array([T], INSTANT), "amount": [amount]})


def spine(**keys: str) -> pa.Table:
    columns = {name: [value] for name, value in keys.items()}
    return pa.table({**columns, "event_time": pa.array([T], INSTANT)})


def values(table: pa.Table) -> list[Any]:
    return [table[name][0].as_py() for name in table.column_names if "__" in name]


def both(reader: FeatureReader, service: str, **keys: str) -> list[Any]:
    """The features of one entity, which must be the same online and offline."""
    offline = values(reader.training_set(service, spine(**keys), name="x").table())
    assert values(reader.online(service, spine(**keys), T)) == offline
    return offline


def test_a_new_version_with_other_keys_leaves_the_old_one_alone(store: FeatureStore, reader: FeatureReader) -> None:
    before = reader.training_set("s", spine(shop="a"), name="x")
    plan = reader.plan("s@1")
    by_country = Entity("shop_of_country", ["country", "shop"])
    second = replace(SALES, entity=by_country, version=2)
    with pytest.raises(AlreadyRegistered, match=r"view 'sales@1': entity shop -> shop_of_country, keys"):
        store.apply(replace(second, version=1))
    store.apply(second, FeatureService("s", ["sales:amount"], version=2))
    store.push("sales@2", rows(5.0, country="it", shop="a"), ingest_id="two")
    store.push("sales@1", rows(2.0), ingest_id="three")
    assert both(reader, "s@1", shop="a") == [2.0, 4.0]
    assert both(reader, "s@2", country="it", shop="a") == [5.0]
    assert both(reader, "s", country="it", shop="a") == [5.0]
    assert reader.plan("s@1") is plan
    assert (plan.request_columns, reader.plan("s").request_columns) == (("shop",), ("country", "shop"))
    assert set(reader.table_versions()) == {"sales", "sales@2"}
    rebuilt = reader.rebuild(before.manifest)
    assert rebuilt.manifest.digest == before.manifest.digest
    assert rebuilt.table().equals(before.table())
    assert values(rebuilt.table()) == [1.0, 2.0]


def test_a_new_ttl_over_the_same_table(store: FeatureStore, reader: FeatureReader, clock: ManualClock) -> None:
    store.apply(replace(SALES, ttl=3 * HOUR, version=2, source="sales@1"), FeatureService("t", ["sales:amount"]))
    store.materialize()
    clock.advance_to(T + 2 * HOUR)
    later = pa.table({"shop": ["a"], "event_time": pa.array([T + 2 * HOUR], INSTANT)})
    assert values(reader.online("s", later)) == [None, None]
    assert values(reader.online("t", later)) == [1.0]
    assert values(reader.training_set("s", later, name="x").table()) == [None, None]
    assert values(reader.training_set("t", later, name="x").table()) == [1.0]


def test_a_new_function_beside_the_old_one(store: FeatureStore, reader: FeatureReader) -> None:
    changed = replace(DOUBLE, function=f"{__name__}:tripled")
    with pytest.raises(AlreadyRegistered, match=r"on-demand view 'double@1': function .*:doubled -> .*:tripled, code"):
        store.apply(changed)
    store.apply(replace(changed, version=2), FeatureService("s", ["double:y"], version=2))
    assert both(reader, "s@1", shop="a") == [1.0, 2.0]
    assert both(reader, "s@2", shop="a") == [3.0]
    digests = [reader.training_set(name, spine(shop="a"), name="x").manifest.views for name in ("s@1", "s@2")]
    assert digests[0].keys() == {"sales@1", "double@1"}
    assert digests[1].keys() == {"sales@1", "double@2"}
    assert digests[0]["double@1"] != DOUBLE.digest  # the function's code counts as well
    assert digests[0]["sales@1"] == SALES.digest


def test_documentation_leaves_everything_as_it_was(store: FeatureStore, reader: FeatureReader) -> None:
    before = reader.training_set("s", spine(shop="a"), name="x").manifest
    store.apply(replace(SALES, owner="me", description="d", tags={"a": "b"}))
    assert reader.training_set("s", spine(shop="a"), name="x").manifest == before


def test_views_of_plain_definitions_keep_their_digests() -> None:
    assert SALES.digest == "c87b570fb5988c9b55f2d118a715faa194d4fe5d418ed239a0807ed4069bb2ac"
    plain = OnDemandView("od", ["a"], [Field("r", "float64")], "m:f")
    assert plain.digest == "672d9244fc79292dd83b22bd62990962dba545beaf43b85697411f6192fe8817"
    service = FeatureService("s", ["v:x"])
    assert service.digest == "34506add4668f6288293207211b35adcf69b8a12df614748c436c707cdb8341c"
