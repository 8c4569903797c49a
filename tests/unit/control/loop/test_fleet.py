"""Models that share a budget of runs: how many at once, how many in a period, and who is first."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.clock import ManualClock
from raymlops.config import ControlConfig, DriftCount, FleetConfig, RetrainConfig, TriggersConfig, WindowCount
from raymlops.control import Controller
from raymlops.control.triggering.urgency import run_seconds, urgency
from raymlops.errors import StorageError
from raymlops.records.runs import Run, RunStatus
from raymlops.records.serving.orders import Order
from raymlops.records.windows import Performance
from raymlops.testing.control_examples import (
    DAY,
    START,
    example_arm,
    example_evidence,
    example_plan,
    example_run,
    example_window,
)
from tests.support.control import FakeActuator, FakeObserver, InMemoryLedger


class World:
    """Models with a controller that they share."""

    def __init__(self, fleet: FleetConfig, models: Sequence[str] = ("a", "b", "c"), **limits: Any) -> None:
        if "false_alarms" not in fleet.model_fields_set:  # a single window is enough here
            fleet = fleet.model_copy(update={"false_alarms": None})
        settings = {"cooldown": timedelta(), "min_labelled_rows": 0, "budget_runs": 1000, "max_attempts": 1, **limits}
        self.config = ControlConfig(
            triggers=TriggersConfig(performance=WindowCount(n=1, of=1), drift=DriftCount(n=1, of=1)),
            retrain=RetrainConfig(**settings),
            fleet=fleet,
        )
        self.clock = ManualClock(START)
        self.ledger = InMemoryLedger(self.clock)
        self.observer = FakeObserver()
        self.actuator = FakeActuator(self.observer, self.clock)
        self.days = dict.fromkeys(models, 0)
        for model in models:
            self.observer.put_plan(example_plan(model=model))
        self.restart()

    def restart(self) -> None:
        self.controller = Controller(
            clock=self.clock, ledger=self.ledger, observer=self.observer, actuator=self.actuator, config=self.config
        )

    def close_windows(self, losses: dict[str, float | None]) -> None:
        """A day ends: model -> its loss, whose reference is 0.5, or ``None``: it drifted and nothing else is known."""
        day = max(self.days.values())
        for model, loss in losses.items():
            flags: dict[str, Any] = {"drifted": loss is None, "degraded": loss is not None and loss > 0.5}
            part = Performance(rows=1000, labelled_rows=500, metrics={"log_loss": loss or 0.5})
            window = example_window(
                day, model=model, performance={1: part}, reference_metrics={"log_loss": 0.5}, **flags
            )
            self.observer.windows_of.setdefault(model, []).append(window)
            self.days[model] = day + 1
        self.clock.advance_to(START + (day + 1) * DAY)

    def started(self) -> list[str]:
        return [entry.subject for entry in self.ledger.entries() if entry.action == "retrain"]

    def running(self) -> list[str]:
        return sorted(
            model for model in self.observer.plans_of for run in self.observer.runs(model) if not run.status.final
        )

    def finish(self, model: str) -> None:
        for run in self.observer.runs(model):
            if not run.status.final:
                changes = {
                    "status": RunStatus.SUCCEEDED,
                    "result": {"outcome": "refused"},
                    "ended_at": self.clock.now(),
                }
                self.observer.put_run(model, run.model_copy(update=changes))

    def waits(self, model: str) -> str | None:
        found = {status.model: status for status in self.controller.status()}[model]
        return next((reason.text for reason in found.reasons if reason.kind == "fleet"), None)


ONE = FleetConfig(runs_at_once=1)


def test_without_limits_all_start_at_once() -> None:
    world = World(FleetConfig())
    world.close_windows({"a": None, "b": None, "c": None})
    assert len(world.controller.step()) == 3


def test_who_lost_most_goes_first_and_the_others_say_what_they_wait_for() -> None:
    world = World(ONE)
    world.close_windows({"a": None, "b": 0.6, "c": 0.9})
    assert [decision.model for decision in world.controller.step()] == ["c"]
    assert world.waits("c") is None
    assert world.waits("b") == "the models share control.fleet: 1 of 1 runs are under way"
    assert world.waits("a") == "the models share control.fleet: 1 of 1 runs are under way; before it comes b"
    assert any(reason.kind == "fleet" for reason in world.controller.why("a").reasons)
    assert world.controller.step() == []
    world.finish("c")
    assert [(decision.model, decision.action) for decision in world.controller.step()] == [
        ("c", "refuse"),
        ("b", "retrain"),
    ]
    world.finish("b")
    world.controller.step()
    assert world.started() == ["c", "b", "a"]
    assert world.waits("a") is None


def test_an_order_goes_before_everything() -> None:
    world = World(ONE)
    world.close_windows({"a": 0.9, "b": 0.9, "c": None})
    order = Order(request="one", by="ann", reason="please")
    world.ledger.append_entry(**order.for_retraining("c", "http"))
    world.controller.step()
    assert world.started() == ["c"]


@pytest.mark.parametrize("full", [True, False])
def test_a_champion_below_its_floor_gives_way_where_its_retraining_has_no_place(full: bool) -> None:
    world = World(ONE, ("a", "b"))
    world.observer.put_plan(example_plan(2, model="a", champion=2))
    world.observer.probations = [(START, example_evidence(example_arm(0.9), example_arm(0.5)))]
    if full:
        world.observer.put_run("b", example_run("by-hand", status=RunStatus.RUNNING))
    for day in range(2):
        world.observer.windows_of.setdefault("a", []).append(
            example_window(day, model="a", champion=2, fallen=True, degraded=day == 1)
        )
    world.clock.advance_to(START + 2 * DAY)
    world.controller.step()  # it asks for the first time
    world.controller.step()
    assert [entry.action for entry in world.ledger.entries()] == ["fall_back" if full else "retrain"]
    assert world.observer.plans_of["a"][-1].champion == (1 if full else 2)


def test_a_slow_run_must_have_lost_more() -> None:
    world = World(ONE, ("a", "b"))
    for model, took in (("a", timedelta(hours=1)), ("b", timedelta(minutes=1))):
        run = example_run(f"{model}-old", at=START - DAY, outcome="refused").model_copy(
            update={"ended_at": START - DAY + took}
        )
        world.observer.put_run(model, run)
    world.close_windows({"a": 1.0, "b": 0.6})
    world.controller.step()
    assert world.started() == ["b"]


def test_runs_of_others_take_places_too() -> None:
    world = World(ONE)
    world.observer.put_run("a", example_run("by-hand", status=RunStatus.RUNNING))
    world.close_windows({"b": 0.9})
    world.controller.step()
    assert world.started() == []


def test_a_budget_of_all_models_slides() -> None:
    world = World(FleetConfig(budget_runs=2, budget_period=3 * DAY))
    world.close_windows({"a": None, "b": None, "c": None})
    world.controller.step()
    assert world.started() == ["a", "b"]
    assert world.waits("c") == "the models share control.fleet: 2 of 2 runs of the budget are spent"
    (reason,) = [reason for reason in world.controller.why("c").reasons if reason.kind == "fleet"]
    assert reason.until == START + 4 * DAY
    world.finish("a")
    world.finish("b")
    world.controller.step()
    assert len(world.started()) == 2
    world.clock.advance_to(START + 4 * DAY)
    world.controller.step()
    assert world.started() == ["a", "b", "c"]


def test_a_restart_forgets_no_run_that_is_being_started() -> None:
    world = World(ONE)
    world.close_windows({"a": None, "b": None})
    world.actuator.errors = [StorageError("the job service is away")]
    world.controller.step()
    assert world.started() == ["a"]
    world.restart()
    world.observer.trouble_of["a"] = StorageError("a cannot be looked at")
    world.controller.step()
    assert world.started() == ["a"], "the ledger says that a run of a is on its way"


def test_a_model_that_is_gone_or_in_trouble_keeps_nobody_waiting() -> None:
    world = World(ONE)
    world.close_windows({"a": 0.9, "b": None})
    world.observer.put_run("c", example_run("r", status=RunStatus.RUNNING))
    world.controller.step()
    assert world.started() == []
    world.observer.trouble_of["a"] = StorageError("a cannot be looked at")
    del world.observer.plans_of["c"]
    world.controller.step()
    world.controller.step()
    assert world.started() == ["b"]


def test_turns_side_by_side_never_exceed_the_limit() -> None:
    models = [f"m{n}" for n in range(12)]
    world = World(FleetConfig(runs_at_once=3), models)
    world.close_windows(dict.fromkeys(models))
    for _ in range(12):
        begun = world.controller.start_turns()
        for thread in threading.enumerate():
            if thread.name == "turn":
                thread.join(10)
        assert begun
        assert len(world.running()) <= 3
    assert len(world.running()) == 3


@given(
    losses=st.lists(
        st.dictionaries(st.sampled_from("abcde"), st.one_of(st.none(), st.floats(0.4, 2.0)), max_size=5), max_size=6
    ),
    at_once=st.integers(1, 3),
    ends=st.lists(st.sampled_from("abcde"), max_size=8),
)
def test_limits_hold_and_everybody_comes_to_its_turn(
    losses: list[dict[str, float | None]], at_once: int, ends: list[str]
) -> None:
    world = World(FleetConfig(runs_at_once=at_once), tuple("abcde"))
    for day in losses:
        world.close_windows(day)
        world.controller.step()
        assert len(world.running()) <= at_once
        if ends:
            world.finish(ends.pop())
    before, waiting = len(world.started()), [model for model in "abcde" if losses and world.waits(model)]
    for _ in range(12):
        for model in world.running():
            world.finish(model)
        world.controller.step()
        assert len(world.running()) <= at_once
    assert set(waiting) <= set(world.started()[before:])
    assert world.running() == []
    assert not [model for model in "abcde" if losses and world.waits(model)]


def test_urgency_is_regret_per_second() -> None:
    regret = {"trigger": "regret", "facts": {"accrued": 0.3, "expected": 0.1}}
    measured = {"metrics": {"log_loss": 0.6}, "reference_metrics": {"log_loss": 0.5}}
    worse = {"trigger": "performance", "facts": {**measured, "windows": ["one", "two"]}}
    assert urgency([regret], 20.0) == pytest.approx(0.02)
    assert urgency([worse], 10.0) == pytest.approx(0.04)
    assert urgency([worse, regret], 10.0) == pytest.approx(0.04)
    assert urgency([{"trigger": "drift", "facts": {}}], 10.0) == urgency([], 1.0) == 0.0
    assert urgency([{"trigger": "order"}], 10.0) == math.inf
    better = {"trigger": "performance", "facts": {"metrics": {"rmse": 1.0}, "reference_metrics": {"rmse": 2.0}}}
    assert urgency([better], 1.0) == 0.0


def test_what_a_run_takes_is_the_median_of_the_last_ones() -> None:
    def run(day: int, minutes: int, status: RunStatus = RunStatus.SUCCEEDED) -> Run:
        at = START + day * DAY
        return example_run(f"r{day}", at=at, status=status).model_copy(
            update={"ended_at": at + timedelta(minutes=minutes)}
        )

    assert run_seconds([]) == 60.0
    assert run_seconds([run(0, 500), *(run(day, day) for day in range(1, 6))]) == 180.0
    assert run_seconds([run(0, 2), run(1, 9, RunStatus.FAILED)]) == 120.0


JUDGED = FleetConfig(false_alarms=0.1)


def test_an_alarm_waits_until_its_evidence_does_for_the_whole_fleet() -> None:
    world = World(JUDGED, ("a", "b"))
    world.close_windows({"a": None, "b": 0.4})
    assert world.controller.step() == []
    assert world.waits("a") is not None
    assert "evidence of 18" in (world.waits("a") or "")
    assert "40 that control.fleet.false_alarms of 0.1 asks for of 2 models after 0 alarms" in (world.waits("a") or "")
    world.close_windows({"a": None, "b": 0.4})
    (decision,) = world.controller.step()
    assert decision.model == "a"
    alarm = world.ledger.entries("a")[-1].evidence["facts"]["alarm"]
    assert alarm["evidence"] > alarm["alone"] == 40
    assert alarm["models"] == 2


def test_many_alarms_at_once_need_less_each() -> None:
    names = tuple("abcdefghij")
    judged = FleetConfig(false_alarms=0.12)
    few, many = World(judged, names), World(judged, names)
    few.close_windows({"a": None} | dict.fromkeys(names[1:], 0.4))
    many.close_windows(dict.fromkeys(names, None))
    assert few.controller.step() == [], "an evidence of 18, where 167 are needed"
    assert len(many.controller.step()) == 10, "the same, where 167 / 10 are needed"


def test_what_no_alarm_calls_for_needs_no_evidence_and_one_model_alone_has_its_own_triggers() -> None:
    world = World(JUDGED, ("a", "b"))
    world.close_windows({"a": None, "b": 0.4})
    order = Order(request="one", by="ann", reason="please")
    world.ledger.append_entry(**order.for_retraining("a", "http"))
    (decision,) = world.controller.step()
    assert decision.model == "a"
    assert "alarm" not in world.ledger.entries("a")[-1].evidence["facts"]
    alone = World(JUDGED, ("a",))
    alone.close_windows({"a": None})
    assert [decision.model for decision in alone.controller.step()] == ["a"]
