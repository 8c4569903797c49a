"""Whatever text is given as a name: it is refused by our own error, or nothing is written outside of the home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from raymlops.clock import ManualClock
from raymlops.config import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.delivery import approve_bundle
from raymlops.errors import AlreadyRegistered, ConfigError, RaymlopsError
from raymlops.features import Entity, FeatureService, FeatureStore, FeatureView, Field
from raymlops.features.reader import FeatureReader
from raymlops.metadata import MetadataService
from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.pipelines import Pipeline, PipelineRunner, Step
from raymlops.records.models import ModelVersion
from raymlops.records.serving.keys import new_key
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator
from raymlops.runtime.jobs.operators import ModelOperator
from raymlops.tables.delta import DeltaTables
from raymlops.testing.metadata_examples import EPOCH, example_bundle, example_draft, example_run
from tests.support.deployed_bundles import deploy_bundle

CLOCK = ManualClock(EPOCH)
EXAMPLE = pa.table({"a": [0.0, 1.0, 2.0, 3.0]})
MODEL = LogisticRegression().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])
SPINE = pa.table({"k": ["x"], "event_time": pa.array([EPOCH], pa.timestamp("us", tz="UTC"))})
ROWS = SPINE.append_column("f", pa.array([1.0]))


@dataclass(frozen=True)
class World:
    """A home, and all that is opened on it."""

    home: Path
    metadata: MetadataService
    store: FeatureStore
    reader: FeatureReader

    @property
    def config(self) -> PlatformConfig:
        return load_config(environ={}, overrides={"home": self.home})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("outside") / "deep" / "down" / "home"
    home.mkdir(parents=True)
    with (
        closing(MetadataService(home / "metadata.db", clock=CLOCK)) as metadata,
        closing(FeatureStore(home / "features", clock=CLOCK)) as store,
    ):
        k = Entity("k", ["k"])
        store.apply(k, FeatureView("v", k, [Field("f", "float64")]), FeatureService("s", ["v:f"]))
        store.ingest("v", ROWS, ingest_id="1")
        with closing(FeatureReader(home / "features", clock=CLOCK)) as reader:
            yield World(home, metadata, store, reader)


def _register(world: World, name: str) -> object:
    return ModelOperator(world.home, world.metadata, CLOCK).register(name, MODEL, EXAMPLE, {}, None)


def _draft(world: World, name: str) -> ModelVersion:
    return world.metadata.models.register_version(example_draft(name), key="k")


def _alias(world: World, name: str) -> object:
    draft = world.metadata.models.register_version(example_draft("aliased"), key="k")
    return world.metadata.models.set_alias("aliased", name, draft.version, expected=None, reason="test")


def _view(world: World, name: str) -> object:
    world.store.apply(FeatureView(name, Entity(f"e{name}", ["k"]), [Field("f", "float64")]))
    return world.store.ingest(name, ROWS, ingest_id="1")


def _run(world: World, name: str) -> object:
    step = Step("one", lambda context: {"result": 1}, {"result": "json"}, {})
    runner = PipelineRunner(world.home / "artifacts", world.metadata, CLOCK, logs=world.home / "runs")
    return runner.run(Pipeline("p", (step,), result="one.result", libraries=()), {}, run_id=name)


DOORS: dict[str, Callable[[World, str], Any]] = {
    "a model that is registered": _register,
    "a model that comes out of a run": _draft,
    "an alias": _alias,
    "a view": _view,
    "an entity": lambda world, name: world.store.apply(Entity(name, ["k"])),
    "a service": lambda world, name: world.store.apply(FeatureService(name, ["v:f"])),
    "a training set": lambda world, name: world.reader.training_set("s", SPINE, name=name),
    "a table": lambda world, name: DeltaTables(world.home / "tables").append(name, ROWS, ingest_id="1"),
    "labels": lambda world, name: DeltaEventTables(world.home / "monitor").append(
        f"labels/{name}", ROWS, ingest_id="1"
    ),
    "a run that is recorded": lambda world, name: world.metadata.runs.create_run(example_run(name)),
    "a run": _run,
    "a project": lambda world, name: world.metadata.deployments.put_bundle(example_bundle("b" * 64, name)),
    "an environment of a deployment": lambda world, name: deploy_bundle(example_bundle(), name, world.metadata, CLOCK),
    "an environment of an approval": lambda world, name: approve_bundle(
        example_bundle(), name, "ada", world.metadata.ledger
    ),
    "an environment of the configuration": lambda world, name: load_config(environment=name or ".", environ={}),
    "who approves": lambda world, name: approve_bundle(example_bundle(), "prod", name, world.metadata.ledger),
    "a bundle": lambda world, name: DeliveryOperator(world.config, world.metadata, CLOCK).verify(name),
    "an API key": lambda world, name: new_key(name, ["infer"], EPOCH),
}
NAMES = ["", " ", ".", "..", "a/b", "a%2fb", "modèle", "../../outside", "../../../outside", "a\x00b", "x" * 300, "a\n"]
_PEOPLE = (".", "..", "a/b", "a%2fb", "modèle", "../../outside", "../../../outside")
_PATHS = (" ", "a/b")
ALLOWED = {"who approves": _PEOPLE, "an API key": _PEOPLE, "a table": _PATHS, "labels": _PATHS}
"""People are called as they are; tables lie at paths, whose parts were checked where they were given."""


def _outside(world: World) -> set[Path]:
    top = world.home.parents[2]
    return {path for path in top.rglob("*") if world.home not in path.parents}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_is_refused_in_one_line(world: World, door: str, name: str) -> None:
    if name in ALLOWED.get(door, ()):
        DOORS[door](world, name)
        return
    with pytest.raises(RaymlopsError) as caught:
        DOORS[door](world, name)
    assert isinstance(caught.value, ConfigError), caught.value
    assert "\n" not in str(caught.value)
    assert " must " in str(caught.value)


@pytest.mark.parametrize("door", DOORS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=timedelta(seconds=60))
@given(name=st.text(max_size=120) | st.text("ab/.%-_\\\x00", max_size=12))
@example(name="../../outside")
@example(name="../../../../../outside")
@example(name="/proc/outside")
def test_nothing_is_written_outside_of_the_home(world: World, door: str, name: str) -> None:
    before = _outside(world)
    try:
        DOORS[door](world, name)
    except RaymlopsError:
        pass
    finally:
        assert _outside(world) == before


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (_register, _register),
        (_draft, _draft),
        (DOORS["a view"], DOORS["a view"]),
        (DOORS["an entity"], DOORS["an entity"]),
        (DOORS["a service"], DOORS["a service"]),
    ],
)
def test_names_that_differ_in_case_alone_do_not_meet(
    world: World, make: Callable[[World, str], Any], other: Callable[[World, str], Any], request: pytest.FixtureRequest
) -> None:
    number = request.node.callspec.indices["make"]
    make(world, f"cased{number}")
    with pytest.raises(AlreadyRegistered, match=f"differ from '.*cased{number}' by more than the case of letters"):
        other(world, f"CASED{number}")
