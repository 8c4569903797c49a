"""Policies folded over a matrix, and what no policy can pass."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import ConfigError
from raymlops.laboratory import History, LossMatrix, Never, Periodic, Schedule, best_schedules, oracle, simulate
from raymlops.laboratory.simulation import replay
from tests.unit.laboratory.examples import FIRST, ageing


def drawn(seed: int, count: int) -> LossMatrix:
    rng = np.random.default_rng(seed)
    pairs = [(i, j) for j in range(count) for i in range(j + 1)]
    return LossMatrix.from_losses({pair: rng.random(3) for pair in pairs}, first=0)


def test_never_and_every_window_are_the_ends_of_the_scale() -> None:
    matrix = ageing(count=4, slope=0.1)
    never, every = simulate(matrix, Never()), simulate(matrix, Periodic(1))
    assert never.retrainings == ()
    assert never.loss == pytest.approx(1 + 0.1 * (0 + 1 + 2 + 3) / 4)
    assert never.gain_share == 0
    assert every.retrainings == (4, 5, 6)
    assert every.loss == 1.0
    assert every.gain_share == 1


def test_a_calendar_retrains_at_its_age() -> None:
    outcome = simulate(ageing(count=7), Periodic(3))
    assert outcome.retrainings == (FIRST + 3, FIRST + 6)
    assert outcome.by_window == pytest.approx((1, 1.1, 1.2, 1, 1.1, 1.2, 1))


def test_a_firing_is_worth_what_it_saved_beside_the_model_it_replaced() -> None:
    (firing,) = simulate(ageing(count=5, slope=0.1), Schedule((FIRST + 2,))).firings
    assert (firing.window, firing.replaced, firing.until) == (5, 3, 8)
    assert firing.worth == pytest.approx(3 * 0.2)  # three windows, each two windows fresher, in losses of one window


def test_cost_counts_prices_in_losses_of_a_window() -> None:
    outcome = simulate(ageing(count=4, slope=0.0), Periodic(2))
    assert outcome.cost(0.25) == pytest.approx(4 + 0.25)


@given(seed=st.integers(0, 1000), count=st.integers(2, 7), price=st.floats(0, 0.6))
@settings(max_examples=40, deadline=None)
def test_the_oracle_is_the_cheapest_of_all_schedules(seed: int, count: int, price: float) -> None:
    matrix = drawn(seed, count)
    windows = range(1, count)
    schedules = [s for n in range(count) for s in itertools.combinations(windows, n)]
    least = min(replay(matrix, schedule).cost(price) for schedule in schedules)
    assert oracle(matrix, price).cost(price) == pytest.approx(least)


@given(seed=st.integers(0, 1000), count=st.integers(2, 7))
@settings(max_examples=40, deadline=None)
def test_the_frontier_is_the_least_loss_for_each_number_of_retrainings(seed: int, count: int) -> None:
    matrix = drawn(seed, count)
    found = best_schedules(matrix)
    assert [len(one.retrainings) for one in found] == list(range(count))
    for number, one in enumerate(found):
        every = itertools.combinations(range(1, count), number)
        assert one.loss == pytest.approx(min(replay(matrix, schedule).loss for schedule in every))


class Peeking:
    """Asks about the window that is to come."""

    name = "peeking"

    def decide(self, history: History) -> bool:
        return bool(history.losses(history.serving, history.window).mean() > 1)


def test_a_policy_cannot_ask_about_what_has_not_happened() -> None:
    with pytest.raises(ConfigError, match="at the start of window 4 a policy may ask about models and windows from 3"):
        simulate(ageing(), Peeking())


def test_drift_is_refused_where_nobody_looked() -> None:
    with pytest.raises(ConfigError, match="without looking for drift"):
        History(ageing(), 5, 3).drifted(4)


def test_a_window_without_rows_costs_nothing_and_is_no_number() -> None:
    losses = {(0, 0): np.ones(2), (0, 1): np.ones(0), (1, 1): np.ones(0), (0, 2): np.ones(2), (1, 2): np.ones(2)}
    matrix = LossMatrix.from_losses(losses | {(2, 2): np.ones(2)}, first=0)
    outcome = simulate(matrix, Never())
    assert outcome.loss == 1
    assert math.isnan(outcome.by_window[1])
