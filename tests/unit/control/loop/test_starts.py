"""What starts a retraining in the loop, and what becomes of triggers while a run is under way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import pytest

from raymlops.config import ControlConfig, CronTrigger, DriftCount, NewDataTrigger, RetrainConfig, TriggersConfig
from raymlops.control import Skip, StartRetraining
from raymlops.control.triggering.news import NewCode, NewData, TableGrowth
from raymlops.records.ledger import LedgerEntry
from raymlops.records.runs import RunStatus
from raymlops.records.serving.orders import Order
from raymlops.testing.control_examples import START
from tests.support.control import CrashSwitch
from tests.support.control_world import ControlWorld

OFF = TriggersConfig(performance=None, drift=None)
Mode = Literal["queue", "skip", "replace"]


def world_of(triggers: TriggersConfig = OFF, mode: Mode = "queue", crash_at: int | None = None, **limits: Any) -> Any:
    settings = {"cooldown": timedelta(), "min_labelled_rows": 0, "budget_runs": 1000, "when_running": mode, **limits}
    config = ControlConfig(act_attempts=2, triggers=triggers, retrain=RetrainConfig(**settings))
    return ControlWorld(CrashSwitch(crash_at), config)


def ask(world: ControlWorld, request: str, reason: str = "the labels were mended") -> LedgerEntry:
    order = Order(request=request, by="ann", reason=reason)
    at, world.switch.at = world.switch.at, None  # it is the controller that is killed
    entry = world.ledger.append_entry(**order.for_retraining("m", "http"))
    world.switch.at = at
    return entry


def starts(world: ControlWorld) -> list[LedgerEntry]:
    return [entry for entry in world.ledger.entries("m") if entry.action == "retrain"]


def test_an_order_starts_one_run_that_names_it() -> None:
    world = world_of(cooldown=timedelta(days=9), min_labelled_rows=10**6)
    entry = ask(world, "one")
    assert ask(world, "one", "said again").sequence == entry.sequence
    (start,) = world.step()
    assert isinstance(start, StartRetraining)
    assert (start.triggers, start.orders, start.run_id) == (("order",), (entry.sequence,), "m-order-1")
    assert start.reason == "ann asks for it: the labels were mended"
    (fired,) = start.facts["fired"]
    assert fired["facts"]["orders"][0]["via"] == "http"
    world.finish_runs("refused")
    assert [decision.action for decision in world.step()] == ["refuse"]
    assert world.step() == []


def test_orders_while_a_run_is_under_way_are_answered_by_one_run_after_it() -> None:
    world = world_of()
    ask(world, "one")
    world.step()
    later = [ask(world, "two").sequence, ask(world, "three").sequence]
    assert world.step() == []
    world.finish_runs("refused")
    _, start = world.step()
    assert isinstance(start, StartRetraining)
    assert list(start.orders) == later
    assert len(starts(world)) == 2


def test_what_fires_while_a_run_is_under_way_may_be_dropped() -> None:
    world = world_of(OFF.model_copy(update={"drift": DriftCount(n=1, of=1)}), "skip")
    world.close_window(drifted=True)
    world.step()
    ask(world, "two")
    world.close_window(drifted=True)
    dropped = world.step()
    assert [type(decision) for decision in dropped] == [Skip, Skip]
    assert [decision.occasion for decision in dropped] == ["order-2", "20130306T000000Z"]
    assert "a run is under way: ann asks for it" in dropped[0].reason
    assert world.step() == []
    world.finish_runs("refused")
    assert [decision.action for decision in world.step()] == ["refuse"]
    world.close_window(drifted=True)
    assert [decision.action for decision in world.step()] == ["retrain"]


@pytest.mark.parametrize("crash_at", [None, *range(1, 22)])
def test_what_fires_while_a_run_is_under_way_may_take_its_place(crash_at: int | None) -> None:
    world = world_of(mode="replace", crash_at=crash_at)
    ask(world, "one")
    world.step()
    second = ask(world, "two")
    world.step()
    world.step()
    statuses = {run.id: run.status for run in world.observer.runs("m")}
    assert statuses == {"m-order-1": RunStatus.CANCELED, f"m-order-{second.sequence}": RunStatus.PENDING}
    assert world.actuator.jobs == list(statuses)
    assert starts(world)[-1].reason.startswith("in place of run m-order-1: ann asks for it")
    world.finish_runs("refused")
    world.step()
    assert world.step() == []
    assert [entry.action for entry in world.ledger.entries("m")] == [
        "order_retraining",
        "retrain",
        "order_retraining",
        "retrain",
        "refuse",
    ]


def test_a_run_is_not_replaced_beyond_the_limits() -> None:
    world = world_of(mode="replace", budget_runs=1)
    ask(world, "one")
    world.step()
    ask(world, "two")
    assert world.step() == []


def test_new_rows_start_a_retraining_that_has_them() -> None:
    world = world_of(OFF.model_copy(update={"new_data": NewDataTrigger(min_rows=100)}))

    def show(rows: int) -> None:
        grown = TableGrowth(trained_version=1, version=2, rows=rows)
        world.observer.data_of["m"] = NewData(tables={"trips": grown})

    show(120)
    (start,) = world.step()
    assert (start.triggers, start.facts["data_rows"]) == (("new_data",), 120)
    world.finish_runs("refused")
    world.step()
    show(219)
    assert world.step() == []
    assert world.controller.why("m").verdict.outcome == "quiet"
    show(220)
    assert world.controller.why("m").verdict.reason.startswith("100 new rows in trips")
    show(220)
    assert [decision.run_id for decision in world.step()] == ["m-data-1-220"]


def test_a_calendar_and_new_code_name_what_started_a_run() -> None:
    world = world_of(OFF.model_copy(update={"cron": CronTrigger(at="@daily"), "new_code": True}))
    world.observer.code_of["m"] = NewCode(champion_bundle="a" * 64, bundle="b" * 64, deployed_at=START, files=("x.py",))
    assert [decision.triggers for decision in world.step()] == [("new_code",)]
    world.finish_runs("refused")
    world.step()
    world.advance(timedelta(days=1))
    assert [decision.triggers for decision in world.step()] == [("cron",)]
    assert [run.id for run in world.observer.runs("m")] == [
        "m-code-bbbbbbbbbbbb-20130304T000000Z",
        "m-cron-20130305T000000Z",
    ]


class TestRetries:
    """What holds another attempt back, where an order is among what it answers, or comes later."""

    def fail(self, world: ControlWorld, *, order: bool) -> None:
        """A retraining that fails, and data that is broken before it is tried again."""
        if order:
            ask(world, "one")
        else:
            world.close_window(drifted=True)
        assert [decision.action for decision in world.step()] == ["retrain"]
        world.close_window(quality="block")
        world.finish_runs("failed")

    def test_broken_data_holds_back_an_attempt_that_no_order_asked_for(self) -> None:
        world = world_of(TriggersConfig(performance=None, drift=DriftCount(n=1, of=1)))
        self.fail(world, order=False)
        assert [decision.action for decision in world.step()] == ["run_failed"]
        (status,) = world.controller.status()
        assert [reason.kind for reason in status.reasons] == ["broken_data"]

    def test_broken_data_does_not_hold_back_an_attempt_that_an_order_asked_for(self) -> None:
        world = world_of()
        self.fail(world, order=True)
        _, again = world.step()
        assert isinstance(again, StartRetraining)
        assert (again.attempt, again.triggers) == (2, ("order",))

    def test_the_budget_holds_an_order_back_too(self) -> None:
        world = world_of(budget_runs=1, budget_period=timedelta(days=9))
        self.fail(world, order=True)
        assert [decision.action for decision in world.step()] == ["run_failed"]
        (status,) = world.controller.status()
        assert [reason.kind for reason in status.reasons] == ["budget"]
        world.advance(timedelta(days=9))
        (again,) = world.step()
        assert isinstance(again, StartRetraining)
        assert again.attempt == 2

    def test_an_order_that_comes_while_an_attempt_is_held_back_is_answered(self) -> None:
        world = world_of(TriggersConfig(performance=None, drift=DriftCount(n=1, of=1)))
        self.fail(world, order=False)
        world.step()
        entry = ask(world, "one")
        (start,) = world.step()
        assert isinstance(start, StartRetraining)
        assert (start.attempt, start.orders) == (1, (entry.sequence,))
        world.finish_runs("refused")
        actions = [decision.action for decision in world.step()]
        assert actions == ["refuse", "block"], "the attempt is not made up for, and broken data blocks as ever"
