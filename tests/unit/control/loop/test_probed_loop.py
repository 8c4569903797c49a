"""The loop by the probes' account: what is recorded, what why tells at any instant, and the loop without an account."""

from __future__ import annotations

from datetime import timedelta

import pytest

from raymlops.config import ControlConfig, RetrainConfig
from raymlops.control import StartRetraining, decision_of
from raymlops.laboratory.probed import Probed
from raymlops.testing.control_examples import DAY, START, example_probed
from tests.support.control_world import ControlWorld


@pytest.fixture
def world() -> ControlWorld:
    limits = RetrainConfig(cooldown=timedelta(), min_labelled_rows=0, budget_runs=1000)
    return ControlWorld(config=ControlConfig(act_attempts=2, retrain=limits))


def close(world: ControlWorld, days: int, *, slope: float = 0.1) -> None:
    for day in range(world.days, days):
        world.close_window()
        world.observer.probed_of["m"] = example_probed(day + 1, slope=slope)
        world.step()


def test_a_retraining_has_the_account_in_the_ledger(world: ControlWorld) -> None:
    close(world, 4)
    entry = next(entry for entry in world.ledger.entries("m") if entry.action == "retrain")
    decision = decision_of(entry)
    assert isinstance(decision, StartRetraining)
    assert decision.triggers == ("regret",)
    account = decision.facts["regret"]
    assert account == decision.facts["fired"][0]["facts"]
    assert account["expected"] > account["bar"]
    assert account["accrued"] + account["expected"] > account["price"]


def test_why_tells_the_account_of_any_instant_also_when_more_is_known_since(world: ControlWorld) -> None:
    close(world, 2)
    at = world.clock.now()
    before = world.controller.why("m", at)
    assert before.verdict.regret is not None
    assert before.verdict.regret.probed_windows == 2
    close(world, 6)
    world.restart()
    later = world.controller.why("m", at)
    assert later.verdict == before.verdict
    assert later.reasons == before.reasons
    assert world.controller.why("m").verdict.regret != before.verdict.regret


def test_status_and_reasons_tell_what_does_not_pay(world: ControlWorld) -> None:
    close(world, 4, slope=0.0)
    (status,) = world.controller.status()
    assert status.verdict.regret is not None
    assert not status.verdict.regret.pays
    text = next(reason.text for reason in status.reasons if reason.kind == "no_trigger")
    assert "a retraining does not pay yet" in text
    assert "drift and performance count as far as that account is not against them" in text


def test_probes_that_fail_are_told_and_the_other_triggers_go_on(world: ControlWorld) -> None:
    world.observer.probed_of["m"] = Probed(problem="probes did not end within 120 s")
    world.close_window(drifted=True)
    world.step()
    (status,) = world.controller.status()
    told = [reason for reason in status.reasons if reason.kind == "probes"]
    assert [reason.text for reason in told] == ["windows are not probed: probes did not end within 120 s"]
    world.close_window(drifted=True)
    (decision,) = world.step()
    assert isinstance(decision, StartRetraining)
    assert decision.triggers == ("drift",)
    assert decision.facts["regret"] is None


def test_the_trouble_of_today_is_not_told_of_another_instant(world: ControlWorld) -> None:
    close(world, 2, slope=0.0)
    at = world.clock.now()
    world.advance(DAY)
    world.observer.probed_of["m"] = example_probed(2, slope=0.0).model_copy(update={"problem": "lost"})
    assert not any(reason.kind == "probes" for reason in world.controller.why("m", at).reasons)
    assert any(reason.kind == "probes" for reason in world.controller.why("m").reasons)


def test_a_new_champion_begins_a_new_account(world: ControlWorld) -> None:
    close(world, 4)
    world.finish_runs("candidate")
    world.step()
    world.user_promote()
    world.observer.probed_of["m"] = example_probed(4, slope=0.1, trained_day=4)
    world.step()
    (status,) = world.controller.status()
    assert status.verdict.regret is None
    assert world.controller.probed("m").trained_at == START + 4 * DAY
