"""Laws of the statistics: published formulae as oracles, coverage under peeking by simulation with fixed seeds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.control.sequential import bounded_bounds, fault_evidence, mean_bounds
from raymlops.errors import DataError

ROWS = st.integers(2, 10**6)
MEANS = st.floats(-100, 100)
SPREADS = st.floats(1e-3, 100)
ALPHAS = st.floats(1e-4, 0.4)
STEPS = st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(0, 60), st.integers(0, 60)), max_size=5)
LOSSES = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60)
REPEATS = 500
TOLERANCE = 0.03
"""Three standard errors of a share of 0.05 in 500 repeats: what a simulation of an exact bound may show by chance."""


class TestMeanBounds:
    @given(ROWS, MEANS, SPREADS, ALPHAS, st.integers(10, 10**5))
    def test_the_published_formula_one_sided(self, n: int, mean: float, sd: float, alpha: float, n_opt: int) -> None:
        """arXiv 2103.06476: the boundary of the text, with rho for 2 alpha."""
        a = 2 * alpha
        rho2 = (-2 * math.log(a) + math.log(1 - 2 * math.log(a))) / n_opt
        inner = 2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(1 + math.sqrt(n * rho2 + 1) / (2 * alpha))
        lower, upper = mean_bounds(n, mean, sd, alpha=alpha, n_opt=n_opt)
        assert lower == pytest.approx(mean - sd * math.sqrt(inner), rel=1e-9, abs=1e-9)
        assert upper == pytest.approx(mean + sd * math.sqrt(inner), rel=1e-9, abs=1e-9)

    @given(ROWS, MEANS, SPREADS, st.sampled_from([1e-3, 0.5, 1000.0]))
    def test_no_unit(self, n: int, mean: float, sd: float, unit: float) -> None:
        plain, scaled = mean_bounds(n, mean, sd), mean_bounds(n, unit * mean, unit * sd)
        assert np.allclose(scaled, [unit * bound for bound in plain], rtol=1e-9, atol=1e-9 * unit)

    @given(ROWS, SPREADS, ALPHAS)
    def test_monotonicity(self, n: int, sd: float, alpha: float) -> None:
        width = mean_bounds(n, 0.0, sd, alpha=alpha)[1]
        assert mean_bounds(n, 0.0, 2 * sd, alpha=alpha)[1] > width
        if n >= 500 and alpha < 0.2:  # elsewhere a smaller alpha also moves where the boundary is tightest
            assert mean_bounds(n, 0.0, sd, alpha=alpha / 2)[1] > width
        assert mean_bounds(2 * n, 0.0, sd, alpha=alpha)[1] < width

    def test_it_is_tightest_where_it_is_told_to(self) -> None:
        at = {n_opt: mean_bounds(500, 0.0, 1.0, n_opt=n_opt)[1] for n_opt in (50, 500, 5000)}
        assert min(at, key=lambda n_opt: at[n_opt]) == 500

    @pytest.mark.parametrize("n", [0, 1])
    def test_nothing_is_known_of_too_few(self, n: int) -> None:
        assert mean_bounds(n, 0.5, 0.0) == (-math.inf, math.inf)

    def test_without_any_spread_the_mean_is_known(self) -> None:
        assert mean_bounds(100, 0.0, 0.0) == (0.0, 0.0)
        assert mean_bounds(100, 0.5, math.inf) == (-math.inf, math.inf)

    def test_arrays_give_arrays(self) -> None:
        n = np.array([1.0, 100.0, 500.0])
        lower, upper = mean_bounds(n, np.zeros(3), np.ones(3))
        assert upper[2] == mean_bounds(500, 0.0, 1.0)[1]
        assert (lower[0], upper[0]) == (-math.inf, math.inf)

    @pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0, math.nan])
    def test_a_level_out_of_range(self, alpha: float) -> None:
        with pytest.raises(DataError, match="alpha must lie between 0 and"):
            mean_bounds(100, 0.0, 1.0, alpha=alpha)
        with pytest.raises(DataError, match="n_opt above 0"):
            mean_bounds(100, 0.0, 1.0, n_opt=0)

    @pytest.mark.parametrize(
        "draw",
        [
            lambda random, size: random.normal(0, 1, size),
            lambda random, size: random.standard_t(3, size),
            lambda random, size: random.exponential(1, size) - random.exponential(1, size),
            lambda random, size: random.choice([-1.0, 0.0, 1.0], size, p=[0.05, 0.9, 0.05]),
        ],
        ids=["normal", "heavy tails", "skewed apart", "rare"],
    )
    def test_looking_after_every_row_from_100_on_errs_as_often_as_said(
        self, draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
    ) -> None:
        values = draw(np.random.default_rng(1), (REPEATS, 2000))
        n = np.arange(1, 2001, dtype=np.float64)
        mean = values.cumsum(axis=1) / n
        sd = np.sqrt(np.maximum((values**2).cumsum(axis=1) / n - mean**2, 0) * n / np.maximum(n - 1, 1))
        lower, upper = mean_bounds(n[99:], mean[:, 99:], sd[:, 99:], alpha=0.05)
        assert (np.asarray(lower) > 0).any(axis=1).mean() <= 0.05 + TOLERANCE
        assert (np.asarray(upper) < 0).any(axis=1).mean() <= 0.05 + TOLERANCE


class TestBoundedBounds:
    @given(LOSSES, st.permutations(range(60)))
    def test_the_order_of_values_makes_no_difference(self, values: list[float], order: list[int]) -> None:
        shuffled = [values[i] for i in order if i < len(values)]
        one, other = (bounded_bounds(np.array(each), low=-1.0, high=1.0) for each in (values, shuffled))
        assert one == pytest.approx(other, abs=1e-9)

    @given(LOSSES)
    def test_counts_stand_for_repeats(self, values: list[float]) -> None:
        kinds, counts = np.unique(values, return_counts=True)
        counted = bounded_bounds(kinds, counts.astype(float), low=-1.0, high=1.0)
        assert counted == pytest.approx(bounded_bounds(np.array(values), low=-1.0, high=1.0), abs=1e-9)

    @given(LOSSES, st.sampled_from([0.1, 7.0, 1000.0]))
    def test_no_unit(self, values: list[float], unit: float) -> None:
        plain = bounded_bounds(np.array(values), low=-1.0, high=1.0)
        scaled = bounded_bounds(unit * np.array(values), low=-unit, high=unit)
        assert scaled == pytest.approx([unit * bound for bound in plain], abs=1e-6 * unit)

    @given(LOSSES)
    def test_it_holds_the_mean_and_mirrors(self, values: list[float]) -> None:
        lower, upper = bounded_bounds(np.array(values), low=-1.0, high=1.0)
        assert lower <= np.mean(values) <= upper
        mirrored = bounded_bounds(-np.array(values), low=-1.0, high=1.0)
        assert mirrored == pytest.approx((-upper, -lower), abs=1e-9)

    def test_a_bet_of_everything_is_the_likelihood_ratio_of_ones_alone(self) -> None:
        """All values are 1: betting c on "above m" multiplies the capital by 1 + c (1/m - 1); the mixture is solved."""
        bets = np.geomspace(1 / 512, 1.0, 19)
        lower, upper = bounded_bounds(np.ones(30), low=0.0, high=1.0)
        assert np.mean((1 + bets * (1 / lower - 1)) ** 30) == pytest.approx(20, rel=1e-6)
        assert upper == 1.0

    def test_looking_after_every_row_from_the_first_on_errs_no_more_than_said(self) -> None:
        random = np.random.default_rng(2)
        missed = 0
        for _ in range(150):
            values = random.choice([-1.0, 0.0, 1.0], 400, p=[0.1, 0.8, 0.1])
            for n in (3, 8, 20, 50, 80, 120, 200, 400):
                kinds, counts = np.unique(values[:n], return_counts=True)
                if bounded_bounds(kinds, counts.astype(float), low=-1.0, high=1.0)[0] > 0:
                    missed += 1
                    break
        assert missed <= 0.05 * 150 + 3 * math.sqrt(150 * 0.05 * 0.95)

    @pytest.mark.parametrize("values", [[1.5], [-2.0], [math.nan]])
    def test_values_out_of_range(self, values: list[float]) -> None:
        with pytest.raises(DataError, match="values must lie between"):
            bounded_bounds(np.array(values), low=-1.0, high=1.0)

    def test_no_values_say_nothing(self) -> None:
        assert bounded_bounds(np.empty(0), low=-1.0, high=1.0) == (-1.0, 1.0)


class TestFaultEvidence:
    @given(STEPS, st.floats(0.5, 3))
    def test_the_published_formula(self, steps: list[tuple[float, int, int]], margin: float) -> None:
        def theta(share: float, ratio: float) -> float:
            return share * ratio / (share * ratio + 1 - share)

        e = 0.0
        for g in (1.25, 1.5, 2, 3, 5, 10, 30):
            log = 0.0
            for share, candidate, champion in steps:
                log += candidate * math.log(theta(share, margin * g) / theta(share, margin))
                log += champion * math.log((1 - theta(share, margin * g)) / (1 - theta(share, margin)))
            e += math.exp(min(log, 700)) / 7
        assert fault_evidence(steps, margin=margin) == pytest.approx(e, rel=1e-6)

    @given(STEPS)
    def test_the_order_of_steps_and_how_they_are_cut_make_no_difference(
        self, steps: list[tuple[float, int, int]]
    ) -> None:
        halves = [(share, a, 0) for share, a, _ in steps] + [(share, 0, b) for share, _, b in steps]
        assert fault_evidence(steps[::-1]) == pytest.approx(fault_evidence(steps), rel=1e-6)
        assert fault_evidence(halves) == pytest.approx(fault_evidence(steps), rel=1e-6)

    @given(st.floats(0.01, 0.9), st.integers(0, 50), st.integers(0, 50))
    def test_monotonicity(self, share: float, candidate: int, champion: int) -> None:
        e = fault_evidence([(share, candidate, champion)])
        assert fault_evidence([(share, candidate + 1, champion)]) > e
        assert fault_evidence([(share, candidate, champion + 1)]) < e
        assert fault_evidence([(share + 0.05, candidate, champion)]) <= e
        assert fault_evidence([(share, candidate, champion)], margin=1.5) <= e

    @given(st.floats(0.01, 0.99))
    def test_its_expectation_on_equal_models_is_1(self, share: float) -> None:
        """Given one failure, it was the candidate's with the chance of its share."""
        e = share * fault_evidence([(share, 1, 0)]) + (1 - share) * fault_evidence([(share, 0, 1)])
        assert e == pytest.approx(1.0, rel=1e-9)

    def test_extremes(self) -> None:
        assert fault_evidence([]) == 1.0
        assert fault_evidence([(1.0, 9, 0)]) == pytest.approx(1.0), "without a champion nothing is known"
        assert math.isfinite(fault_evidence([(0.1, 100_000, 0)]))
        assert fault_evidence([(0.5, 0, 100_000)]) >= 0.0

    @pytest.mark.parametrize("step", [(-0.1, 1, 1), (1.1, 1, 1), (0.5, -1, 0), (math.nan, 1, 1), (0.5, math.nan, 1)])
    def test_steps_out_of_range(self, step: tuple[float, float, float]) -> None:
        with pytest.raises(DataError, match="a step must have a share from 0 to 1"):
            fault_evidence([step])
        with pytest.raises(DataError, match="margin must be above 0"):
            fault_evidence([], margin=0)

    def test_equal_models_are_rarely_condemned_whatever_the_rate_does_and_however_often_one_looks(self) -> None:
        random = np.random.default_rng(3)
        alarms = 0
        for _ in range(200):
            rates = 0.05 * random.uniform(0.2, 1.8, 20).repeat(150)
            own = random.random(3000) < np.repeat([0.05, 0.2], 1500)
            failed = np.flatnonzero(random.random(3000) < rates)
            a, b = (np.cumsum(own[failed] & (failed < 1500)), np.cumsum(~own[failed] & (failed < 1500)))
            c, d = (np.cumsum(own[failed] & (failed >= 1500)), np.cumsum(~own[failed] & (failed >= 1500)))
            looks = zip(a.tolist(), b.tolist(), c.tolist(), d.tolist(), strict=True)
            alarms += any(fault_evidence([(0.05, w, x), (0.2, y, z)]) >= 20 for w, x, y, z in looks)
        assert alarms <= 0.05 * 200 + 3 * math.sqrt(200 * 0.05 * 0.95)
