"""A deployment that is killed between any two of its effects: what is served and what is live agree after recovery."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import pyarrow
import pytest

from raymlops.clock import ManualClock
from raymlops.config.delivery import EnvironmentRules
from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.loader import load_config
from raymlops.config.serving import ServingConfig
from raymlops.control.endpoints.operator import EndpointOperator
from raymlops.control.reconciling.reconcile import Wanted, wanted_of
from raymlops.control.triggering.model_policies import ModelPolicies
from raymlops.delivery import lock
from raymlops.delivery.attempts import ATTEMPTS, Attempts
from raymlops.delivery.verify import bundle_digest
from raymlops.errors import AlreadyRegistered, ConflictError, UnavailableError
from raymlops.features import Definition, Entity, FeatureService, FeatureStore, FeatureView, Field
from raymlops.features.replication.environments import PerEnvironment
from raymlops.metadata import Metadata, MetadataService
from raymlops.records.bundles import BundleManifest, Deployment, ProjectSpec
from raymlops.records.delivering.environments import rehearsal_name
from raymlops.records.features import IngestReceipt
from raymlops.records.models import ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.record import sha256_of
from raymlops.records.runs import Run, RunStatus
from raymlops.records.serving.orders import Order
from raymlops.runtime.deploying.deployer import Deployer
from raymlops.testing.metadata_examples import EPOCH, example_bundle, example_draft, example_run
from tests.support.control import SimulatedCrash

WRITES = {
    "append_entry", "put_bundle", "put_deployment", "put_plan", "register_version", "set_alias", "set_state",
}  # fmt: skip
CLOCK = ManualClock(EPOCH)
CAR = Entity("car", ["car_id"])
LOADS = FeatureView("loads", CAR, [Field("kg", "float64")], online=False, owner="ada")
MILES = FeatureView("miles", CAR, [Field("km", "float64")], online=False)
DEFINITIONS: dict[str, Sequence[Definition]] = {
    "a": [CAR, LOADS, FeatureService("s", ["loads:kg"])],
    "b": [CAR, LOADS, MILES, FeatureService("s", ["loads:kg", "miles:km"], version=2)],
    "c": [CAR, FeatureView("loads", CAR, [Field("kg", "float64")], online=False, owner="bob"), MILES],
}
SERVICES = {"a": "s@1", "b": "s@2", "c": "s@1"}
LOCK = sha256_of(b"pyarrow")


def _manifest(code: str, cooldown: str = "1d") -> BundleManifest:
    draft = example_bundle()
    project = draft.project.model_copy(update={"policy": {"retrain": {"cooldown": cooldown}}})
    facts: dict[str, object] = {
        "archive_sha256": sha256_of([code, cooldown]),
        "lock_sha256": LOCK,
        "files": {"code.py": code * 64},
    }
    facts |= {"packages": {"pyarrow": pyarrow.__version__}}
    whole = draft.model_copy(update={**facts, "project": project})
    return whole.model_copy(update={"digest": bundle_digest(whole.archive_sha256, project, LOCK)})


A, B, C, A_WITH_POLICY = _manifest("a"), _manifest("b"), _manifest("c"), _manifest("a", "2d")


@dataclass
class Death:
    """Kills at one of the points that are passed; from then on nothing is done."""

    at: int | None = None
    passed: int = 0
    dead: bool = False

    def __call__(self) -> None:
        self.passed += 1
        if self.dead or self.passed == self.at:
            self.dead = True
            raise SimulatedCrash


class _Mortal:
    def __init__(self, store: object, reach: Callable[[], None]) -> None:
        self._store = store
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in WRITES and name != "apply":
            return method

        def write(*args: object, **kwargs: object) -> Any:
            self._reach()
            return method(*args, **kwargs)

        return write


def _mortal(metadata: MetadataService, reach: Callable[[], None]) -> Metadata:
    mortal = copy(metadata)
    for name in ("ledger", "deployments", "plans", "models"):
        setattr(mortal, name, _Mortal(getattr(metadata, name), reach))
    return cast("Metadata", mortal)


class Serve:
    """Runs at once whatever is planned."""

    def __init__(self, metadata: MetadataService) -> None:
        self._metadata = metadata
        self.refuses = False

    def is_up(self, name: str) -> bool:
        return name in {want.name for want in wanted_of(self._metadata.plans.served_plans().values(), ServingConfig())}

    @contextmanager
    def hold(self, wanted: Wanted) -> Iterator[None]:
        yield

    def require_room(self, what: str, needs: list[float]) -> None:
        """There is room for all."""

    def await_up(self, wanted: Wanted, plan: int | None = None) -> None:
        if self.refuses and "rehearsal" not in wanted.name:
            raise UnavailableError(f"{wanted.name} did not answer")

    def wake(self) -> None:
        """Nothing sleeps here."""

    def prepare(self, plan: ServingPlan) -> None:
        """Every model loads."""

    def swap(self, plan: ServingPlan) -> float | None:
        return None


@dataclass
class World:
    """A platform's disks, and what runs on them; ``death`` kills all that runs."""

    home: Path
    metadata: MetadataService
    features: PerEnvironment[FeatureStore]
    serve: Serve
    death: Death = field(default_factory=Death)
    together: bool = False
    """Whether the operator, which is another process, dies with the deployment."""
    late: list[Callable[[], object]] | None = None
    """Orders that are on their way to the operator; ``None``: each is there at once."""
    filled: list[tuple[str, str]] = field(default_factory=list)
    """Environment, and where its rows came from."""
    answers: bool = True
    """Whether the operator's answers are heard."""

    @cached_property
    def config(self) -> PlatformConfig:
        rules = {"dev": {"rehearse": True}, "feature": {"rehearse": True, "rows_from": "dev"}}
        overrides = {"home": str(self.home), "environment": "dev", "delivery": {"environments": rules}}
        return load_config(environ={}, overrides=overrides)

    @property
    def deployer(self) -> Deployer:
        mortal = _mortal(self.metadata, self.death)
        return Deployer(self.config, mortal, CLOCK, Ground(self, mortal))

    def features_of(self, environment: str) -> Path:
        return self.home / "features" / environment

    def revive(self, death: Death | None = None) -> None:
        """Start everything anew on what the disks hold, and have what was cut off settled."""
        self.death = death or Death()
        self.operator().catch_up()
        self.deployer.settle()

    def operator(self) -> EndpointOperator:
        metadata: Any = _mortal(self.metadata, self.death) if self.together else self.metadata
        return EndpointOperator(ServingConfig(), metadata, CLOCK, self.serve, self.serve)


