"""A champion that is broken, or below its floor, while no candidate is good enough."""

from __future__ import annotations

from typing import Any

import pytest

from raymlops.config.control import ControlConfig, FallbackConfig
from raymlops.control import FallBack, decision_of
from raymlops.errors import InvalidTransition, UnavailableError
from raymlops.monitoring.alerts.alert_rules import alert_of_entry
from raymlops.records.plans import Baseline
from raymlops.testing.control_examples import DAY, example_arm, example_evidence
from tests.support.control_world import ControlWorld

HOUR = DAY / 24
WORSE = example_evidence(example_arm(0.9), example_arm(0.5))
EQUAL = example_evidence(example_arm(0.5), example_arm(0.5), spread=1.0)


class World(ControlWorld):
    """Version 3 is champion, after 1 and 2; nothing trains the model, so that no candidate comes."""

    def __init__(self, **fallback: Any) -> None:
        super().__init__()
        self.config = self.config.model_copy(update={"fallback": FallbackConfig(**fallback)})
        self.restart()
        self.user_promote()
        self.advance(HOUR)
        self.user_promote()
        self.serve(backup=None)
        self.observer.untrainable = {"m"}
        self.evidence: dict[int, Any] = {1: EQUAL, 2: EQUAL}
        vars(self.observer)["trial_evidence"] = self.compare

    def compare(self, model: str, scope: Any) -> Any:
        found = self.evidence[scope.champion]
        if isinstance(found, Exception):
            raise found
        return found

    def fall(self, days: int = 2, **flags: Any) -> list[str]:
        """Days below the floor; the actions they led to."""
        before = len(self.actions)
        for _ in range(days):
            self.close_window(fallen=True, **flags)
            self.step()
        return self.actions[before:]


def test_the_former_version_that_fits_the_newest_windows_best_takes_over() -> None:
    world = World()
    world.evidence = {2: example_evidence(example_arm(0.7), example_arm(0.5)), 1: WORSE}
    assert world.fall(1) == []
    assert world.fall(1) == ["fall_back"]
    assert (world.plans[-1].champion, world.plans[-1].backup) == (1, None)
    entry = world.ledger.entries()[-1]
    assert entry.evidence["facts"]["former"] == 1
    assert "log loss 0.9, the best constant answer would have had 0.6931" in entry.reason
    assert "worse than version 1 by 0.4" in entry.reason
    alert = alert_of_entry(entry)
    assert alert is not None
    assert (alert.cause, alert.severity) == ("rolled_back", "critical")
    assert world.step() == []


def test_a_version_that_is_not_surely_better_does_not_take_over() -> None:
    world = World()
    assert world.fall(5) == []
    assert world.plans[-1].champion == 3
    (status,) = world.controller.status()
    assert "version 3 is below its floor" in status.below_floor
    assert "until a candidate, a former version or the declared baseline is surely better" in status.below_floor
    assert world.controller.why("m").below_floor == status.below_floor


def test_broken_data_says_nothing_about_the_champion() -> None:
    """What looks like a bad champion is not one where the data is broken: it stays, and the reason is told."""
    world = World()
    world.evidence = {2: WORSE, 1: WORSE}
    assert world.fall(5, quality="block") == []
    assert world.plans[-1].champion == 3
    (status,) = world.controller.status()
    assert "it stays, for the data of that window is broken: column wind is missing" in status.below_floor


def test_a_declared_floor_counts_for_any_metric() -> None:
    world = World(floor={"auc": 0.7}, versions=3)
    world.evidence = {2: WORSE, 1: EQUAL}
    part = world.plans[-1].champion
    for _ in range(2):
        world.close_window()
        windows = world.observer.windows_of["m"]
        performance = windows[-1].performance[part].model_copy(update={"metrics": {"auc": 0.6}})
        windows[-1] = windows[-1].model_copy(update={"performance": {part: performance}})
        world.step()
    assert world.plans[-1].champion == 2
    assert "auc 0.6, must be at least 0.7" in world.ledger.entries()[-1].reason


def test_a_floor_of_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="floor must be of"):
        ControlConfig.model_validate({"fallback": {"floor": {"speed": 1.0}}})


def test_without_a_better_version_the_declared_baseline_answers() -> None:
    world = World()
    world.serve(baseline=Baseline(probability=(0.5, 0.5)))
    assert world.fall() == ["fall_back"]
    assert (world.plans[-1].champion, world.plans[-1].blocked) == (3, (3,))
    decision = decision_of(world.ledger.entries()[-1])
    assert isinstance(decision, FallBack)
    assert decision.to is None
    assert "that of the declared baseline 0.6931" in decision.reason
    assert world.fall(3) == []


def test_a_baseline_that_would_be_as_bad_is_left_aside() -> None:
    world = World()
    world.serve(baseline=Baseline(probability=(0.05, 0.95)))
    assert world.fall(3) == []


def test_a_version_that_does_not_come_up_is_passed_over_for_the_next() -> None:
    world = World()
    world.evidence = {2: example_evidence(example_arm(0.7), example_arm(0.5)), 1: WORSE}
    world.actuator.errors = [InvalidTransition("version 1 of 'm' is retired")]
    assert world.fall() == ["fall_back", "abandon", "fall_back"]
    assert world.plans[-1].champion == 2


def test_a_version_that_cannot_be_scored_is_left_out_and_one_that_can_be_later_is_waited_for() -> None:
    world = World()
    world.evidence = {2: InvalidTransition("its files are gone"), 1: WORSE}
    assert world.fall() == ["fall_back"]
    assert world.plans[-1].champion == 1
    world = World()
    world.evidence = {2: UnavailableError("x"), 1: WORSE}
    assert world.fall() == []
    world.evidence[2] = EQUAL
    world.step()
    assert world.plans[-1].champion == 1


def test_a_candidate_under_way_comes_first() -> None:
    world = World()
    world.evidence = {2: WORSE, 1: WORSE}
    world.start_user_run()
    assert world.fall() == []
    world.finish_runs("refused")
    world.step()
    assert world.plans[-1].champion == 2


def test_null_switches_it_off() -> None:
    world = World(windows=None)
    world.evidence = {2: WORSE, 1: WORSE}
    assert world.fall(4) == []


class TestBroken:
    def test_without_a_backup_the_version_that_served_last_before_takes_over(self) -> None:
        world = World()
        world.sicken(80)
        world.advance(HOUR)
        world.step()
        assert (world.plans[-1].champion, world.plans[-1].blocked) == (2, (3,))
        assert world.actions == ["fall_back"]
        assert "there is no backup: version 2, a former champion, takes over" in world.ledger.entries()[-1].reason

    def test_it_goes_on_down_the_line_and_ends_with_the_last(self) -> None:
        world = World()
        world.sicken(80)
        for _ in range(5):
            world.advance(HOUR)
            world.step()
        assert (world.plans[-1].champion, world.plans[-1].blocked) == (1, (2, 3))
        assert world.actions == ["fall_back", "fall_back"]

    def test_one_that_is_retired_is_passed_over(self) -> None:
        world = World()
        world.sicken(80)
        world.actuator.errors = [InvalidTransition("version 2 of 'm' is retired")]
        world.advance(HOUR)
        world.step()
        assert world.plans[-1].champion == 1
        assert world.actions == ["fall_back", "abandon", "fall_back"]
