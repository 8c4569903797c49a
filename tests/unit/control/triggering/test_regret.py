"""The trigger that weighs what staleness costs, and how drift and performance follow it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from raymlops.config import ControlConfig, TriggersConfig
from raymlops.config.probes import RegretConfig
from raymlops.control import RetrainOutcome, RetrainPolicy, RetrainRequest, RetrainVerdict
from raymlops.control.triggering.backtest import backtest
from raymlops.laboratory.probed import Probed, ProbedWindow
from raymlops.records.windows import Performance, WindowRecord
from raymlops.testing.control_examples import START, example_probed, example_window

ON = TriggersConfig()
DELAY = timedelta(hours=1)


def windows(count: int, *flagged: int, **flags: Any) -> list[WindowRecord]:
    return [example_window(day, **(flags if day in flagged else {})) for day in range(count)]


def ask(shown: Probed | None, own: list[WindowRecord], triggers: TriggersConfig = ON, **values: Any) -> RetrainVerdict:
    request = {"now": own[-1].end + DELAY if own else START, "champion_since": START, "windows": own, **values}
    return RetrainPolicy(ControlConfig(triggers=triggers)).evaluate(RetrainRequest(probed=shown, **request))


def test_it_is_on_by_default_and_a_retraining_carries_its_account() -> None:
    found = ask(example_probed(6, slope=0.1), windows(6))
    assert (found.outcome, [each.trigger for each in found.fired]) == (RetrainOutcome.RETRAIN, ["regret"])
    assert "a retraining pays" in found.reason
    facts = found.fired[0].facts
    assert facts["accrued"] + facts["expected"] > facts["price"] == 0.05
    assert facts["expected"] > facts["bar"]
    assert (facts["age_windows"], facts["probed_windows"]) == (6, 6)
    assert found.regret is not None
    assert found.regret.pays


def test_a_fresh_champion_of_no_drift_is_left_alone_and_why_is_there() -> None:
    found = ask(example_probed(6, slope=0.0), windows(6))
    assert found.outcome is RetrainOutcome.QUIET
    assert found.regret is not None
    assert "does not pay yet" in found.regret.reason


def test_the_price_decides() -> None:
    dear = ON.model_copy(update={"regret": RegretConfig(price=5.0)})
    assert ask(example_probed(6, slope=0.1), windows(6), dear).outcome is RetrainOutcome.QUIET


def test_it_waits_for_the_newest_window_to_be_probed() -> None:
    assert ask(example_probed(5, slope=0.1), windows(6)).outcome is RetrainOutcome.QUIET


def test_what_was_shown_later_does_not_count() -> None:
    shown = example_probed(6, slope=0.1)
    own = windows(6)
    early = own[-1].end - timedelta(hours=1)
    assert ask(shown, own, now=early).outcome is RetrainOutcome.QUIET
    assert ask(shown, own).outcome is RetrainOutcome.RETRAIN


def test_null_switches_it_off() -> None:
    off = ON.model_copy(update={"regret": None})
    found = ask(example_probed(6, slope=0.1), windows(6), off)
    assert (found.outcome, found.regret) == (RetrainOutcome.QUIET, None)


def test_a_champion_of_no_window_yet_is_not_judged() -> None:
    assert ask(example_probed(6, slope=0.1), []).outcome is RetrainOutcome.QUIET


@pytest.mark.parametrize("trigger", ["drift", "performance"])
class TestTheOtherTriggers:
    def flag(self, trigger: str) -> dict[str, Any]:
        return {"drifted": True} if trigger == "drift" else {"degraded": True}

    def test_are_overruled_where_the_account_is_against_them(self, trigger: str) -> None:
        own = windows(6, 4, 5, **self.flag(trigger))
        assert ask(example_probed(6, slope=0.0), own).outcome is RetrainOutcome.QUIET

    def test_count_where_there_is_no_account(self, trigger: str) -> None:
        own = windows(6, 4, 5, **self.flag(trigger))
        for shown in (None, Probed(), Probed(problem="probes did not end within 120 s")):
            found = ask(shown, own)
            assert [each.trigger for each in found.fired] == [trigger]
            assert found.outcome is RetrainOutcome.RETRAIN

    def test_wait_for_one_window_that_is_being_probed_and_for_no_more(self, trigger: str) -> None:
        own = windows(6, 4, 5, **self.flag(trigger))
        assert ask(example_probed(5, slope=0.0), own).outcome is RetrainOutcome.QUIET
        assert [each.trigger for each in ask(example_probed(4, slope=0.0), own).fired] == [trigger]

    def test_fire_beside_it(self, trigger: str) -> None:
        own = windows(6, 4, 5, **self.flag(trigger))
        assert [each.trigger for each in ask(example_probed(6, slope=0.1), own).fired] == ["regret", trigger]

    def test_broken_data_blocks_as_before(self, trigger: str) -> None:
        own = [*windows(5), example_window(5, quality="block", **self.flag(trigger))]
        both = [*windows(4), example_window(4, **self.flag(trigger)), own[-1]]
        assert ask(example_probed(5, slope=0.1), both).outcome is RetrainOutcome.BLOCK


def test_a_degraded_champion_does_not_wait_for_the_rhythm() -> None:
    # what was lost and is expected exceeds the price, while the best rhythm says to wait
    shown, priced = example_probed(6, slope=0.04, most=0.04), ON.model_copy(update={"regret": RegretConfig(price=0.2)})
    calm, degraded = ask(shown, windows(6), priced), ask(shown, windows(6, 4, 5, degraded=True), priced)
    assert calm.regret is not None
    assert calm.regret.accrued + calm.regret.expected > calm.regret.price
    assert calm.regret.expected < calm.regret.bar
    assert calm.outcome is RetrainOutcome.QUIET
    assert [each.trigger for each in degraded.fired] == ["performance"]


@pytest.mark.parametrize(
    ("metrics", "fires"),
    [
        ({"log_loss": 1.05}, False),
        ({"log_loss": 1.2}, True),
        ({"rmse": 1.2}, True),
        ({"rmse": 1.0}, False),
        ({}, False),
    ],
)
def test_a_champion_that_loses_more_than_a_plain_probe_is_degraded_for_another_reason(
    metrics: dict[str, float], fires: bool
) -> None:
    own = windows(6, 4, 5, degraded=True)
    part = Performance(rows=1000, labelled_rows=1000, metrics=metrics)
    own[-1] = own[-1].model_copy(update={"performance": {1: part}})
    found = ask(example_probed(6, slope=0.0), own)
    assert [each.trigger for each in found.fired] == (["performance"] if fires else [])


def test_a_backtest_takes_each_retraining_for_the_models_age() -> None:
    policy = RetrainPolicy(ControlConfig())
    found = backtest(windows(20), policy, label_delay=DELAY, probed=example_probed(20, slope=0.1))
    assert len(found) >= 3
    assert all(each.triggers == ("regret",) for each in found)
    assert backtest(windows(12), policy, label_delay=DELAY, probed=example_probed(12, slope=0.0)) == []


def test_the_account_does_not_depend_on_the_order_it_was_written_in() -> None:
    shown = example_probed(6, slope=0.1)
    again = Probed.model_validate_json(shown.model_dump_json())
    assert ask(again, windows(6)) == ask(shown, windows(6))
    assert isinstance(again.windows[0], ProbedWindow)


def test_an_account_that_is_named_is_weighed_once_and_its_past_stays_its_own() -> None:
    shown = example_probed(6, slope=0.1)
    named = shown.model_copy(update={"digest": "of these six"})
    for days in (6, 3, 6, 2):
        own = windows(days)
        assert ask(named, own).regret == ask(shown, own).regret
