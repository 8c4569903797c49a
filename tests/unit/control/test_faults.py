"""Months in which retraining, or the labels, go wrong in one way: the ledger, the alerts, the answers."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from raymlops.config.control import ControlConfig, RetrainConfig, TriggersConfig, WindowCount
from raymlops.control import StartRetraining, decision_of
from raymlops.errors import ConfigError
from raymlops.monitoring.alerts.alert_rules import alert_of_entry
from raymlops.records.people.alerts import Alert
from raymlops.records.runs import RunStatus
from raymlops.testing.control_examples import DAY
from tests.support.control_world import ControlWorld

LIMITS = RetrainConfig(cooldown=2 * DAY, min_labelled_rows=0, backoff_max=30 * DAY)
DAYS = 130


def build() -> ControlWorld:
    world = ControlWorld()
    config = world.config.model_copy(update={"retrain": LIMITS})
    world.config = ControlConfig.model_validate(config.model_dump())
    world.restart()
    return world


def live(world: ControlWorld, happens: Callable[[ControlWorld, int], None], days: int = DAYS) -> Counter[int]:
    """Drifted day after drifted day, each with two turns of the loop and an answer in between.

    Returns:
        How many answers each version gave.
    """
    answers: Counter[int] = Counter()
    for day in range(days):
        world.close_window(drifted=True, degraded=True)
        happens(world, day)
        world.step()
        happens(world, day)
        answers[world.plans[-1].champion] += 1
        world.step()
    world.ledger.verify_ledger()
    return answers


def retrainings(world: ControlWorld) -> list[StartRetraining]:
    found = [decision_of(entry) for entry in world.ledger.entries()]
    return [decision for decision in found if isinstance(decision, StartRetraining)]


def alerts(world: ControlWorld) -> list[Alert]:
    found = [alert_of_entry(entry) for entry in world.ledger.entries()]
    return [alert for alert in found if alert is not None and alert.severity != "info"]


def fails(world: ControlWorld, day: int) -> None:
    world.finish_runs("failed")


def hangs(world: ControlWorld, day: int) -> None:
    """A run that hangs is ended by its deadline, here two days."""
    for run in world.observer.runs("m"):
        if not run.status.final and world.clock.now() - run.created_at >= 2 * DAY:
            world.finish_runs("failed")


def disappears(world: ControlWorld, day: int) -> None:
    world.observer.lose_runs()


def cannot_start(world: ControlWorld, day: int) -> None:
    world.actuator.errors = [ConfigError("no bundle is deployed")] * 4


def diverges(world: ControlWorld, day: int) -> None:
    """Its metrics are not numbers, and the gate refuses it."""
    for run in world.observer.runs("m"):
        if not run.status.final:
            wild = {"log_loss": math.nan, "brier": math.inf}
            result = {"outcome": "refused", "reason": "log loss is not a number", "version": 7, "metrics": wild}
            done = {"status": RunStatus.SUCCEEDED, "result": result, "ended_at": world.clock.now()}
            world.observer.put_run("m", run.model_copy(update=done))


def is_worse(world: ControlWorld, day: int) -> None:
    """It passes the gate, and a live trial shows it."""
    world.finish_runs("candidate")
    world.show("bad")


def does_not_load(world: ControlWorld, day: int) -> None:
    world.finish_runs("unblessed")


@pytest.mark.parametrize("happens", [fails, hangs, disappears, cannot_start, diverges, is_worse, does_not_load])
def test_a_retraining_that_never_helps(happens: Callable[[ControlWorld, int], None]) -> None:
    world = build()
    answers = live(world, happens)
    assert answers == {1: DAYS}, "the champion serves"
    started = retrainings(world)
    occasions = [each.at for each in started if each.attempt == 1]
    gaps = [after - before for before, after in itertools.pairwise(occasions)]
    assert len(occasions) >= 6, "it goes on trying"
    for number, gap in enumerate(gaps, start=1):
        assert gap >= min(LIMITS.cooldown * 2**number, LIMITS.backoff_max), "back-off holds"
    assert len(started) <= LIMITS.max_attempts * len(occasions)
    expected = 0 if happens is diverges else 1  # what the gate refuses is told by the run, and wakes nobody
    assert len(alerts(world)) == expected, "no storm"


def test_after_one_that_helped_the_next_failure_is_told_again() -> None:
    world = build()

    def mixed(world: ControlWorld, day: int) -> None:
        world.show("good")
        world.finish_runs("candidate" if 50 <= day < 100 else "failed")

    answers = live(world, mixed)
    assert answers[2] > 0
    assert [alert.cause for alert in alerts(world)] == ["retraining_failed"] * 2


def test_labels_that_never_come() -> None:
    """Without labels a trial shows nothing, and nothing is no success: the champion stays, and every trial ends."""
    world = build()

    def unlabelled(world: ControlWorld, day: int) -> None:
        world.show("nothing")
        world.finish_runs("candidate")

    assert live(world, unlabelled) == {1: DAYS}
    trials = [plan.created_at for plan in world.plans if plan.trial is not None]
    ended = [plan.created_at for plan in world.plans[1:] if plan.trial is None]
    limit = world.config.trial.max_duration + DAY
    assert all(end - start <= limit for start, end in zip(trials, ended, strict=False))
    assert len(trials) - len(ended) in {0, 1}
    assert {entry.evidence["cause"] for entry in world.ledger.entries() if entry.action == "roll_back"} == {"trial"}


def test_no_labels_no_retraining_by_performance() -> None:
    """Where a retraining needs labelled rows and none come, none starts, and the reason is shown."""
    world = ControlWorld()
    limits = {"min_labelled_rows": 500, "cooldown": timedelta(), "budget_runs": 1000}
    triggers = TriggersConfig(performance=WindowCount(n=1, of=1), drift=WindowCount(n=1, of=1))
    retrain = world.config.retrain.model_copy(update=limits)
    world.config = world.config.model_copy(update={"triggers": triggers, "retrain": retrain})
    world.restart()
    for _ in range(30):
        world.close_window(drifted=True, labelled=0)
        assert world.step() == []
    (status,) = world.controller.status()
    assert "labelled_rows" in {reason.kind for reason in status.reasons}
