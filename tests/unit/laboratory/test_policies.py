"""When each policy fires."""

from __future__ import annotations

import numpy as np
import pytest

from raymlops.errors import ConfigError
from raymlops.laboratory import (
    CheapestCalendar,
    Drift,
    ForesightPolicy,
    History,
    LossMatrix,
    MatrixFacts,
    Never,
    Performance,
    Periodic,
    Policy,
    Regret,
    Staleness,
    default_policy,
    oracle,
    simulate,
)
from tests.unit.laboratory.examples import FIRST, ageing


def noisy(change: int | None, count: int = 50, rows: int = 500, seed: int = 0) -> LossMatrix:
    """Models that are alike but for noise; from window ``change`` on, those that are older lose half as much again."""
    rng = np.random.default_rng(seed)
    losses = {}
    for j in range(count):
        base = rng.exponential(1.0, rows)
        for i in range(j + 1):
            stale = 1.5 if change is not None and i <= change <= j else 1.0
            losses[i, j] = base * stale + 0.02 * rng.normal(size=rows)
    return LossMatrix.from_losses(losses, first=0)


@pytest.mark.parametrize(
    "policy", [Never(), Periodic(2), Drift(), Performance(), Regret(), CheapestCalendar(), default_policy()]
)
def test_each_is_a_policy(policy: Policy) -> None:
    assert isinstance(policy, Policy)


@pytest.mark.parametrize("policy", [default_policy(), Regret(), CheapestCalendar(), Performance()])
@pytest.mark.parametrize("seed", range(3))
def test_models_that_do_not_go_stale_are_hardly_ever_retrained(policy: Policy, seed: int) -> None:
    assert len(simulate(noisy(None, seed=seed), policy).retrainings) <= 3


@pytest.mark.parametrize("policy", [default_policy(), Regret()])
def test_a_change_is_answered_within_three_windows(policy: Policy) -> None:
    outcome = simulate(noisy(25, count=40), policy)
    assert min(window for window in outcome.retrainings if window > 25) <= 28


@pytest.mark.parametrize("price", [0.02, 0.05, 0.1, 0.2])
def test_the_default_comes_near_the_best_rhythm_of_models_that_age_evenly(price: float) -> None:
    matrix = ageing(count=60, slope=0.02, rows=200)
    cost, best = simulate(matrix, default_policy(price)).cost(price), oracle(matrix, price).cost(price)
    assert cost / best - 1 < 0.01


def test_a_dearer_retraining_is_made_less_often() -> None:
    matrix = ageing(count=60, slope=0.02, rows=200)
    counts = [len(simulate(matrix, default_policy(price)).retrainings) for price in (0.01, 0.05, 0.25, 500.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 0


def test_the_unit_of_the_loss_does_not_matter() -> None:
    matrix = noisy(20, count=30)
    pairs = [(i, j) for j in range(30) for i in range(j + 1)]
    scaled = LossMatrix.from_losses({pair: 1000 * np.asarray(matrix.losses(*pair)) for pair in pairs}, first=0)
    for policy in (default_policy(), Regret(), CheapestCalendar(), Performance()):
        assert simulate(scaled, policy).retrainings == simulate(matrix, policy).retrainings


def test_what_was_weighed_is_told() -> None:
    weighed = ForesightPolicy(0.05).weigh(History(ageing(slope=0.1), FIRST + 4, FIRST))
    assert weighed.retrain
    assert weighed.accrued == pytest.approx(0.1 + 0.2 + 0.3)
    assert 0.25 < weighed.expected < 0.4
    assert weighed.reason.startswith("a retraining pays: 0.600 losses of a window were lost to newer models")


def test_the_decision_needs_regrets_alone() -> None:
    regrets = np.array([[0.0, 0.3, 0.3], [np.nan, 0.0, 0.0], [np.nan, np.nan, 0.0]])
    policy = default_policy(0.1)
    assert policy.judge(Staleness(regrets, np.zeros((3, 3)), 1.0), 0).retrain
    assert not default_policy(0.5).judge(Staleness(regrets, np.zeros((3, 3)), 1.0), 2).retrain
    assert not policy.judge(Staleness(np.zeros((0, 0)), np.zeros((0, 0)), 0.0), 0).retrain


def test_windows_without_labels_say_nothing() -> None:
    losses = {(i, j): np.full(3, 1 + 0.5 * (j - i)) for j in range(8) for i in range(j + 1)}
    matrix = LossMatrix(losses, first=0, known=np.zeros((8, 9), dtype=np.int64))
    for policy in (default_policy(), Regret(), CheapestCalendar(), Performance()):
        assert simulate(matrix, policy).retrainings == ()


def test_drift_fires_on_two_of_three_windows_the_newest_among_them() -> None:
    losses = {(i, j): np.ones(2) for j in range(8) for i in range(j + 1)}
    matrix = LossMatrix(losses, first=0, facts=MatrixFacts(drifted=frozenset({(0, 1), (0, 3), (0, 4)})))
    assert simulate(matrix, Drift()).retrainings == (4,)


def test_performance_fires_where_the_model_loses_more_than_at_first() -> None:
    assert simulate(ageing(count=6, slope=0.06), Performance(n=2, of=3)).retrainings == (FIRST + 4,)


def test_a_calendar_of_no_windows_is_refused() -> None:
    with pytest.raises(ConfigError, match="every must be at least 1, got 0"):
        Periodic(0)
