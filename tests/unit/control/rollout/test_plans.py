from __future__ import annotations

from datetime import datetime

import pytest

from raymlops.control.rollout.decisions import PlanDecision, Promote, Ramp, RollBack, StartTrial
from raymlops.control.rollout.plan_history import champion_since, served_lately, trial_plans, trial_since, versions_seen
from raymlops.control.rollout.plans import Progress, next_plan, progress
from raymlops.records.plans import Trial
from raymlops.testing.control_examples import DAY, START, example_plan

TRIAL = Trial(version=3, weight=0.2)


def decided(kind: type[PlanDecision], plan: int, version: int, **values: object) -> PlanDecision:
    fields = {"model": "m", "at": START + plan * DAY, "reason": "because", "plan": plan, "version": version, **values}
    return kind.model_validate(fields)


START_TRIAL = decided(StartTrial, 1, 3, trial=TRIAL, run_id="r")


@pytest.mark.parametrize(
    ("decision", "champion", "backup", "trial"),
    [
        (START_TRIAL, 2, 1, TRIAL),
        (decided(Promote, 1, 3, previous=2), 3, 2, None),
        (decided(RollBack, 1, 3, to=2, cause="trial"), 2, 1, None),
        (decided(RollBack, 1, 2, to=1, cause="health"), 1, None, None),
        (decided(RollBack, 1, 2, to=1, cause="probation"), 1, None, None),
        (decided(Ramp, 1, 3, trial=TRIAL.model_copy(update={"weight": 0.5})), 2, 1, Trial(version=3, weight=0.5)),
    ],
)
def test_the_plan_that_follows(decision: PlanDecision, champion: int, backup: int | None, trial: Trial | None) -> None:
    before = example_plan(1, 2, backup=1, trial=TRIAL, blocked=(5,), service="s@1", replicas=3)
    after = next_plan(before, decision)
    assert (after.champion, after.backup, after.trial) == (champion, backup, trial)
    sick = isinstance(decision, RollBack) and decision.cause == "health"
    assert after.blocked == ((2, 5) if sick else (5,))
    assert (after.number, after.service, after.replicas) == (2, "s@1", 3)
    assert (after.reason, after.created_at) == ("because", decision.at)
    assert next_plan(before, decision) == after


def test_progress_of_a_decision() -> None:
    first = example_plan(1, 2)
    own, other = next_plan(first, START_TRIAL), example_plan(2, 7)
    assert progress(START_TRIAL, [first]) is Progress.OPEN
    assert progress(START_TRIAL, [first, own]) is Progress.CURRENT
    assert progress(START_TRIAL, [first, own, example_plan(3, 2)]) is Progress.REPLACED
    assert progress(START_TRIAL, [first, other]) is Progress.SUPERSEDED
    assert progress(START_TRIAL, [first, other, example_plan(3, 2)]) is Progress.SUPERSEDED


def day(number: int) -> datetime:
    return START + number * DAY


def test_since_when() -> None:
    plans = [
        example_plan(1, 1, day(0)),
        example_plan(2, 2, day(1)),
        example_plan(3, 1, day(2)),
        example_plan(4, 1, day(3), trial=Trial(version=2)),
        example_plan(5, 1, day(4), trial=TRIAL),
        example_plan(6, 1, day(5), trial=TRIAL, replicas=2),
    ]
    assert champion_since(plans) == day(2)
    assert trial_since(plans) == day(4)
    assert champion_since(plans[:1]) == day(0)
    assert trial_since(plans[:4]) == day(3)


def test_a_trial_is_one_version_beside_one_champion_whatever_its_share() -> None:
    shadow, canary = Trial(version=2, mode="shadow", weight=1.0), Trial(version=2, weight=0.1)
    plans = [
        example_plan(1, 1, day(0), trial=canary),
        example_plan(2, 1, day(1)),
        example_plan(3, 1, day(2), trial=shadow),
        example_plan(4, 1, day(3), trial=canary),
        example_plan(5, 1, day(4), trial=canary.model_copy(update={"weight": 0.5})),
        example_plan(6, 3, day(5), trial=canary),
    ]
    assert [plan.number for plan in trial_plans(plans[:5])] == [3, 4, 5]
    assert [plan.number for plan in trial_plans(plans)] == [6]
    assert shadow.share == 0.5
    assert canary.share == 0.1


def test_who_served_lately() -> None:
    plans = [example_plan(1, 1, day(0)), example_plan(2, 2, day(1)), example_plan(3, 3, day(4))]
    assert served_lately(plans, 1, day(1))
    assert not served_lately(plans, 1, day(2))
    assert served_lately(plans, 2, day(4))
    assert served_lately(plans, 3, day(9))
    assert not served_lately(plans, 4, day(0))


def test_every_version_that_was_served() -> None:
    assert versions_seen([example_plan(1, 1), example_plan(2, 4, backup=2, trial=TRIAL)]) == {1, 2, 3, 4}
