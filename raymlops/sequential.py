"""Statistics that may be looked at after every row: their error holds over all looks together. Pure.

A test of fixed size is valid at one look; its error grows with every further one. Each bound and each e-value here is
made of a process that exceeds 1/alpha with a chance of at most alpha, ever, where there is no difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from raymlops.errors import DataError

__all__ = ["bounded_bounds", "fault_evidence", "mean_bounds"]

Numbers = float | npt.NDArray[np.float64]
Floats = npt.NDArray[np.float64]

_RATES = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0])
"""How many times as often a candidate might fail; the alternatives that ``fault_evidence`` takes the mean over."""
_BETS = np.geomspace(1 / 512, 1.0, 19)
"""Shares of the capital that ``bounded_bounds`` bets; small ones pay with many rows, large ones with few."""
_LARGEST_LOG = 700.0
"""So that an e-value is a finite float."""
_HALVINGS = 40


def mean_bounds(
    n: Numbers, mean: Numbers, sd: Numbers, *, alpha: float = 0.05, n_opt: float = 500
) -> tuple[Numbers, Numbers]:
    """A lower and an upper bound of a mean, each missed at any ``n`` whatever with a chance of ``alpha`` at most.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, arXiv 2103.06476. The values need no bounds and no unit, only a
    finite variance. It is asymptotic: begin to look at some 100 values.

    Args:
        n: How many values; below 2 nothing is known, and the bounds are infinite.
        mean: Their mean.
        sd: Their standard deviation.
        alpha: Of each bound by itself, above 0 and below 0.5.
        n_opt: The ``n`` at which the bounds are tightest.

    Returns:
        Numbers, or arrays where arrays are given.

    Raises:
        DataError: ``alpha`` or ``n_opt`` is out of range.
    """
    if not 0 < alpha < 0.5 or not n_opt > 0:
        raise DataError(f"alpha must lie between 0 and 0.5, and n_opt above 0, got {alpha} and {n_opt}")
    times = np.asarray(n, dtype=np.float64) * _scale(2 * alpha, n_opt)
    return _around(n, mean, sd, times, np.log1p(np.sqrt(times + 1) / (2 * alpha)))


def bounded_bounds(
    values: Floats, counts: Floats | None = None, *, low: float, high: float, alpha: float = 0.05
) -> tuple[float, float]:
    """A lower and an upper bound of the mean of bounded values, each valid at every number of rows, from the first on.

    The capital of a gambler who bets constant shares on the values (Waudby-Smith and Ramdas, JRSS-B 2024). What order
    the values come in makes no difference.

    Args:
        values: Each in ``[low, high]``.
        counts: How often each value occurred; once each where left out.
        low: No value lies below it.
        high: No value lies above it.
        alpha: Of each bound by itself.

    Raises:
        DataError: A value lies outside, or ``alpha`` is out of range.
    """
    if not 0 < alpha < 1 or not low < high:
        raise DataError(f"alpha must lie between 0 and 1, and low below high, got {alpha}, {low} and {high}")
    values = np.asarray(values, dtype=np.float64)
    held = np.ones(values.shape) if counts is None else np.asarray(counts, dtype=np.float64)
    if ((values < low) | (values > high) | np.isnan(values)).any():
        raise DataError(f"values must lie between {low} and {high}, got {values.min()} to {values.max()}")
    values, held = values[held > 0], held[held > 0]
    shares, span = (values - low) / (high - low), high - low
    below = _largest_rejected(shares, held, alpha)
    above = 1 - _largest_rejected(1 - shares, held, alpha)
    return low + span * below, low + span * above


def fault_evidence(steps: Sequence[tuple[float, float, float]], *, margin: float = 1.0) -> float:
    """The e-value of failures against "the candidate fails at most ``margin`` times as often as the champion".

    Given that a request failed, whose was it? That does not depend on how often requests fail (Lindon and Malek, arXiv
    2011.03567), so the rate may move as it likes. Reject at ``1 / alpha``: with a chance of ``alpha`` at most it is
    ever reached.

    Args:
        steps: Of each stretch with one share of traffic: the candidate's share, from 0 to 1, its failures, and the
            champion's failures.
        margin: Ratio of the rates that is accepted.

    Raises:
        DataError: A share, a count or the margin is out of range.
    """
    if not 0 < margin < np.inf:
        raise DataError(f"margin must be above 0, got {margin}")
    log_e = np.zeros(_RATES.size)
    for share, candidate, champion in steps:
        if not 0 <= share <= 1 or not candidate >= 0 or not champion >= 0:
            raise DataError(
                f"a step must have a share from 0 to 1 and no negative count, got {share}, {candidate}, {champion}"
            )
        rest = 1 - share
        shrink = np.log(margin * share + rest) - np.log(margin * _RATES * share + rest)
        log_e += candidate * (np.log(_RATES) + shrink) + champion * shrink
    return _mean_of_exp(log_e)


def _scale(alpha: float, n_opt: float) -> float:
    """The square of rho, by which the boundary is tightest at ``n_opt``."""
    return float((-2 * np.log(alpha) + np.log1p(-2 * np.log(alpha))) / n_opt)


def _around(n: Numbers, mean: Numbers, sd: Numbers, times: Floats, doubt: Floats) -> tuple[Numbers, Numbers]:
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.asarray(sd * np.sqrt(2 * (times + 1) / (np.asarray(n) * times) * doubt))
    reach = np.where((np.asarray(n) >= 2) & np.isfinite(reach), reach, np.inf)
    lower, upper = mean - reach, mean + reach
    return (float(lower), float(upper)) if np.ndim(lower) == 0 else (lower, upper)


def _largest_rejected(shares: Floats, counts: Floats, alpha: float) -> float:
    """The largest mean, from 0 to 1, that the values contradict; 0 where they contradict none."""
    low, high = 0.0, 1.0
    bar = -np.log(alpha)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        with np.errstate(divide="ignore"):
            gains = np.log1p(_BETS[:, None] * (shares / middle - 1))
        log_capital = (gains * counts).sum(axis=1)
        if np.logaddexp.reduce(log_capital) - np.log(_BETS.size) >= bar:
            low = middle
        else:
            high = middle
    return low


def _mean_of_exp(logs: Floats) -> float:
    return float(np.exp(min(np.logaddexp.reduce(logs) - np.log(logs.size), _LARGEST_LOG)))
