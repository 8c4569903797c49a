"""A bundle that has to show that it works before its model serves, on the running platform."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
import requests

from raymlops.errors import DeploymentError
from raymlops.features import FeatureView, Field
from tests.support.delivered_project import write_project
from tests.support.killed_project import DEFINITIONS
from tests.support.training_project import tables

if TYPE_CHECKING:
    from raymlops.platform import Platform

# slow: the steps are tried without a cluster, killed at each of them, in tests/unit/runtime/deploying
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(540)]

MODEL = "tried.toy"


@pytest.fixture(scope="module")
def place(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project; its environment goes with it."""
    platform.apply(*DEFINITIONS)
    for view, table in tables().items():
        platform.features.ingest(view, table)
    yield tmp_path_factory.mktemp("tried")
    platform.delivery.remove_environment("tried", reason="the tests are over")
    assert not platform.config.feature_place("tried").local.exists(), "its features go with it"
    deadline = time.monotonic() + 60.0  # it is the reconciler who ends what no plan names
    while MODEL in {status.model for status in platform.endpoints.status() if status.answers}:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _served(platform: Platform) -> set[str]:
    return set(platform.metadata.plans.served_plans())


def test_a_bundle_is_live_once_its_model_has_answered(platform: Platform, place: Path) -> None:
    before = _served(platform)
    write_project(place)
    digest = platform.delivery.build(place).digest
    live = platform.delivery.deploy(digest, "tried", reason="the first")
    plan = platform.endpoints.plan(MODEL)
    assert (live.version, live.replaced) == (plan.champion, None)
    assert plan.service == "toy@1"
    assert _served(platform) == before | {MODEL}, "the rehearsal's endpoint is gone"
    evidence = platform.ledger.entries(f"bundle:{digest}")[-1].evidence
    assert (evidence["load"]["requests"], evidence["load"]["failed"]) == (40, 0)
    assert platform.runs.get(evidence["run"]).pipeline == MODEL
    assert platform.control.policy(MODEL).bundle == digest
    assert platform.delivery.deploy(digest, "tried") == live, "a repeat does nothing"


def test_an_environment_has_features_of_its_own(platform: Platform, place: Path) -> None:
    """What is pushed into it is joined by its endpoint and trained on by its runs, and by no other."""
    tried, plan = platform.in_environment("tried"), platform.endpoints.plan(MODEL)
    version = platform.models.get(MODEL, plan.champion)
    assert (plan.environment, version.environment) == ("tried", "tried")
    own, before = platform.features.table("depot_loads"), platform.features.writer.progress()
    assert tried.features.table("depot_loads").equals(own), "rows were copied once"
    assert _missing(platform, "only there") == ["depot_loads__load"]
    times = pa.array([platform.clock.now() - timedelta(hours=1)], pa.timestamp("us", tz="UTC"))
    tried.features.push("depot_loads", pa.table({"depot": ["only there"], "event_time": times, "load": [0.25]}))
    assert _missing(platform, "only there") == [], "its endpoint joins what was pushed there"
    assert tried.features.table("depot_loads").num_rows == own.num_rows + 1
    assert platform.features.table("depot_loads").equals(own)
    assert platform.features.writer.progress() == before
    spine = pa.table({"depot": ["only there"], "event_time": times})
    for features, load in ((tried.features, 0.25), (platform.features, None)):
        joined = features.training_set("toy", spine, name="of-tried").table()
        assert joined["depot_loads__load"].to_pylist() == [load]
    platform.apply(FeatureView("of_own", DEFINITIONS[0], [Field("x", "float64")]))
    assert "of_own" not in {each["name"] for each in tried.features.describe()}
    assert MODEL in {each.name for each in platform.models.trained_on("tried.depot_loads")}
    assert MODEL not in {each.name for each in platform.models.trained_on("depot_loads")}


def _missing(platform: Platform, depot: str) -> list[str]:
    """The features that the endpoint found no row for."""
    body = {"instances": [{"depot": depot, "size": 3}]}
    answer = requests.post(f"{platform.url}/v2/models/{MODEL}/predict", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    (missing,) = answer.json()["parameters"]["missing"]
    return list(missing)


def test_what_fails_its_run_leaves_what_serves_and_the_next_one_can_be_rolled_back(
    platform: Platform, place: Path
) -> None:
    plan, former = platform.endpoints.plan(MODEL), platform.delivery.environments()
    write_project(place, {"quality": {"min_rows": 10**6}})
    starved = platform.delivery.build(place).digest
    with pytest.raises(DeploymentError, match="came to no model: blocked"):
        platform.delivery.deploy(starved, "tried")
    assert platform.endpoints.plan(MODEL) == plan
    assert platform.delivery.environments() == former
    assert platform.ledger.entries(f"bundle:{starved}")[-1].action == "refuse_bundle"

    write_project(place, {"seed": 3})
    changed = platform.delivery.build(place).digest
    live = platform.delivery.deploy(changed, "tried")
    assert live.replaced is not None
    assert live.replaced.version == plan.champion != live.version
    back = platform.delivery.rollback("tried")
    assert back.bundle != changed
    assert platform.endpoints.plan(MODEL).champion == plan.champion == back.version
