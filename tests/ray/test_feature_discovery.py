"""What there is in the feature store, told by the command line of a running platform."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pytest

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def features(command: Command) -> Command:
    return partial(command, "features")


@pytest.fixture(scope="module")
def read(features: Command) -> Callable[..., Any]:
    def run(*arguments: str) -> Any:
        done = features(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return orjson.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def stocked(platform: Platform) -> Platform:
    from raymlops.features import Entity, FeatureService, FeatureView, Field

    depot = Entity("depot", ["depot_id"])
    stock = FeatureView(
        "depot_stock",
        depot,
        [Field("pallets", "int64", description="counted at night"), Field("grade", "string")],
        ttl=timedelta(days=2),
        owner="logistics",
        tags={"domain": "warehouse"},
    )
    platform.apply(stock, FeatureService("depot_service", ["depot_stock:pallets"]))
    at = pa.array([platform.clock.now()] * 3, pa.timestamp("us", tz="UTC"))
    rows = pa.table({"depot_id": [1, 2, 3], "event_time": at, "pallets": [10, 20, None], "grade": ["a", "a", "b"]})
    platform.features.push("depot_stock", rows, ingest_id="depots")
    return platform


def test_a_view_is_described_with_statistics_freshness_and_consumers(
    stocked: Platform, features: Command, read: Command
) -> None:
    found = read("describe", "depot_stock")
    assert (found["kind"], found["name"]) == ("view", "depot_stock@1")
    assert (found["statistics"]["rows"], found["statistics"]["fields"]["pallets"]["mean"]) == (3, 15.0)
    assert (found["freshness"]["verdict"], found["freshness"]["online_rows_behind"]) == ("fresh", 0)
    assert {edge["target"]["name"] for edge in found["lineage"]["downstream"]} == {"depot_service@1"}
    shown = features("describe", "depot_stock")
    assert shown.returncode == 0, shown.stderr
    for text in ("view depot_stock@1", "freshness: fresh", "a (2), b (1)", "-> service depot_service@1"):
        assert text in shown.stdout
    unknown = features("describe", "nobody")
    assert unknown.returncode == 1
    assert "no definition is called 'nobody'" in unknown.stderr


def test_views_are_listed_and_found(stocked: Platform, features: Command, read: Command) -> None:
    listed = next(row for row in read("describe") if row["name"] == "depot_stock")
    assert (listed["rows"], listed["ttl_s"], listed["tags"]) == (3, 172800.0, {"domain": "warehouse"})
    assert [row["name"] for row in read("search", "NIGHT")] == ["depot_stock@1"]
    by_tag = read("search", "--tag", "domain=warehouse", "--owner", "Logistics")
    assert [row["name"] for row in by_tag] == ["depot_stock@1"]
    assert "nothing was found" in features("search", "no such thing").stdout
    assert read("statistics", "depot_stock", "--version", "0")["keys"] == 3


def test_an_audit_of_what_nobody_was_served(stocked: Platform, features: Command, read: Command) -> None:
    report = read("audit", "depot_service", "--since", "2013-01-01T00:00:00Z", "--sample", "10")
    assert (report["service"], report["rows"], report["consistent"]) == ("depot_service@1", 0, True)
    naive = features("audit", "depot_service", "--since", "2013-01-01T00:00:00")
    assert (naive.returncode, "instant must have a zone" in naive.stderr) == (1, True)
