"""The reconciler's turns over a cluster in memory: one stuck object stops no other, and whoever waits is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from raymlops.config.serving import ServingConfig
from raymlops.control.reconciling.reconcile import (
    POOL_NAME,
    Observed,
    Phase,
    Remove,
    Start,
    Wanted,
    wanted_candidate,
    wanted_of,
)
from raymlops.control.reconciling.reconciler import Reconciler
from raymlops.errors import DeploymentError, UnavailableError
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.serving.endpoints import Hosting
from raymlops.testing.control_examples import START

CONFIG = ServingConfig(deploy_timeout=timedelta(seconds=20))
DEADLINE_S = 20.0


def plan_of(model: str, number: int = 1, **changes: object) -> ServingPlan:
    plan = ServingPlan(model=model, number=number, champion=1, created_at=START)
    return plan.model_copy(update=changes)


class World:
    """Plans, and what a cluster makes of what it is asked for."""

    def __init__(self, *plans: ServingPlan) -> None:
        self.plans = {plan.model: plan for plan in plans}
        self.seen: dict[str, Observed] | None = {}
        self.free = {"node": 1.0}
        self.started: list[str] = []
        self.hang = threading.Event()
        self.hanging: set[str] = set()
        self.failing: set[str] = set()
        self.on_start: Callable[[Wanted], Observed] = up

    def served_plans(self) -> Mapping[str, ServingPlan]:
        return dict(self.plans)

    def look(self) -> Sequence[Observed] | None:
        return None if self.seen is None else list(self.seen.values())

    def start(self, wanted: Wanted) -> None:
        self.started.append(wanted.name)
        if wanted.name in self.hanging:
            assert self.hang.wait(DEADLINE_S)
        if wanted.name in self.failing:
            raise RuntimeError("Serve says no")
        assert self.seen is not None
        self.seen[wanted.name] = self.on_start(wanted)

    def remove(self, name: str) -> None:
        assert self.seen is not None
        del self.seen[name]

    def free_cpus(self) -> Mapping[str, float]:
        return self.free

    def holders(self) -> str:
        return "0 of 2 are free; held by others: 2"


def up(want: Wanted) -> Observed:
    kind = "ModelReplica" if want.trial is None else "CandidateReplica"
    number = 1 if want.trial is None else want.trial.version
    return Observed(want.name, Phase.RUNNING, (kind,), want.shape, want.replicas, plans=(number,) * want.replicas)


def until(true: Callable[[], bool], turn: Callable[[], object]) -> None:
    """Take turns until something is so; actions end in threads of their own."""
    done = threading.Event()
    for _ in range(int(DEADLINE_S / 0.01)):
        turn()
        if true():
            return
        done.wait(0.01)
    raise AssertionError(f"not so after {DEADLINE_S:g} s")


@contextmanager
def running(reconciler: Reconciler) -> Iterator[None]:
    """Turns are taken in a thread, as in the actor; the process does not wait for it."""
    threading.Thread(target=reconciler.run, daemon=True).start()
    yield


def test_everything_planned_comes_up_at_once_and_what_nobody_plans_goes() -> None:
    world = World(*(plan_of(f"m{number}") for number in range(4)))
    world.seen = {"model-old": Observed("model-old", Phase.RUNNING, ("ModelReplica",), running=1)}
    world.seen["theirs"] = Observed("theirs", Phase.RUNNING, ("Theirs",), running=1)
    reconciler = Reconciler(world, world, CONFIG)
    actions = reconciler.turn()
    assert [action.name for action in actions] == ["model-m0", "model-m1", "model-m2", "model-m3", "model-old"]
    assert {type(action) for action in actions} == {Start, Remove}
    until(lambda: all(status.as_planned for status in reconciler.statuses()), reconciler.turn)
    assert set(world.seen) == {"theirs", "model-m0", "model-m1", "model-m2", "model-m3"}
    assert reconciler.turn() == []


def test_one_that_hangs_and_one_that_fails_stop_no_other() -> None:
    world = World(plan_of("a"), plan_of("b"), plan_of("c"))
    world.hanging, world.failing = {"model-a"}, {"model-b"}
    reconciler = Reconciler(world, world, CONFIG)
    until(lambda: {one.model for one in reconciler.statuses() if one.answers} == {"c"}, reconciler.turn)
    until(lambda: "RuntimeError: Serve says no" in (reconciler.statuses()[1].reason or ""), reconciler.turn)
    assert world.started.count("model-a") == 1  # as long as that one call has not come back, no other is made
    world.hang.set()
    until(lambda: {one.model for one in reconciler.statuses() if one.answers} == {"a", "c"}, reconciler.turn)


def test_what_fails_is_tried_again_later_and_later() -> None:
    now = [0.0]
    world = World(plan_of("a"))
    world.failing = {"model-a"}
    reconciler = Reconciler(world, world, CONFIG, lambda: now[0])
    for _ in range(100):
        began = reconciler.turn()
        until(lambda: not reconciler._acting, lambda: None)
        now[0] += 1.0 if not began else 0.0
    assert 4 <= len(world.started) <= 8


def test_without_serve_nothing_is_done_and_that_is_said() -> None:
    world = World(plan_of("a"))
    world.seen = None
    reconciler = Reconciler(world, world, CONFIG)
    assert reconciler.turn() == []
    (status,) = reconciler.statuses()
    assert (status.answers, status.reason) == (
        False,
        "plan 1 (version 1) is planned; its endpoint is not started: Serve does not run yet",
    )


def test_what_does_not_fit_is_not_started_and_says_who_holds_what_it_needs() -> None:
    world = World(plan_of("a"), plan_of("b"))
    world.free = {"n1": 0.25, "n2": 0.2}
    reconciler = Reconciler(world, world, CONFIG)
    assert [action.name for action in reconciler.turn()] == ["model-a"]
    until(lambda: "model-a" in (world.seen or {}), lambda: None)
    world.free = {"n1": 0.0, "n2": 0.2}
    reconciler.turn()
    assert reconciler.statuses()[1].reason == (
        "plan 1 (version 1) is planned; its endpoint is not started: "
        "it needs 0.25 CPU, 0 of 2 are free; held by others: 2"
    )
    world.free = {"n1": 0.0, "n2": 0.45}
    until(lambda: all(status.as_planned for status in reconciler.statuses()), reconciler.turn)


def test_room_is_refused_with_what_is_needed_and_counts_what_is_still_to_come() -> None:
    now = iter(float(second) for second in range(10_000))
    world = World(plan_of("coming", replicas=2))
    world.free = {"n": 0.75}
    world.hanging = {"model-coming"}
    reconciler = Reconciler(world, world, CONFIG, lambda: next(now))
    with running(reconciler):
        reconciler.require_room("plan 1 of b", [0.25])
        with pytest.raises(UnavailableError, match=r"plan 1 of b does not fit: it needs 2 times 0\.25 CPU, 0 of 2 are"):
            reconciler.require_room("plan 1 of b", [0.25, 0.25])
    world.hang.set()


def test_who_waits_for_an_application_is_told_when_it_answers_or_why_it_does_not() -> None:
    world = World(plan_of("good"), plan_of("bad"))
    world.on_start = lambda want: (
        up(want) if want.model == "good" else replace(up(want), phase=Phase.FAILED, message="no such file", plans=())
    )
    reconciler = Reconciler(world, world, CONFIG)
    good, bad = wanted_of(world.plans.values(), CONFIG)
    with running(reconciler):
        reconciler.await_up(good, 1)
        assert reconciler.is_up("model-good")
        with pytest.raises(DeploymentError, match="model-bad did not come up: no such file"):
            reconciler.await_up(bad, 1)


def test_a_candidate_is_held_until_a_plan_names_it_or_nobody_wants_it() -> None:
    world = World(plan_of("a"))
    reconciler = Reconciler(world, world, CONFIG)
    wanted = wanted_candidate("a", Trial(version=2), CONFIG)
    with running(reconciler):
        with reconciler.hold(wanted):
            reconciler.await_up(wanted)
            world.plans["a"] = plan_of("a", 1, trial=Trial(version=2))
        reconciler.await_up(wanted)
        world.plans["a"] = plan_of("a", 1)
        until(lambda: "candidate-a-2" not in (world.seen or {}), reconciler.wake)


def test_who_waits_while_everything_is_stopped_is_told_and_nothing_is_started_any_more() -> None:
    world = World(plan_of("a"))
    world.on_start = lambda want: replace(up(want), phase=Phase.STARTING, running=0, plans=())
    reconciler = Reconciler(world, world, CONFIG)
    turns = threading.Thread(target=reconciler.run, daemon=True)
    turns.start()
    (want,) = wanted_of([plan_of("a")], CONFIG)
    until(lambda: world.started == ["model-a"], lambda: None)
    stop = threading.Timer(0.05, reconciler.rest)
    stop.start()
    with pytest.raises(UnavailableError, match="the platform is being stopped"):
        reconciler.await_up(want)
    turns.join(DEADLINE_S)
    assert not turns.is_alive()
    with pytest.raises(UnavailableError, match="the platform is being stopped"):
        reconciler.await_up(want)


def test_the_last_model_that_leaves_the_pool_is_answered_by_it_until_its_own_application_is_up() -> None:
    world = World(plan_of("a", 2))
    hosted = {"a": (Hosting(2, None, "it is to have an application of its own"),)}
    world.seen = {POOL_NAME: Observed(POOL_NAME, Phase.RUNNING, ("PoolReplica",), running=1, hosted=hosted)}
    world.free = {"node": 0.0}
    reconciler = Reconciler(world, world, CONFIG)
    assert reconciler.turn() == []  # its own application does not fit, and the pool goes on
    (own,) = wanted_of([plan_of("a", 2)], CONFIG)
    world.seen[own.name] = up(own)
    assert reconciler.turn() == [Remove(POOL_NAME)]
