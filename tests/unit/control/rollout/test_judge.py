from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.config import HealthConfig, TrialConfig
from raymlops.control.rollout.evidence import Arm, Health, Losses, TrialEvidence
from raymlops.control.rollout.judge import Verdict, exceeds_share, find_sickness, judge, reach
from raymlops.testing.control_examples import DAY, START, example_arm, example_evidence

CONFIG = TrialConfig(min_labelled_rows=200, max_duration=7 * DAY, tolerance=0.02, max_fault_share=0.02)


def verdict_of(evidence: TrialEvidence, age: timedelta = DAY, config: TrialConfig = CONFIG) -> tuple[Verdict, str]:
    judgement = judge(evidence, started_at=START, look_at=START + age, config=config)
    return judgement.verdict, judgement.reason


@pytest.mark.parametrize(
    ("candidate", "age", "verdict", "reason"),
    [
        (example_arm(0.50), DAY, Verdict.PROMOTE, "as good as the champion"),
        (example_arm(0.509), DAY, Verdict.PROMOTE, "loss differs by +0.0090"),
        (example_arm(0.30), DAY, Verdict.PROMOTE, "loss differs by -0.2000"),
        (example_arm(0.52), DAY, Verdict.WAIT, "not enough"),
        (example_arm(0.52), 7 * DAY, Verdict.ROLL_BACK, "time is up and loss is still worse by 0.0200"),
        (example_arm(0.70), DAY, Verdict.ROLL_BACK, "loss is worse by 0.2000 ±"),
        (example_arm(0.30, labelled=199), DAY, Verdict.WAIT, "not enough"),
        (example_arm(0.30, labelled=199), 7 * DAY, Verdict.ROLL_BACK, "time is up with 199 labelled rows of 200"),
        (example_arm(0.30, labelled=0), 7 * DAY, Verdict.ROLL_BACK, "time is up with 0 labelled rows"),
        (example_arm(0.30, faults=100), DAY, Verdict.ROLL_BACK, "failed on 100 of 1000 rows"),
        (example_arm(0.50, faults=20), DAY, Verdict.PROMOTE, "as good"),
        (example_arm(0.50, rows=19, labelled=0, faults=19), DAY, Verdict.WAIT, "not enough"),
        (example_arm(0.50, rows=20, labelled=0, faults=20), DAY, Verdict.ROLL_BACK, "failed on 20 of 20 rows"),
    ],
)
def test_judge(candidate: Arm, age: timedelta, verdict: Verdict, reason: str) -> None:
    found, why = verdict_of(example_evidence(candidate), age)
    assert (found, reason in why) == (verdict, True), why


def test_without_answers_of_the_champion_there_is_no_comparison() -> None:
    evidence = example_evidence(example_arm(0.1), example_arm(labelled=100))
    assert verdict_of(evidence)[0] is Verdict.WAIT
    assert verdict_of(evidence, 7 * DAY)[0] is Verdict.ROLL_BACK


def test_pairs_find_what_separate_rows_cannot() -> None:
    evidence = example_evidence(example_arm(0.53), example_arm(0.50))
    paired = example_arm(0.03, spread=0.1).losses
    assert verdict_of(evidence)[0] is Verdict.WAIT
    assert verdict_of(evidence.model_copy(update={"paired": paired}))[0] is Verdict.ROLL_BACK


def test_few_pairs_are_not_used() -> None:
    evidence = example_evidence(example_arm(0.50)).model_copy(update={"paired": example_arm(9.0, labelled=50).losses})
    assert verdict_of(evidence)[0] is Verdict.PROMOTE


def test_equal_models_on_equal_rows_are_promoted() -> None:
    paired = Losses.of(np.zeros(500))
    assert verdict_of(example_evidence().model_copy(update={"paired": paired}))[0] is Verdict.PROMOTE


def test_the_champion_may_answer_nothing_where_pairs_are_known() -> None:
    evidence = TrialEvidence(candidate=example_arm(0.5), champion=Arm(), paired=example_arm(0.001, spread=0.1).losses)
    assert verdict_of(evidence)[0] is Verdict.PROMOTE


@pytest.mark.parametrize(
    ("rows", "faults", "sick"), [(0, 0, False), (19, 19, False), (20, 20, True), (100, 5, False), (100, 30, True)]
)
def test_health(rows: int, faults: int, sick: bool) -> None:
    reason = find_sickness(Health(rows=rows, faults=faults), HealthConfig())
    assert reason == (f"champion failed on {faults} of {rows} rows" if sick else None)


@pytest.mark.parametrize(("share", "faults", "found"), [(0.0, 1, True), (0.0, 0, False), (1.0, 50, False)])
def test_extreme_shares(share: float, faults: int, found: bool) -> None:
    assert exceeds_share(Arm(rows=50, faults=faults), share, 0.05, 1) is found


@given(st.integers(1, 10**7), st.floats(0, 1), st.floats(0.001, 0.5))
def test_a_share_at_or_below_the_limit_is_never_exceeded(rows: int, part: float, limit: float) -> None:
    faults = int(rows * limit * part)
    assert not exceeds_share(Arm(rows=rows, faults=faults), limit, 0.05, 1)


@given(st.floats(1e-8, 10), st.floats(1e-3, 1), st.floats(1e-4, 0.5))
def test_reach_is_wider_than_one_look_needs_and_shrinks_with_the_variance(
    variance: float, effect: float, significance: float
) -> None:
    width = reach(variance, effect, significance)
    assert width > math.sqrt(-2 * variance * math.log(significance))
    assert reach(variance / 2, effect, significance) < width


def test_reach_at_its_ends() -> None:
    assert reach(math.inf, 0.05, 0.05) == math.inf
    assert reach(0.0, 0.05, 0.05) == 0.0


def test_looking_often_at_equal_models_rarely_condemns_one() -> None:
    """The law behind the judge: over all looks together the error stays below the level (a fixed-sample test: 40%)."""
    generator, alarms, alarms_faults = np.random.default_rng(1), 0, 0
    looks = np.arange(40, 4001, 40)
    for _ in range(300):
        losses = generator.normal(0.5, 0.5, (2, 4000))
        totals, squares = losses.cumsum(axis=1)[:, looks - 1], (losses**2).cumsum(axis=1)[:, looks - 1]
        faults = (generator.random(4000) < 0.02).cumsum()[looks - 1]
        arms = [
            [Losses(rows=n, total=totals[k, i], square_total=squares[k, i]) for i, n in enumerate(looks)]
            for k in (0, 1)
        ]
        alarms += any(
            b.mean - a.mean > reach(a.mean_variance + b.mean_variance, CONFIG.effect, 0.05)
            for a, b in zip(*arms, strict=True)
        )
        alarms_faults += any(
            exceeds_share(Arm(rows=n, faults=k), 0.02, 0.05, 1)
            for n, k in zip(looks.tolist(), faults.tolist(), strict=True)
        )
    assert alarms <= 0.05 * 300
    assert alarms_faults <= 0.05 * 300


@settings(max_examples=50)
@given(
    st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000), st.floats(0, 3), st.floats(0, 3), st.floats(0, 3)
)
def test_every_trial_ends(
    labelled: int, of_champion: int, faults: int, mean: float, other: float, spread: float
) -> None:
    candidate = example_arm(mean, rows=labelled + faults, labelled=labelled, faults=faults, spread=spread)
    evidence = example_evidence(candidate, example_arm(other, labelled=of_champion, spread=spread))
    assert verdict_of(evidence, CONFIG.max_duration)[0] is not Verdict.WAIT