class Ground:
    """What runs on the disks: a run registers a version, and Serve is told by the operator."""

    def __init__(self, world: World, metadata: Metadata) -> None:
        self._world = world
        self._metadata = metadata
        self.endpoints = self

    def store(self, environment: str) -> FeatureStore:
        return cast("FeatureStore", _Mortal(self._world.features.of(environment), self._world.death))

    def fill(self, environment: str, source: str) -> Sequence[IngestReceipt]:
        assert self.store(environment).apply(CAR, LOADS, dry_run=True).added == (), "what is filled is defined"
        self._world.filled.append((environment, source))
        return []

    def tables_in(self, environment: str) -> tuple[str, ...] | None:
        return ("loads",) if self._world.features_of(environment).exists() else None

    def stop_runs(self, environment: str, reason: str) -> None:
        self._world.death()

    def remove_features(self, environment: str) -> None:
        self._world.death()
        self._world.features.drop(
            environment, lambda: shutil.rmtree(self._world.features_of(environment), ignore_errors=True)
        )
        self._world.death()

    def definitions(self, manifest: BundleManifest) -> Sequence[Definition]:
        return DEFINITIONS[manifest.files["code.py"][0]]

    def lock(self, manifest: BundleManifest) -> bytes:
        return b""

    def require_fit(self, manifest: BundleManifest) -> None:
        """It fits."""

    def run(self, manifest: BundleManifest, pipeline: str, environment: str, rules: EnvironmentRules) -> Run:
        model = pipeline.replace("flights", manifest.project.model)
        draft = example_draft(model).model_copy(update={"training_set": manifest.files["code.py"][0]})
        trained = len(self._metadata.models.list_versions(model))
        found = self._metadata.models.register_version(draft, key=f"{manifest.digest}/{trained}")
        facts = {"status": RunStatus.SUCCEEDED, "result": {"version": found.version}}
        return example_run(f"run-{found.version}", pipeline).model_copy(update=facts)

    def service_of(self, version: ModelVersion) -> str:
        return SERVICES[str(version.training_set)]

    def ask(
        self, version: ModelVersion, project: ProjectSpec, service: str | None, rules: EnvironmentRules, order: Order
    ) -> None:
        name = rehearsal_name(version.name)
        draft = version.model_copy(update={"name": name, "version": 0})
        copied = self._metadata.models.register_version(draft, key=f"{version.name}/{version.version}")
        try:
            self.serve(order, name, copied.version)
        finally:
            self._world.death()
            self.undeploy(name)

    def serve(
        self, order: Order, name: str, version: int, *, features: str | None = None, replicas: int | None = None
    ) -> ServingPlan:
        if self._world.late is not None and name == "delay":  # whoever gave the order dies before it is there
            operator = self._world.operator()
            self._world.late.append(lambda: operator.deploy(order, name, version, features, replicas))
            self._world.death.at = self._world.death.passed + 1
        self._world.death()
        plan = self._world.operator().deploy(order, name, version, features, replicas)
        self._world.death()
        if not self._world.answers:
            raise UnavailableError("the reconciler actor did not answer deploy within 60 s")
        return plan

    def withdraw(self, order: Order, name: str) -> bool:
        self._world.death()
        return self._world.operator().withdraw(order, name)

    def undeploy(self, name: str, *, reason: str = "on demand") -> ServingPlan:
        self._world.death()
        order = Order(request=f"undeploy-{name}-{self._metadata.plans.get_plan(name).number}", by="ann", reason=reason)
        return self._world.operator().undeploy(order, name)


