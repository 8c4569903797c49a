"""Alarms of a fleet: what they say is an e-value, and of those let through few are false."""

from __future__ import annotations

import math
import statistics
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet_alarms import simulate
from raymlops.config import DriftCount, TriggersConfig, WindowCount
from raymlops.control.triggering.false_alarms import (
    ALARMS,
    alarm_evidence,
    champions_so_far,
    evidence_needed,
    evidence_of_flags,
    let_through,
)
from raymlops.testing.control_examples import example_plan, example_window

CHANCES = st.floats(0.001, 0.25)
NEEDS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.floats(0.01, 30), max_size=12)


@given(chance=CHANCES, share=st.floats(0, 1), windows=st.integers(0, 7))
def test_evidence_is_an_e_value_where_flags_are_as_rare_as_is_taken_for_granted(
    chance: float, share: float, windows: int
) -> None:
    rate = chance * share
    expected = sum(
        evidence_of_flags(flags, chance) * rate ** sum(flags) * (1 - rate) ** (windows - sum(flags))
        for flags in product((False, True), repeat=windows)
    )
    assert expected <= 1 + 1e-9
    if share == 1:
        assert expected == pytest.approx(1)


@given(before=st.lists(st.booleans(), max_size=60), chance=CHANCES)
def test_whatever_came_before_the_mean_over_the_next_window_is_no_larger(before: list[bool], chance: float) -> None:
    after = chance * evidence_of_flags([*before, True], chance) + (1 - chance) * evidence_of_flags(
        [*before, False], chance
    )
    assert after == pytest.approx(evidence_of_flags(before, chance))


def test_a_change_after_a_year_of_calm_is_found_within_a_few_windows() -> None:
    calm = [False] * 52
    assert evidence_of_flags(calm, 0.01) < 1
    assert evidence_of_flags([*calm, True, True, True], 0.01) > 100


@given(needs=NEEDS, let=st.integers(0, 10))
def test_as_many_are_let_through_as_their_own_number_allows(needs: dict[str, float], let: int) -> None:
    passed = let_through(needs, let)
    assert all(needs[model] <= let + len(passed) for model in passed)
    for more in range(len(passed) + 1, len(needs) + 1):
        assert sum(need <= let + more for need in needs.values()) < more, "a larger number would do, too"


@given(needs=NEEDS.filter(bool), let=st.integers(0, 10), factor=st.floats(0, 1))
def test_stronger_evidence_of_one_holds_up_nobody(needs: dict[str, float], let: int, factor: float) -> None:
    one = min(needs)
    stronger = {**needs, one: needs[one] * factor}
    assert let_through(needs, let) <= let_through(stronger, let)


@given(models=st.integers(1, 200), champions=st.integers(1, 200))
def test_the_weights_of_all_champions_ever_sum_to_one_at_most(models: int, champions: int) -> None:
    weights = sum(1 / evidence_needed(models, number, 1, 1.0) for number in range(1, champions + 1))
    assert models * weights <= 1 + 1e-9


def test_broken_windows_say_nothing_and_alarms_that_are_off_are_not_asked() -> None:
    triggers = TriggersConfig(drift=DriftCount(), performance=None)
    flagged = [example_window(day, drifted=True) for day in range(2)]
    broken = [window.model_copy(update={"quality": "block"}) for window in flagged]
    assert alarm_evidence(flagged, triggers) == evidence_of_flags([True, True], ALARMS["drift"])
    assert alarm_evidence(broken, triggers) == 1
    both = triggers.model_copy(update={"performance": WindowCount()})
    assert 1 < alarm_evidence(flagged, both) < alarm_evidence(flagged, triggers)


def test_every_champion_counts_also_one_that_comes_back() -> None:
    plans = [example_plan(number=number, champion=champion) for number, champion in enumerate((1, 1, 2, 2, 1), start=1)]
    assert champions_so_far(plans) == 3


def test_of_100_models_without_change_alarms_of_a_year_are_false_as_seldom_as_promised() -> None:
    runs = [simulate(seed, 0, together=True) for seed in range(12)]
    alone = [simulate(seed, 0, together=False) for seed in range(12)]
    assert statistics.mean(run.false_share for run in runs) <= 0.1
    assert statistics.mean(run.false for run in alone) > 10, "the same flags, each model by itself"


def test_where_some_change_they_are_found_and_few_others_with_them() -> None:
    runs = [simulate(seed, 20, together=True) for seed in range(8)]
    assert statistics.mean(run.false_share for run in runs) <= 0.1
    assert sum(run.true for run in runs) >= 0.95 * 20 * len(runs)


def test_flags_without_end_are_evidence_without_end() -> None:
    assert evidence_of_flags([True] * 400, 0.01) == math.inf
    assert evidence_of_flags([*[True] * 400, *[False] * 5], 0.01) == math.inf
