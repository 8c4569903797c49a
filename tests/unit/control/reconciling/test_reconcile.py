"""The laws of the reconciler's core: it converges, rests, and touches nothing of others."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.config.serving import ServingConfig
from raymlops.control.reconciling.reconcile import (
    POOL_NAME,
    Observed,
    Phase,
    Remove,
    Retries,
    Start,
    Wanted,
    cpus_needed,
    diff,
    free_after,
    is_ours,
    pool_to_keep,
    status_of,
    to_move_out,
    wanted_candidate,
    wanted_of,
)
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.serving.endpoints import Hosting
from raymlops.testing.control_examples import START

SERVING = ServingConfig()
MODELS = ["a", "b", "churn"]


def plan_of(model: str, number: int = 3, **changes: object) -> ServingPlan:
    plan = ServingPlan(model=model, number=number, champion=2, created_at=START)
    return plan.model_copy(update=changes)


def up(want: Wanted, plan: int = 3, **changes: object) -> Observed:
    kind = "ModelReplica" if want.trial is None else "CandidateReplica"
    if want.pooled:
        hosted = {want.model: (Hosting(plan),) * want.replicas}
        pool = Observed(want.name, Phase.RUNNING, ("PoolReplica",), want.shape, want.replicas, hosted=hosted)
        return replace(pool, **changes)  # type: ignore[arg-type]
    plans = (plan if want.trial is None else want.trial.version,) * want.replicas
    found = Observed(want.name, Phase.RUNNING, (kind,), want.shape, want.replicas, plans=plans)
    return replace(found, **changes)  # type: ignore[arg-type]


trials = st.none() | st.builds(
    Trial,
    version=st.integers(3, 5),
    cpus=st.none() | st.sampled_from([0.1, 0.5]),
    memory_bytes=st.none() | st.just(1 << 28),
)
plans = st.lists(
    st.builds(
        plan_of,
        st.sampled_from(MODELS),
        replicas=st.integers(1, 3),
        trial=trials,
        served=st.booleans(),
        pooled=st.booleans(),
    ),
    unique_by=lambda plan: plan.model,
)
names = st.sampled_from(
    ["model-a", "model-b", "model-gone", "candidate-a-3", "candidate-b-9", "pool-models", "gateway", "model", "x"]
)
kinds = st.sampled_from(
    [(), ("ModelReplica",), ("CandidateReplica",), ("Theirs",), ("ModelReplica", "Theirs"), ("PoolReplica",)]
)
observations = st.lists(
    st.builds(
        Observed,
        names,
        st.sampled_from(Phase),
        kinds,
        st.none() | st.sampled_from(["1x0.25", "2x0.25", "1x0.1/1"]),
        age_s=st.sampled_from([0.0, 1000.0]),
    ),
    unique_by=lambda one: one.name,
)


def after(actions: list[Start | Remove], world: list[Observed], rng: random.Random) -> list[Observed]:
    """What Serve makes of it in some time: what starts is up, or fails, or is still starting; what goes is gone."""
    found = {one.name: one for one in world if one.phase is not Phase.REMOVING}
    for action in actions:
        if isinstance(action, Remove):
            if rng.random() < 0.5:
                found[action.name] = replace(found[action.name], phase=Phase.REMOVING)
            else:
                del found[action.name]
            continue
        phase = rng.choice([Phase.RUNNING, Phase.STARTING, Phase.FAILED])
        found[action.name] = up(action.wanted, phase=phase)
    return [
        replace(one, phase=Phase.RUNNING) if one.phase is Phase.STARTING and rng.random() < 0.5 else one
        for one in found.values()
    ]


@given(plans, observations, st.integers())
def test_what_is_planned_comes_up_and_what_is_not_goes(
    desired: list[ServingPlan], world: list[Observed], seed: int
) -> None:
    rng = random.Random(seed)
    wanted = wanted_of(desired, SERVING)
    for _ in range(60):
        actions = diff(wanted, world)
        if not actions and all(one.phase in {Phase.RUNNING, Phase.UNHEALTHY} for one in world if is_ours(one)):
            break
        world = after(actions, world, rng)
    assert diff(wanted, world) == []
    left = {one.name: one for one in world}
    foreign = {one.name for one in world if one.deployments and not is_ours(one)}
    assert {one.name for one in wanted} <= set(left)
    assert {one.name for one in world if is_ours(one)} <= {one.name for one in wanted}
    for want in wanted:
        if want.name not in foreign:
            assert left[want.name].shape in {want.shape, None}


@given(plans, observations)
def test_only_ours_is_touched_and_each_at_most_once(desired: list[ServingPlan], world: list[Observed]) -> None:
    actions = diff(wanted_of(desired, SERVING), world)
    assert len({action.name for action in actions}) == len(actions)
    of_others = {one.name for one in world if one.deployments and not is_ours(one)}
    assert not of_others & {action.name for action in actions}
    removed = {action.name for action in actions if isinstance(action, Remove)}
    assert all(name.startswith(("model-", "candidate-", "pool-")) for name in removed)


@given(plans, observations, st.randoms(use_true_random=False))
def test_the_order_of_what_is_seen_and_wanted_says_nothing(
    desired: list[ServingPlan], world: list[Observed], rng: random.Random
) -> None:
    wanted = wanted_of(desired, SERVING)
    actions = diff(wanted, world)
    assert diff(rng.sample(wanted, len(wanted)), rng.sample(world, len(world))) == actions
    assert diff(wanted, world) == actions


def test_one_that_starts_for_ever_is_started_anew_and_one_that_just_began_is_left_alone() -> None:
    (want,) = wanted_of([plan_of("a")], SERVING)
    assert diff([want], [up(want, phase=Phase.STARTING, age_s=119.0)], 120.0) == []
    assert diff([want], [up(want, phase=Phase.STARTING, age_s=121.0)], 120.0) == [Start(want)]
    asked_for = Observed(want.name, Phase.STARTING)
    assert diff([want], [asked_for]) == []
    assert diff([], [asked_for]) == []  # nobody can tell yet whose it is


def test_a_candidate_with_other_resources_is_another_process() -> None:
    first, second = (wanted_candidate("a", Trial(version=3, memory_bytes=size), SERVING) for size in (1 << 28, 1 << 29))
    assert diff([second], [up(first)]) == [Start(second)]
    assert diff([first], [up(first)]) == []


@pytest.mark.parametrize(
    ("changes", "answers", "reason"),
    [
        ({}, True, None),
        ({"plans": (2,)}, True, "1 of 1 replicas serve plan 2"),
        ({"plans": ()}, False, "no replica answers"),
        ({"phase": Phase.STARTING, "age_s": 4.2, "plans": ()}, False, "its endpoint has been starting for 4 s"),
        ({"phase": Phase.FAILED, "message": "boom", "plans": ()}, False, "its endpoint does not start: boom"),
        ({"reply": "503: no"}, False, "its replicas answer, callers do not reach them: 503: no"),
        ({"deployments": ("Theirs",)}, False, "another application has the name model-a"),
    ],
)
def test_a_status_says_what_answers_and_why_it_is_not_what_is_planned(
    changes: dict[str, object], answers: bool, reason: str | None
) -> None:
    plan = plan_of("a")
    wanted = wanted_of([plan], SERVING)
    status = status_of(plan, wanted, [up(wanted[0], **changes)], None, 1.0)
    told = None if reason is None else f"plan 3 (version 2) is planned; {reason}"
    assert (status.answers, status.reason, status.as_planned) == (answers, told, reason is None)


def test_what_does_not_fit_and_what_a_trial_lacks_is_told() -> None:
    plan = plan_of("a", replicas=2, trial=Trial(version=3))
    wanted = wanted_of([plan], SERVING)
    missing = status_of(plan, wanted, [], "needs 0.25 CPU, 0 are free", 1.0)
    assert missing.reason == (
        "plan 3 (version 2) is planned; its endpoint is not started: needs 0.25 CPU, 0 are free; "
        "trial: the process of version 3 is not started: needs 0.25 CPU, 0 are free"
    )
    half = status_of(plan, wanted, [up(wanted[0], plans=(3,)), up(wanted[1])], None, 1.0)
    assert (half.answers, half.answering, half.replicas) == (True, 1, 2)
    assert half.reason == "plan 3 (version 2) is planned; 1 of 2 replicas answer"
    silent = status_of(plan, wanted, [up(wanted[0]), up(wanted[1], plans=())], None, 1.0)
    assert silent.reason == "plan 3 (version 2) is planned; trial: version 3 does not answer"


def test_a_process_lies_on_one_node() -> None:
    assert free_after({"n": 0.5, "m": 0.25}, [0.25, 0.5]) == {"n": 0.0, "m": 0.0}
    assert free_after({"n": 0.2, "m": 0.2}, [0.3]) is None
    assert free_after({}, []) == {}


def test_who_was_acted_on_waits_longer_each_time_until_it_is_as_wanted() -> None:
    retries, now, waits = Retries(), 0.0, []
    for _ in range(8):
        assert retries.may("a", now)
        retries.acted("a", now)
        began = now
        while not retries.may("a", now):
            now += 1.0
        waits.append(now - began)
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert retries.may("other", 0.0)
    retries.settle(["a"])
    retries.acted("a", now)
    assert not retries.may("a", now)
    retries.settle([])
    assert retries.may("a", now)


def test_the_pool_is_one_application_for_all_pooled_models_and_ends_with_the_last() -> None:
    pooled = [plan_of("a", pooled=True), plan_of("b", pooled=True, trial=Trial(version=4)), plan_of("own")]
    names = [want.name for want in wanted_of(pooled, SERVING)]
    assert names == [POOL_NAME, "candidate-b-4", "model-own"]
    first, second = (wanted_of([plan], SERVING)[0] for plan in pooled[:2])
    assert first.shape == second.shape
    assert diff([first], [up(second)]) == []
    assert diff([], [up(first)]) == [Remove(POOL_NAME)]
    assert cpus_needed(pooled[1], pooled[1], SERVING) == []
    assert cpus_needed(pooled[0], None, SERVING) == [0.25]
    assert cpus_needed(pooled[0], None, SERVING, pool_runs=True) == []


@pytest.mark.parametrize(
    ("told", "answers", "reason"),
    [
        ({"a": (Hosting(3),)}, True, None),
        ({"a": (Hosting(2),)}, True, "1 of 1 replicas serve plan 2"),
        ({"b": (Hosting(3),)}, False, "the pool has not heard of it yet"),
        ({}, False, "no replica answers"),
        (
            {"a": (Hosting(0, "its files are altered"),), "b": (Hosting(3),)},
            False,
            "1 of 1 replicas of the pool cannot answer for it: its files are altered",
        ),
    ],
)
def test_a_status_of_a_pooled_model_says_how_it_stands_in_the_pool(
    told: dict[str, tuple[Hosting, ...]], answers: bool, reason: str | None
) -> None:
    plan = plan_of("a", pooled=True)
    wanted = wanted_of([plan], SERVING)
    status = status_of(plan, wanted, [up(wanted[0], hosted=told)], None, 1.0)
    said = None if reason is None else f"plan 3 (version 2) is planned; {reason}"
    assert (status.answers, status.reason, status.replicas) == (answers, said, 1)


def test_a_pool_that_nobody_is_planned_for_is_kept_while_it_alone_can_answer_for_a_model_that_left_it() -> None:
    left = plan_of("a")
    plans = {"a": left}
    (own,) = wanted_of([left], SERVING)
    (pool,) = wanted_of([plan_of("a", pooled=True)], SERVING)
    answers = up(pool, hosted={"a": (Hosting(3, None, "it is to have an application of its own"),)})
    assert pool_to_keep(plans, [answers], SERVING) == pool
    assert pool_to_keep(plans, [answers, up(own, phase=Phase.STARTING, running=0)], SERVING) == pool
    assert pool_to_keep(plans, [answers, up(own)], SERVING) is None
    assert pool_to_keep({}, [answers], SERVING) is None  # undeployed meanwhile
    assert pool_to_keep({"a": plan_of("a", pooled=True)}, [answers], SERVING) is None  # it is wanted anyhow
    assert pool_to_keep(plans, [up(pool, hosted={"a": (Hosting(0, "it is suspected"),)})], SERVING) is None
    assert pool_to_keep(plans, [up(pool, hosted={})], SERVING) is None
    assert pool_to_keep(plans, [], SERVING) is None


def test_only_a_pooled_model_is_moved_out() -> None:
    plans = {"a": plan_of("a", pooled=True), "b": plan_of("b", pooled=True), "moved": plan_of("moved")}
    told = {
        "a": (Hosting(3), Hosting(3, None, "it is slow")),
        "b": (Hosting(3),),
        "moved": (Hosting(3, None, "it is slow"),),
        "gone": (Hosting(3, None, "it is slow"),),
    }
    (pool,) = wanted_of([plans["a"]], SERVING)
    assert to_move_out(plans, [up(pool, hosted=told)]) == {"a": "it is slow"}
    assert to_move_out(plans, []) == {}