def _replace(world: World, environment: str) -> None:
    world.deployer.deploy(B, environment, "the second")


def _roll_back(world: World, environment: str) -> None:
    live = world.metadata.deployments.find_deployment(environment, "flights")
    assert live is not None
    world.deployer.roll_back(live, A, "back")


SCENARIOS: dict[str, tuple[list[BundleManifest], Callable[[World, str], object]]] = {
    "first": ([], lambda world, where: world.deployer.deploy(A, where, "the first")),
    "replace": ([A], _replace),
    "roll_back": ([A, B], _roll_back),
    "policy_alone": ([A], lambda world, where: world.deployer.deploy(A_WITH_POLICY, where, "another policy")),
    "no_rehearsal": ([A], lambda world, where: world.deployer.record(B, where, "a record")),
    "end": ([A, B], lambda world, where: world.deployer.remove(where, "its branch is gone")),
}


@contextmanager
def _opened(home: Path) -> Iterator[World]:
    with (
        closing(MetadataService(home / "metadata.db", clock=CLOCK)) as metadata,
        closing(PerEnvironment(lambda of: FeatureStore(home / "features" / str(of), clock=CLOCK))) as features,
    ):
        yield World(home, metadata, features, Serve(metadata))


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """What is installed is read once, and not at each of some hundred deployments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "installed_distributions", cache(lock.installed_distributions))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Gives the home in which a scenario begins, made once."""
    made: dict[tuple[str, str], Path] = {}

    def begin(scenario: str, environment: str) -> Path:
        if (scenario, environment) not in made:
            place = made[scenario, environment] = tmp_path_factory.mktemp(f"{scenario}-{environment}")
            with _opened(place) as world:
                for manifest in SCENARIOS[scenario][0]:
                    world.deployer.deploy(manifest, environment, "before")
        return made[scenario, environment]

    return begin


def _agree(world: World, environment: str) -> Deployment | None:
    """What is live is what is served, what is defined, and whose policy is in force; returns it."""
    metadata, model = world.metadata, "delay" if environment == "dev" else f"{environment}.delay"
    live = metadata.deployments.find_deployment(environment, "flights")
    served = metadata.plans.served_plans()
    assert set(served) == (set() if live is None else {model}), "and no rehearsal is left"
    policies = ModelPolicies(metadata.deployments, world.config.control, environment="dev")
    policies.refresh()
    assert policies.of(model).bundle == (None if live is None else live.bundle)
    assert Attempts(metadata.ledger).open() == []
    metadata.ledger.verify_ledger()
    if live is None:
        return None
    if live.version is not None:
        assert (served[model].champion, served[model].service) == (live.version, _service(metadata, model, live))
    assert metadata.ledger.entries(f"bundle:{live.bundle}")[-1].action in {"deploy_bundle", "approve_bundle"}
    return live


def _service(metadata: MetadataService, model: str, live: Deployment) -> str:
    assert live.version is not None
    return SERVICES[str(metadata.models.get_version(model, live.version).training_set)]


def _lacks(world: World, manifest: BundleManifest, environment: str = "dev") -> tuple[str, ...]:
    return world.features.of(environment).apply(*DEFINITIONS[manifest.files["code.py"][0]], dry_run=True).added


@contextmanager
def _begun(home: Path, place: Path) -> Iterator[World]:
    """The world of a scenario, in a place of its own."""
    shutil.copytree(home, place)
    with _opened(place) as world:
        yield world
    shutil.rmtree(place)


