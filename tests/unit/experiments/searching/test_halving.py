from __future__ import annotations

import math

import pytest

from raymlops.experiments import Halving, HalvingRule


def test_rungs_are_powers_of_the_factor() -> None:
    race = Halving(HalvingRule(grace_rounds=4, factor=3))
    assert [rounds for rounds in range(1, 400) if race.is_rung(rounds)] == [4, 12, 36, 108, 324]


def test_one_in_so_many_goes_on() -> None:
    race = Halving(HalvingRule(grace_rounds=1, factor=3))
    verdicts = [race.report(number, 1, loss) for number, loss in enumerate([0.5, 0.6, 0.7, 0.4, 0.45, 0.1])]
    assert verdicts == [True, False, False, True, True, True]


def test_between_rungs_everybody_goes_on_but_for_who_has_no_loss() -> None:
    race = Halving(HalvingRule(grace_rounds=10))
    race.report(0, 10, 0.1)
    assert race.report(1, 9, 0.9)
    assert not race.report(2, 9, math.nan)
    assert not race.report(1, 10, 0.9)


def test_a_rule_must_have_rounds_and_a_factor() -> None:
    for wrong in ({"grace_rounds": 0}, {"factor": 1}):
        with pytest.raises(ValueError, match="greater than or equal"):
            HalvingRule(**wrong)
