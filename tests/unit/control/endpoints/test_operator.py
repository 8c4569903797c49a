"""What people order is written down before it is done, done once, and finished by whoever comes after a crash."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from raymlops.clock import ManualClock
from raymlops.config.serving import PoolConfig, ServingConfig
from raymlops.control.endpoints.operator import EndpointOperator
from raymlops.control.endpoints.placing import is_pooled
from raymlops.control.endpoints.plan_records import intent_of
from raymlops.control.reconciling.reconcile import Wanted, wanted_of
from raymlops.errors import (
    DeploymentError,
    DeploymentNotFound,
    InvalidTransition,
    StaleWrite,
    SwapFailed,
    UnavailableError,
)
from raymlops.metadata import MetadataService
from raymlops.records.models import ModelState
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.serving.orders import Order
from raymlops.testing.metadata_examples import EPOCH, example_draft
from tests.support.control import SimulatedCrash

CONFIG = ServingConfig()
WRITES = {"append_entry", "put_plan", "set_alias", "set_state"}


class World:
    """Runs at once whatever a plan or an order asks for."""

    def __init__(self, metadata: MetadataService) -> None:
        self.metadata = metadata
        self.held: list[str] = []
        self.prepared: list[int] = []
        self.swapped: list[int] = []
        self.needs: list[float] = []
        self.awaited: list[tuple[str, int | None]] = []
        self.error: Exception | None = None
        self.prepare_error: Exception | None = None

    def is_up(self, name: str) -> bool:
        return name in {want.name for want in wanted_of(self.metadata.plans.served_plans().values(), CONFIG)}

    @contextmanager
    def hold(self, wanted: Wanted) -> Iterator[None]:
        self.held.append(wanted.name)
        yield

    def require_room(self, what: str, needs: list[float]) -> None:
        self.needs = needs
        if sum(needs) > 1.0:
            raise UnavailableError(f"{what} does not fit")

    def await_up(self, wanted: Wanted, plan: int | None = None) -> None:
        self.awaited.append((wanted.name, plan))
        if self.error is not None:
            raise self.error

    def wake(self) -> None:
        """Nothing sleeps here."""

    def prepare(self, plan: ServingPlan) -> None:
        if self.prepare_error is not None:
            raise self.prepare_error
        self.prepared.append(plan.number)

    def swap(self, plan: ServingPlan) -> float | None:
        self.swapped.append(plan.number)
        return 1.0


class Mortal:
    """The stores of an operator that dies before or after one of its writes."""

    def __init__(self, metadata: MetadataService, point: int) -> None:
        self._left = point
        self.models = _MortalStore(metadata.models, self.reach)
        self.plans = _MortalStore(metadata.plans, self.reach)
        self.ledger = _MortalStore(metadata.ledger, self.reach)

    def reach(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise SimulatedCrash


class _MortalStore:
    def __init__(self, store: object, reach: Callable[[], None]) -> None:
        self._store = store
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in WRITES:
            return method

        def write(*args: object, **kwargs: object) -> Any:
            self._reach()
            done = method(*args, **kwargs)
            self._reach()
            return done

        return write


@pytest.fixture(scope="module")
def three_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "metadata.db"
    service = MetadataService(path, clock=ManualClock(EPOCH))
    for key in "abc":
        service.models.register_version(example_draft(), key=key)
    service.close()
    return path


@pytest.fixture
def metadata(three_versions: Path, tmp_path: Path) -> Iterator[MetadataService]:
    shutil.copytree(three_versions.parent, tmp_path, dirs_exist_ok=True)
    service = MetadataService(tmp_path / "metadata.db", clock=ManualClock(EPOCH))
    yield service
    service.close()


@pytest.fixture
def world(metadata: MetadataService) -> World:
    return World(metadata)


def operator_of(world: World, metadata: Any = None) -> EndpointOperator:
    return EndpointOperator(CONFIG, metadata or world.metadata, ManualClock(EPOCH), world, world)


def order(request: str = "r", reason: str = "because") -> Order:
    return Order(request=request, by="ann", reason=reason)


ORDERS: dict[str, Callable[[EndpointOperator], object]] = {
    "deploy": lambda operator: operator.deploy(order(), "churn", 2),
    "start_trial": lambda operator: operator.start_trial(order(), "churn", Trial(version=3)),
    "promote": lambda operator: operator.promote(order(), "churn", 2),
    "roll_back": lambda operator: operator.rollback(order(), "churn"),
    "block_version": lambda operator: operator.block(order(), "churn", 1),
    "move_out": lambda operator: operator.move_out(order(), "churn"),
    "undeploy": lambda operator: operator.undeploy(order(), "churn"),
}


@pytest.mark.parametrize("action", ORDERS)
@pytest.mark.parametrize("point", range(1, 12))
def test_a_crash_leaves_nothing_or_a_reason_and_a_plan_that_is_finished(world: World, action: str, point: int) -> None:
    metadata = world.metadata
    healthy = operator_of(world)
    healthy.deploy(order("first", "earlier"), "churn", 1, pooled=action == "move_out")
    healthy.deploy(order("second", "earlier"), "churn", 3 if action != "start_trial" else 1)
    before = metadata.plans.get_plan("churn")
    try:
        ORDERS[action](operator_of(world, Mortal(metadata, point)))
    except SimulatedCrash:
        operator_of(world).catch_up()
    plan = metadata.plans.get_plan("churn")
    entries = [
        entry for entry in metadata.ledger.entries("churn") if entry.action == action and entry.reason == "because"
    ]
    assert (plan.number - before.number, len(entries)) in {(0, 0), (1, 1)}
    if entries:
        assert (intent_of(entries[0]), plan.reason) == (plan, "because")
    wanted = {} if not plan.served else {"champion": plan.champion}
    assert metadata.models.aliases("churn") == wanted | ({"backup": plan.backup} if plan.backup else {})
    # whoever did not hear of the end gives the order again: it is done, and once
    ORDERS[action](operator_of(world))
    assert metadata.plans.get_plan("churn").number == before.number + 1
    assert (
        [entry for entry in metadata.ledger.entries("churn") if entry.key == entries[0].key] == entries
        if entries
        else True
    )


def test_a_first_deploy_that_does_not_come_up_leaves_nothing_planned(world: World) -> None:
    world.error = UnavailableError("model-churn did not answer within 120 s")
    with pytest.raises(UnavailableError, match="did not answer"):
        operator_of(world).deploy(order(), "churn", 1)
    assert world.metadata.plans.served_plans() == {}
    assert world.metadata.models.aliases("churn") == {}
    actions = [(entry.action, entry.reason) for entry in world.metadata.ledger.entries("churn")]
    assert actions == [
        ("deploy", "because"),
        ("take_back", "plan 1 is taken back: model-churn did not answer within 120 s"),
    ]


def test_more_replicas_that_do_not_come_up_are_taken_back_to_what_was(world: World) -> None:
    operator = operator_of(world)
    operator.deploy(order("1"), "churn", 1)
    world.error = DeploymentError("no")
    with pytest.raises(DeploymentError):
        operator.deploy(order("2"), "churn", 2, replicas=3)
    plan = world.metadata.plans.get_plan("churn")
    assert (plan.number, plan.champion, plan.replicas, plan.served) == (3, 1, 1, True)


def test_what_does_not_fit_or_load_is_refused_before_anything_is_written(world: World) -> None:
    operator = operator_of(world)
    with pytest.raises(UnavailableError, match="plan 1 of churn does not fit"):
        operator.deploy(order("1"), "churn", 1, replicas=5)
    assert world.metadata.ledger.entries() == []
    operator.deploy(order("2"), "churn", 1)
    assert world.needs == [0.25]
    told = world.metadata.ledger.entries()
    world.prepare_error = SwapFailed("it does not load")
    with pytest.raises(SwapFailed):
        operator.promote(order("3"), "churn", 2)
    world.error = DeploymentError("it does not start")
    with pytest.raises(DeploymentError):
        operator.start_trial(order("4"), "churn", Trial(version=2))
    assert world.held == ["candidate-churn-2"]
    assert (world.metadata.ledger.entries(), world.metadata.plans.get_plan("churn").number) == (told, 1)


def test_an_abort_ends_a_trial_and_nothing_else(world: World) -> None:
    operator = operator_of(world)
    operator.deploy(order("first"), "churn", 1)
    operator.deploy(order("second"), "churn", 2)
    with pytest.raises(InvalidTransition, match="no version of churn is on trial"):
        operator.rollback(order("third"), "churn", trial_only=True)
    assert world.metadata.plans.get_plan("churn").champion == 2
    operator.start_trial(order("fourth"), "churn", Trial(version=3))
    ended = operator.rollback(order("fifth", "it smells"), "churn", trial_only=True)
    assert (ended.champion, ended.trial) == (2, None)
    said = [entry for entry in world.metadata.ledger.entries("churn") if entry.action == "roll_back"]
    assert [(entry.reason, entry.evidence["by"]) for entry in said] == [("it smells", "ann")]


def test_an_undeployed_model_keeps_its_history_and_is_deployed_again(world: World) -> None:
    operator, metadata = operator_of(world), world.metadata
    operator.deploy(order("1"), "churn", 1)
    operator.promote(order("2"), "churn", 2)
    gone = operator.undeploy(order("3"), "churn")
    assert (gone.served, gone.champion, gone.versions) == (False, 2, frozenset())
    assert metadata.models.aliases("churn") == {}
    assert {version.state for version in metadata.models.list_versions("churn")} == {
        ModelState.ARCHIVED,
        ModelState.CANDIDATE,
    }
    for refused in ("promote", "roll_back", "start_trial", "undeploy"):
        with pytest.raises(DeploymentNotFound, match="'churn' is not deployed"):
            ORDERS[refused](operator)
    again = operator.deploy(order("4"), "churn", 2)
    assert (again.number, again.backup, again.served) == (4, None, True)
    assert [plan.number for plan in metadata.plans.list_plans("churn")] == [1, 2, 3, 4]


def test_a_retired_version_is_never_served_again(world: World) -> None:
    operator, metadata = operator_of(world), world.metadata
    operator.deploy(order("1"), "churn", 1)
    with pytest.raises(InvalidTransition, match="version 1 of churn is in service by plan 1"):
        operator.retire(order("2"), "churn", 1)
    operator.retire(order("3"), "churn", 2)
    assert metadata.models.get_version("churn", 2).state is ModelState.RETIRED
    for refused in ("promote", "deploy"):
        with pytest.raises(InvalidTransition, match="version 2 of 'churn' cannot be promoted: it was retired"):
            ORDERS[refused](operator)
    assert [entry.action for entry in metadata.ledger.entries("churn")] == ["deploy", "retire"]


def test_a_retirement_that_was_written_down_is_done(world: World) -> None:
    with pytest.raises(SimulatedCrash):
        operator_of(world, Mortal(world.metadata, 2)).retire(order(), "churn", 2)
    assert world.metadata.models.get_version("churn", 2).state is ModelState.CANDIDATE
    operator_of(world).catch_up()
    assert world.metadata.models.get_version("churn", 2).state is ModelState.RETIRED


def test_a_swap_is_told_once_and_prepared_before(world: World) -> None:
    operator = operator_of(world)
    operator.deploy(order("1"), "churn", 1)
    plan = operator.promote(order("2"), "churn", 2)
    assert (world.prepared, world.swapped) == ([2], [2])
    operator.carry_out(plan)
    assert [entry.action for entry in world.metadata.ledger.entries("churn")] == ["deploy", "promote", "swap"]


def test_only_one_change_of_a_model_is_under_way_and_whoever_waits_is_told(world: World) -> None:
    config = CONFIG.model_copy(update={"deploy_timeout": CONFIG.breaker.probe_after / 20})
    operator = EndpointOperator(config, world.metadata, ManualClock(EPOCH), world, world)
    with operator._turn("churn"), pytest.raises(UnavailableError, match="another change of churn has been under way"):
        operator.deploy(order(), "churn", 1)
    operator.deploy(order(), "churn", 1)


def test_a_model_that_cannot_be_settled_holds_up_no_other(world: World) -> None:
    for model in ("aaa", "churn"):
        world.metadata.plans.put_plan(ServingPlan(model=model, number=1, champion=1, created_at=EPOCH))
    operator_of(world).catch_up()  # of the first, no version is registered
    assert (world.metadata.models.aliases("aaa"), world.metadata.models.aliases("churn")) == ({}, {"champion": 1})


def test_of_two_who_decided_by_the_same_plan_one_wins(world: World) -> None:
    operator = operator_of(world)
    operator.deploy(order("1", "earlier"), "churn", 1)
    first = order("2", "it is better").model_copy(update={"expected_plan": 1})
    second = order("3", "no, that one").model_copy(update={"expected_plan": 1})
    promoted = operator.promote(first, "churn", 2)
    with pytest.raises(StaleWrite, match="must still be 1, got 2: it is better"):
        operator.promote(second, "churn", 3)
    with pytest.raises(StaleWrite):
        operator.retire(second, "churn", 3)
    assert operator.promote(first, "churn", 2) == promoted, "the same order, given again, is no other one"
    assert world.metadata.plans.get_plan("churn") == promoted
    with pytest.raises(StaleWrite, match="must still be 0, got 2"):
        operator.deploy(order("4").model_copy(update={"expected_plan": 0}), "churn", 1)


class Looking:
    """Gives an operator orders that are to be looked at alone."""

    def __init__(self, operator: EndpointOperator) -> None:
        self._operator = operator

    def __getattr__(self, action: str) -> Any:
        def look(given: Order, *arguments: object) -> Any:
            return getattr(self._operator, action)(given.model_copy(update={"dry_run": True}), *arguments)

        return look


@pytest.mark.parametrize("action", ORDERS)
def test_an_order_can_be_looked_at_before_it_is_given(world: World, action: str) -> None:
    operator = operator_of(world)
    operator.deploy(order("first", "earlier"), "churn", 1)
    operator.deploy(order("second", "earlier"), "churn", 3 if action != "start_trial" else 1)
    before, told = world.metadata.plans.list_plans("churn"), world.metadata.ledger.entries()
    looked = ORDERS[action](cast("EndpointOperator", Looking(operator)))
    assert (world.metadata.plans.list_plans("churn"), world.metadata.ledger.entries()) == (before, told)
    assert ORDERS[action](operator) == looked


def test_a_pooled_model_is_prepared_by_the_pool_and_needs_no_room_of_its_own(world: World) -> None:
    operator = operator_of(world)
    operator.deploy(order("first"), "churn", 1, pooled=True)
    assert (world.needs, world.prepared, world.awaited) == ([0.25], [], [("pool-models", 1)])
    plan = operator.deploy(order("second"), "churn", 2)
    assert (plan.pooled, world.needs, world.prepared, world.swapped) == (True, [], [2], [2])
    world.metadata.models.register_version(example_draft(name="other"), key="other")
    operator.deploy(order("third"), "other", 1, pooled=True)
    assert (world.needs, world.prepared, world.awaited[-1]) == ([], [2, 1], ("pool-models", 1))
    operator.undeploy(order("fourth"), "other")
    operator.deploy(order("fifth"), "other", 1, pooled=True)
    assert world.awaited[-1] == ("pool-models", 3)  # it may have been about to end with its last model


def test_a_model_that_moves_is_answered_where_it_was_until_it_is_answered_where_it_goes(world: World) -> None:
    operator = operator_of(world)
    operator.deploy(order("first"), "churn", 1, pooled=True)
    plan = operator.move_out(order("second", "it is slow"), "churn")
    assert (plan.pooled, plan.champion, plan.reason, world.needs) == (False, 1, "it is slow", [0.25])
    assert (world.held, world.awaited[-1]) == (["pool-models"], ("model-churn", 2))
    assert operator.move_out(order("third"), "churn") == plan  # it is out already
    back = operator.deploy(order("fourth"), "churn", 1, pooled=True)
    assert (back.pooled, world.held[-1], world.awaited[-1]) == (True, "model-churn", ("pool-models", 3))


def test_small_models_are_pooled_where_that_is_configured(world: World, tmp_path: Path) -> None:
    small = CONFIG.model_copy(update={"pool": PoolConfig(below_bytes=1000)})
    operator = EndpointOperator(small, world.metadata, ManualClock(EPOCH), world, world)
    version = world.metadata.models.get_version("churn", 1)
    assert not is_pooled(None, version, None, small)  # its files are not on this node
    held = version.model_copy(update={"path": str(tmp_path)})
    for size, pooled in ((999, True), (1000, False)):
        for name in version.manifest.files:
            (tmp_path / name).write_bytes(b"x" * (size // len(version.manifest.files)))
        (tmp_path / next(iter(version.manifest.files))).write_bytes(
            b"x" * (size - (len(version.manifest.files) - 1) * (size // len(version.manifest.files)))
        )
        assert is_pooled(None, held, None, small) is pooled
    assert not is_pooled(None, held, None, CONFIG)
    assert is_pooled(True, held, None, CONFIG)
    served = operator.deploy(order("first"), "churn", 1, pooled=True)
    assert is_pooled(None, held, served, CONFIG)  # as it is served now


def test_a_plan_has_the_environment_of_its_champion(world: World) -> None:
    """Features are joined from where the version that answers was trained."""
    for environment in (None, "dev"):
        draft = example_draft("dev.churn").model_copy(update={"environment": environment})
        world.metadata.models.register_version(draft, key=str(environment))
    operator = operator_of(world)
    assert operator.deploy(order("1"), "dev.churn", 1, "s@1").environment is None
    assert operator.promote(order("2"), "dev.churn", 2).environment == "dev"
    back = operator.rollback(order("3"), "dev.churn")
    assert (back.champion, back.environment) == (1, None)
    assert world.metadata.plans.get_plan("dev.churn") == back
    decided = back.model_copy(update={"number": 4, "champion": 2, "backup": 1})  # as the controller makes it
    assert operator.carry_out(decided).environment == "dev"
    assert operator.carry_out(decided).number == 4, "given again, it is the same plan"