def _points(world: World, scenario: str, environment: str) -> int:
    """How many points the scenario passes where nobody is killed."""
    SCENARIOS[scenario][1](world, environment)
    _agree(world, environment)
    return world.death.passed


def _kill(world: World, scenario: str, environment: str, point: int) -> None:
    world.death = Death(point)
    with pytest.raises(SimulatedCrash):
        SCENARIOS[scenario][1](world, environment)


def _recovered(world: World, environment: str, begun: bool) -> str | None:
    """The bundle that is live after recovery, once it was held against all the rest."""
    live = _agree(world, environment)
    told = [entry.action for entry in world.metadata.ledger.entries(ATTEMPTS)]
    assert not begun or told[-1] == "end_deployment", "what became of it is in the ledger"
    if live is not None and live.version is not None and live.bundle in {A.digest, B.digest}:
        lacking = ("view miles@1", "service s@2")
        kept = {A.digest: ((), lacking), B.digest: ((),)}[live.bundle]
        assert _lacks(world, B, environment) in kept, (
            "what a bundle added that is not live is taken back, but for a rolled back one"
        )
    return None if live is None else live.bundle


@pytest.mark.parametrize("scenario", ["replace", "roll_back", "end"])
def test_a_deployment_that_is_killed_is_finished_or_undone(
    home: Callable[[str, str], Path], tmp_path: Path, scenario: str
) -> None:
    # at every other point: the slow tests leave out none
    _kill_everywhere(home(scenario, "dev"), tmp_path, scenario, "dev", together=False, every=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "environment"), [*((name, "dev") for name in SCENARIOS), ("replace", "feature"), ("end", "feature")]
)
def test_a_deployment_that_is_killed_with_the_operator_is_finished_or_undone(
    home: Callable[[str, str], Path], tmp_path: Path, scenario: str, environment: str
) -> None:
    _kill_everywhere(home(scenario, environment), tmp_path, scenario, environment, together=True)


def _kill_everywhere(
    home: Path, tmp_path: Path, scenario: str, environment: str, *, together: bool, every: int = 1
) -> None:
    with _begun(home, tmp_path / "whole") as world:
        world.together = together
        points = _points(world, scenario, environment)
    outcomes = set()
    for point in range(1, points + 1, every):
        with _begun(home, tmp_path / f"{point}") as world:
            world.together = together
            _kill(world, scenario, environment, point)
            begun = bool(Attempts(world.metadata.ledger).open())
            world.revive()
            live = _recovered(world, environment, begun)
            outcomes.add(live)
            if scenario == "end":
                assert world.features_of(environment).exists() == (live is not None), "features go with it"
            if scenario == "no_rehearsal" and live == B.digest:
                assert _lacks(world, B) == (), "what it defines is applied"
            if point in {points - 1, points}:
                world.deployer.deploy(C if environment == "dev" else B, environment, "the next")
                assert _agree(world, environment) is not None
    before = SCENARIOS[scenario][0]
    assert len(outcomes) == 2, "some kills undo it, and others finish it"
    assert (before[-1].digest if before else None) in outcomes


@pytest.mark.slow
def test_a_recovery_that_is_killed_is_recovered_from(home: Callable[[str, str], Path], tmp_path: Path) -> None:
    template = home("replace", "dev")
    with _begun(template, tmp_path / "whole") as world:
        points = _points(world, "replace", "dev")
    for point in range(1, points + 1):
        again = 0
        while True:
            again += 1
            with _begun(template, tmp_path / f"{point}-{again}") as world:
                _kill(world, "replace", "dev", point)
                begun = bool(Attempts(world.metadata.ledger).open())
                try:
                    world.revive(Death(again))
                except SimulatedCrash:
                    world.revive()
                    _recovered(world, "dev", begun)
                    continue
                _recovered(world, "dev", begun)
                break


def test_an_order_that_comes_after_recovery_changes_nothing(home: Callable[[str, str], Path], tmp_path: Path) -> None:
    with _begun(home("replace", "dev"), tmp_path / "late") as world:
        world.late = []
        with pytest.raises(SimulatedCrash):
            _replace(world, "dev")
        (order,) = world.late
        world.late = None
        world.revive()
        live, plan = _agree(world, "dev"), world.metadata.plans.get_plan("delay")
        assert live is not None
        assert live.bundle == A.digest
        order()
        assert (_agree(world, "dev"), world.metadata.plans.get_plan("delay")) == (live, plan)
        told = world.metadata.ledger.entries(f"bundle:{B.digest}")[-1]
        assert (told.action, "cut off before its model was in service" in told.reason) == ("refuse_bundle", True)


