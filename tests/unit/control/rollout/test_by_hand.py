from __future__ import annotations

import pytest

from raymlops.control.rollout.by_hand import next_share, trial_to_retry
from raymlops.errors import InvalidTransition
from raymlops.records.plans import Trial
from raymlops.testing.control_examples import example_plan

TRIAL = Trial(version=5, weight=0.1, ramp=(0.3, 0.5))


def test_the_next_share_is_that_of_the_ramp_and_then_promotion() -> None:
    first = next_share(example_plan(trial=TRIAL))
    assert first is not None
    assert (first.weight, first.ramp) == (0.3, (0.5,))
    assert next_share(example_plan(trial=Trial(version=5))) is None
    with pytest.raises(InvalidTransition, match="no version of m is on trial"):
        next_share(example_plan())


def test_a_trial_is_tried_again_as_it_began() -> None:
    grown = TRIAL.next_step()
    plans = [example_plan(), example_plan(2, trial=TRIAL), example_plan(3, trial=grown), example_plan(4)]
    assert trial_to_retry(plans) == TRIAL
    other = Trial(version=6)
    assert trial_to_retry([*plans, example_plan(5, trial=other), example_plan(6)]) == other


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ([example_plan()], "was ever on trial"),
        ([example_plan(trial=TRIAL)], "version 5 of m is on trial already"),
        ([example_plan(trial=TRIAL), example_plan(2, champion=5)], "made version 5 champion"),
        ([example_plan(trial=TRIAL), example_plan(2, champion=5), example_plan(3)], "made version 5 champion"),
    ],
)
def test_nothing_to_try_again(plans: list[object], message: str) -> None:
    with pytest.raises(InvalidTransition, match=message):
        trial_to_retry(plans)  # type: ignore[arg-type]
