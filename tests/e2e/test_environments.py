"""From a commit to production: pushes, approvals, runs, what must stop on the way, and the way back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.delivered_project import commit, write_project
from tests.support.delivery_world import REHEARSE, WAIT_S, DeliveryWorld
from tests.support.training_project import fill

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]

# the table stands still, so that a champion has seen every row that a candidate is judged on
_REHEARSE = {**REHEARSE, "parameters": {"rule": "absolute"}}
_DIVERGES = {"search": {"xgboost": {"n_estimators": 50, "learning_rate": 500.0, "max_depth": 6}}}
_OTHER = {"search": {"xgboost": {"n_estimators": 120, "learning_rate": 0.05, "max_depth": 2}}}


_TRAIN = """
import sys, raymlops
with raymlops.connect(start=False) as platform:
    run = platform.runs.start("strict.toy", bundle=sys.argv[1], parameters={"rule": "absolute"})
    print(run.result["version"])
    platform.detach()
"""


class World(DeliveryWorld):
    """A platform whose features are filled, and a small project."""

    def __init__(self, place: Path) -> None:
        prod = {"approvals": 1, "after": "staging", "green_runs": 2, "branch": "main"}
        environments = {
            "dev": _REHEARSE,
            "strict": {**_REHEARSE, "p99": "10us"},
            "staging": {**_REHEARSE, "approvals": 1, "after": "dev"},
            "prod": {**_REHEARSE, **prod},
        }
        branches = {"main": "dev", "strict": "strict", "feature/*": "{branch}"}
        super().__init__(place, branches, environments, trusted={"prod": True})
        fill(self.home)

    def changed(self, message: str, branch: str = "main", **changes: Any) -> dict[str, Any]:
        """Change the project, commit and push it; what became of the commit."""
        write_project(self.checkout, **changes)
        return self.pushed(message, branch)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("delivered"))
    try:
        world.start()
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="module")
def first(world: World) -> dict[str, Any]:
    """What became of the first push."""
    return world.changed("the first")


@pytest.fixture(scope="module")
def bundle(world: World, first: dict[str, Any]) -> str:
    """The bundle of the first push, which is live in every environment."""
    assert first["state"] == "success", first["description"]
    digest = str(first["bundle"])
    deploy = ("delivery", "deploy", digest)
    assert "must be approved for 'staging' by 1, is by 0: nobody" in world.run.refused(*deploy, "--env", "staging")
    world.approved(digest, "staging", "ada@example.org")
    assert "its builder and its author do not count" in world.run.refused(*deploy, "--env", "staging")
    world.run.json("delivery", "approve", digest, "--env", "staging", "--by", "bob")
    assert "who said 'bob' showed no key" in world.run.refused(*deploy, "--env", "staging")
    world.approved(digest, "staging", "bob@example.org")
    world.run.json(*deploy, "--env", "staging")
    assert "must have 2 runs that succeeded in 'staging' before 'prod', has 1" in world.run.refused(*deploy)
    parameters = ("-p", "rule=absolute", "-p", "skip_unchanged=false")
    run = world.run.json("runs", "start", "staging.toy", *parameters)
    assert (run["bundle"], run["result"]["outcome"]) == (digest, "candidate")
    assert "must be approved for 'prod' by 1, is by 0" in world.run.refused(*deploy)
    world.approved(digest, "prod", "carol@example.org")
    world.run.json(*deploy)
    return digest


def test_a_push_is_built_and_runs_in_dev_alone(world: World, first: dict[str, Any]) -> None:
    assert (first["state"], first["environment"], first["branch"]) == ("success", "dev", "main"), first
    entries = world.run.json("ledger", "entries", f"bundle:{first['bundle']}", "--json")
    deployed = next(entry for entry in entries if entry["action"] == "deploy_bundle")
    assert deployed["evidence"]["commit"] == first["commit"]
    assert deployed["evidence"]["load"]["requests"] == 60
    assert deployed["evidence"]["load"]["failed"] == 0
    assert world.run.json("status", "--json")["source"]["problem"] is None


def test_the_same_bundle_goes_through_every_environment(world: World, bundle: str) -> None:
    assert world.live() == {"dev": bundle, "staging": bundle, "prod": bundle}
    assert set(world.served()) == {"dev.toy", "staging.toy", "toy"}, "each has a model of its own"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"test": "def test_it():\n    assert False\n"}, "its tests must pass, got: 1 failed"),
        ({"training": _DIVERGES}, "came to no model: refused"),
    ],
    ids=["a failing test", "training diverges"],
)
def test_a_bad_push_stops_and_what_serves_goes_on(
    world: World, bundle: str, changes: dict[str, Any], told: str
) -> None:
    served, live = world.served(), world.live()
    ended = world.changed(told, **changes)
    assert ended["state"] == "failure"
    assert told in ended["description"]
    assert (world.served(), world.live()) == (served, live)
    builds = [each for each in world.run.json("ledger", "entries", "source:main", "--json")]
    assert [each["action"] for each in builds[-2:]] == ["build_commit", "commit_failed"], "told once"


def test_a_service_that_is_too_slow_for_its_environment_stops(world: World, bundle: str) -> None:
    version = world.run.python(_TRAIN, bundle)
    world.run.json("models", "deploy", "strict.toy", version, "--features", "toy@1")
    served, live = world.served(), world.live()
    assert served["strict.toy"] == int(version)
    ended = world.changed("slower", "strict", training={"seed": 2})
    assert ended["state"] == "failure"
    assert "the service is too slow: p99 must be at most 0.01 ms, got" in ended["description"]
    assert (world.served(), world.live()) == (served, live)


def test_a_good_push_takes_over_and_a_roll_back_restores(world: World, bundle: str) -> None:
    before = world.served()
    ended = world.changed("another", training=_OTHER)
    assert ended["state"] == "success", ended["description"]
    after = world.served()
    assert after["dev.toy"] == ended["version"] != before["dev.toy"]
    assert {name: after[name] for name in ("toy", "staging.toy")} == {
        name: before[name] for name in ("toy", "staging.toy")
    }
    world.run.json("delivery", "rollback", "--env", "dev")
    assert world.served() == before
    assert world.live()["dev"] == bundle


def test_a_branch_has_an_environment_that_goes_with_it(world: World, bundle: str) -> None:
    from dulwich.repo import Repo

    ended = world.changed("tried", "feature/x", training={"seed": 3})
    assert ended["state"] == "success", ended["description"]
    own = ended["environment"]
    assert own.startswith("feature-x-")
    assert world.served()[f"{own}.toy"] == ended["version"]
    assert world.live()[own] == ended["bundle"] != bundle
    with closing(Repo(str(world.origin))) as origin:
        del origin.refs[b"refs/heads/feature/x"]
    deadline = time.monotonic() + WAIT_S
    while not (ends := _ends_of(world, own)):
        assert time.monotonic() < deadline
    assert "its features are removed: tables depot_loads, depot_orders" in ends[-1]["reason"]
    assert not (world.home / "features" / "environments" / own).exists()
    assert own not in world.live()
    assert f"{own}.toy" not in world.served()
    assert world.live()["dev"] == bundle


def _ends_of(world: World, environment: str) -> list[dict[str, Any]]:
    """Entries of the ledger that say that an environment has ended."""
    entries = world.run.json("ledger", "entries", "platform:deployments", "--json")
    begun = {
        entry["key"].rpartition("/")[2]
        for entry in entries
        if entry["evidence"].get("kind") == "end_environment" and entry["evidence"]["environment"] == environment
    }
    return [each for each in entries if each["action"] == "end_deployment" and each["key"].rpartition("/")[2] in begun]


def test_an_altered_bundle_and_an_unknown_signer_are_refused(world: World, bundle: str) -> None:
    live = world.live()
    other = world.place / "other.pem"
    assert world.run("delivery", "keygen", str(other)).returncode == 0
    write_project(world.checkout, training={"seed": 4})
    commit(world.checkout, "signed by a stranger")
    made = world.run.json("delivery", "build", str(world.checkout), "--key", str(other))["digest"]
    assert "must be signed by one of ci, and is by none of them" in world.run.refused("delivery", "deploy", made)
    archive = world.home / "bundles" / made / "bundle.zip"
    archive.chmod(0o644)
    archive.write_bytes(archive.read_bytes().replace(b"late", b"last", 1))
    assert "bundle.zip: must have digest" in world.run.refused("delivery", "deploy", made, "--env", "dev")
    assert world.live() == live


def test_a_repository_that_is_away_is_told_and_comes_back(world: World, bundle: str) -> None:
    aside = world.place / "aside.git"
    world.origin.rename(aside)
    try:
        deadline = time.monotonic() + WAIT_S
        while (problem := world.run.json("status", "--json")["source"]["problem"]) is None:
            assert time.monotonic() < deadline
        assert "cannot be read: NotGitRepository" in problem
        assert {"dev", "staging", "prod"} <= set(world.live())
    finally:
        aside.rename(world.origin)
    ended = world.changed("back", training={"seed": 5})
    assert ended["state"] == "success", ended["description"]