def test_a_model_that_does_not_come_up_is_undone_with_all_that_came_with_it(
    home: Callable[[str, str], Path], tmp_path: Path
) -> None:
    with _begun(home("first", "dev"), tmp_path / "refused") as world:
        world.serve.refuses = True
        with pytest.raises(UnavailableError, match="did not answer"):
            world.deployer.deploy(A, "dev", "the first")
        world.serve.refuses = False
        assert _agree(world, "dev") is None
        assert len(_lacks(world, A)) == len(DEFINITIONS["a"])
        assert world.metadata.ledger.entries(f"bundle:{A.digest}")[-1].action == "refuse_bundle"
        world.deployer.deploy(A, "dev", "the first")
        assert _agree(world, "dev") is not None


def test_an_answer_that_is_not_heard_makes_no_deployment_fail(home: Callable[[str, str], Path], tmp_path: Path) -> None:
    with _begun(home("roll_back", "dev"), tmp_path / "unheard") as world:
        world.answers = False
        _roll_back(world, "dev")
        live = _agree(world, "dev")
        assert live is not None
        assert live.bundle == A.digest


def test_what_changed_in_place_is_as_the_live_bundle_has_it(home: Callable[[str, str], Path], tmp_path: Path) -> None:
    with _begun(home("replace", "dev"), tmp_path / "changed") as world:
        world.late = []
        with pytest.raises(SimulatedCrash):
            world.deployer.deploy(C, "dev", "another owner")
        assert world.features.of("dev").apply(*DEFINITIONS["a"], dry_run=True).changed, "the owner is the new bundle's"
        world.late = None
        world.revive()
        assert not world.features.of("dev").apply(*DEFINITIONS["a"], dry_run=True).changed
        _agree(world, "dev")


def test_a_deployment_that_goes_on_is_left_alone(home: Callable[[str, str], Path], tmp_path: Path) -> None:
    with _begun(home("replace", "dev"), tmp_path / "held") as world:
        _kill(world, "replace", "dev", 5)
        with (world.home / "bundles" / ".dev.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            world.revive()
            assert Attempts(world.metadata.ledger).open("dev")
            with pytest.raises(ConflictError, match="another deployment is under way in 'dev'"):
                world.deployer.deploy(B, "dev", "too early")
        world.revive()
        _agree(world, "dev")


def test_the_end_of_an_environment_names_the_tables_that_go_and_may_come_where_nothing_is_live(tmp_path: Path) -> None:
    with _opened(tmp_path) as world:
        world.deployer.remove("feature", "its branch is gone")
        assert world.metadata.ledger.entries(ATTEMPTS) == [], "there was nothing"
        world.features.of("feature").apply(*DEFINITIONS["a"])
        world.deployer.remove("feature", "its branch is gone")
        begun, ended = world.metadata.ledger.entries(ATTEMPTS)
        assert (begun.evidence["tables"], ended.evidence["outcome"]) == (["loads"], "done")
        assert "its features are removed: tables loads" in ended.reason
        assert not world.features_of("feature").exists()


def test_what_is_refused_when_it_is_applied_is_not_live(home: Callable[[str, str], Path], tmp_path: Path) -> None:
    with _begun(home("no_rehearsal", "dev"), tmp_path / "refused") as world:
        other = FeatureView("miles", CAR, [Field("furlongs", "float64")], online=False)
        world.features.of("dev").apply(other)
        with pytest.raises(AlreadyRegistered, match="miles"):
            world.deployer.record(B, "dev", "another definition of that name is there")
        live = _agree(world, "dev")
        assert live is not None
        assert live.bundle == A.digest
        assert world.metadata.ledger.entries(f"bundle:{B.digest}")[-1].action == "refuse_bundle"


def test_definitions_and_rows_come_into_the_environment_of_the_deployment_alone(tmp_path: Path) -> None:
    with _opened(tmp_path) as world:
        world.deployer.deploy(A, "feature", "the first")
        assert world.filled == [("feature", "dev")], "as its rules say"
        assert _lacks(world, A, "feature") == ()
        assert len(_lacks(world, A)) == len(DEFINITIONS["a"]), "the platform's own has none of them"
        world.deployer.deploy(A, "dev", "there, too")
        assert world.filled == [("feature", "dev")]
        world.deployer.deploy(C, "feature", "another owner")
        assert not world.features.of("dev").apply(*DEFINITIONS["a"], dry_run=True).changed
        assert world.features.of("feature").apply(*DEFINITIONS["a"], dry_run=True).changed
