from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from raymlops.clock import ManualClock
from raymlops.control.loop.champion_news import ChampionNews
from raymlops.control.triggering.model_policies import LiveBundle
from raymlops.errors import NotFoundError, RunNotFound, StorageError
from raymlops.records.bundles import BundleManifest, Deployment, ProjectSpec
from raymlops.testing.control_examples import START, example_run
from raymlops.testing.metadata_examples import example_draft

MINUTE = timedelta(minutes=1)
SPEC = ProjectSpec(name="p", model="m", definitions="d:d", service="s", spine="d:s")


def built(digest: str, content: str, **changes: Any) -> BundleManifest:
    project = SPEC.model_copy(update=changes)
    files = {"project.yaml": digest, "model.py": content}
    return BundleManifest(
        digest=digest, project=project, archive_sha256="", files=files, lock_sha256="", tests={}, built_at=START
    )


class World:
    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.tables: dict[str, list[int] | Exception] = {"trips": [100, 100, 140], "weather": [10]}
        self.trained_on = {"trips": 1, "weather": 0}
        self.run_id: str | None = "r"
        self.environment: str | None = None
        self.bundles = {"a": built("a", "1"), "b": built("b", "2"), "c": built("c", "1", policy={"retrain": {}})}
        self.live: str | None = "a"
        self.looked = 0
        self.news = ChampionNews(cast("Any", self), self.bundle_of, self.rows_of, self.clock)
        self.models = self.runs = self.deployments = self

    def get_version(self, model: str, version: int) -> Any:
        return example_draft().model_copy(update=self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        return {"run_id": self.run_id, "table_versions": self.trained_on, "environment": self.environment}

    def get_run(self, run_id: str) -> Any:
        if run_id != "r":
            raise RunNotFound(run_id)
        return example_run("r").model_copy(update={"bundle": "a"})

    def get_bundle(self, digest: str) -> BundleManifest:
        return self.bundles[digest]

    def bundle_of(self, model: str) -> LiveBundle | None:
        if self.live is None:
            return None
        deployment = Deployment(environment="dev", bundle=self.live, at=START)
        return LiveBundle(deployment, self.bundles[self.live])

    def rows_of(self, environment: str | None, table: str, version: int | None) -> tuple[int, int]:
        self.looked += 1
        found = self.tables.get(table if environment is None else f"{environment}.{table}")
        if isinstance(found, Exception):
            raise found
        if found is None or (version is not None and version >= len(found)):
            raise NotFoundError(table)
        number = len(found) - 1 if version is None else version
        return number, found[number]


@pytest.fixture
def world() -> World:
    return World()


def test_rows_that_came_since_the_training_set(world: World) -> None:
    data = world.news.new_data("m", 1, MINUTE)
    assert data is not None
    trips = data.tables["trips"]
    assert (trips.trained_version, trips.version, trips.rows, data.rows) == (1, 2, 40, 40)
    assert data.tables["weather"].rows == 0


def test_tables_are_looked_at_only_so_often(world: World) -> None:
    world.news.new_data("m", 1, MINUTE)
    looked = world.looked
    world.tables["weather"] = [10, 25]
    world.clock.advance_to(START + MINUTE / 2)
    world.news.new_data("m", 1, MINUTE)
    assert world.looked == looked
    world.clock.advance_to(START + MINUTE)
    data = world.news.new_data("m", 1, MINUTE)
    assert data is not None
    assert data.rows == 55
    assert world.looked == looked + 2, "what a version held does not change"
    world.news.new_data("m", 2, MINUTE)
    assert world.looked == looked + 4, "of another champion it is another question"


@pytest.mark.parametrize("trouble", [NotFoundError("gone"), StorageError("the disk is gone")])
def test_a_table_that_cannot_be_read_says_nothing_and_holds_up_nobody(world: World, trouble: Exception) -> None:
    world.tables["trips"] = trouble
    data = world.news.new_data("m", 1, MINUTE)
    assert data is not None
    assert list(data.tables) == ["weather"]


def test_rows_of_another_environment_are_those_of_its_own_tables(world: World) -> None:
    world.news.new_data("m", 1, MINUTE)
    world.tables["dev.trips"], world.trained_on, world.environment = [5, 7, 10], {"trips": 1}, "dev"
    data = world.news.new_data("dev.m", 1, MINUTE)
    assert data is not None
    assert (data.tables["trips"].version, data.rows) == (2, 3)


def test_a_version_without_a_training_set_has_no_new_data(world: World) -> None:
    world.trained_on = {}
    assert world.news.new_data("m", 1, MINUTE) is None


def test_another_bundle_is_new_code_unless_only_its_policy_differs(world: World) -> None:
    assert world.news.new_code("m", 1) is None
    world.live = "c"
    assert world.news.new_code("m", 1) is None
    world.live = "b"
    code = world.news.new_code("m", 1)
    assert code is not None
    assert (code.champion_bundle, code.bundle, code.files) == ("a", "b", ("model.py", "project.yaml"))
    world.live = None
    assert world.news.new_code("m", 1) is None


def test_a_version_registered_by_hand_has_no_code(world: World) -> None:
    world.run_id, world.live = None, "b"
    assert world.news.new_code("m", 1) is None
