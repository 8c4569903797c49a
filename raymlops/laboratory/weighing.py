"""The cost of staleness, weighed against the price of a retraining. Pure.

Three things are weighed. *By age*: the mean regret of all models seen so far, made to rise with age. *Its own*: how
far the serving model's regret lies from that of its age, as far as such a thing has lasted until now. *The rhythm*:
the least mean cost of a window, price included, over all intervals. A retraining is due when what is expected of
the next window exceeds the rhythm's cost, and together with what was lost so far the price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from raymlops.laboratory.probed import ProbedWindow, RegretStanding
from raymlops.laboratory.staleness import FloatArray, Staleness

__all__ = ["NOISE", "Weighed", "weigh_probed", "weigh_staleness"]

NOISE = 0.25
"""Standard errors that are taken off a model's own regret, by default."""
_SLOPE = 0.02
"""Regret that is expected for each window of age before anything is known, in losses of one window; weighs as one."""
_TREND, _TREND_WINDOWS = 0.8, 20
"""How much of a model's own regret lasts to the next window before anything is known, and what that weighs."""


@dataclass(frozen=True)
class Weighed:
    """Regret and price at the start of a window, in losses of one window.

    Attributes:
        retrain: Whether a new model is to serve the window.
        expected: Expected regret: the serving model's loss in it beyond a new model's.
        bar: What ``expected`` must exceed: the mean cost of a window at the best interval between retrainings.
        accrued: Accrued regret: the serving model's loss so far beyond newer models'.
        price: Price of a retraining; the sum of accrued and expected regret must exceed it.
    """

    retrain: bool
    expected: float
    bar: float
    accrued: float
    price: float

    @property
    def reason(self) -> str:
        """For people."""
        verdict = "pays" if self.retrain else "does not pay yet"
        return (
            f"a retraining {verdict}: {self.accrued:.3f} losses of a window were lost to newer models, "
            f"{self.expected:.3f} more are expected in the next window (bar {self.bar:.3f}), and a retraining costs "
            f"{self.price:g}"
        )


def weigh_staleness(known: Staleness, serving: int, *, price: float, z: float = NOISE) -> Weighed:
    """The decision, from what is known.

    Args:
        known: Regrets of the models and windows until now.
        serving: Row of the serving model.
        price: Of a retraining, in losses of one window.
        z: So many standard errors are taken off a model's own regret: noise must not add up.
    """
    size = len(known.regrets)
    if not size or not known.unit > 0:
        return Weighed(False, 0.0, 0.0, 0.0, price)
    # a newer model is no worse in truth: a value further below than noise is a fluke
    regrets = np.maximum(known.regrets, -known.errors) / known.unit
    by_age, seen = _by_age(regrets)
    rhythm = (price + np.cumsum(by_age)) / np.arange(1, size + 2)
    expected = float(by_age[size - serving])
    own, errors = regrets[serving], known.errors[serving] / known.unit
    if size - serving >= 2 and np.isfinite(own[-1]):
        lasting = _lasting(regrets, seen)
        expected += lasting * float(own[-1] - by_age[size - serving - 1] - z * errors[-1])
    accrued = 0.0
    for regret, error in zip(own[serving:], errors[serving:], strict=True):
        if np.isfinite(regret):
            accrued = max(0.0, accrued + float(regret) - z * float(error))
    bar = float(rhythm.min())
    return Weighed(expected > bar and accrued + expected > price, expected, bar, accrued, price)


def weigh_probed(
    windows: Sequence[ProbedWindow], *, trained_at: datetime | None, price: float
) -> RegretStanding | None:
    """The default policy's account. The probe of the champion's age stands for the champion.

    Args:
        windows: Windows of one length that were probed, oldest first.
        trained_at: The instant whose knowledge the champion was trained with.
        price: Of a retraining, in losses of one window.

    Returns:
        ``None`` where nothing was probed, or the champion is newer than all that was.
    """
    if not windows or trained_at is None:
        return None
    newest = windows[-1]
    length, oldest = newest.end - newest.start, min(window.probes[0] for window in windows)
    size = round((newest.end - oldest) / length)
    serving = max(0, round((trained_at - oldest) / length))
    if serving >= size:
        return None
    regrets, errors = np.full((size, size), np.nan), np.zeros((size, size))
    for window in windows:
        column = round((window.start - oldest) / length)
        rows = [round((probe - oldest) / length) for probe in window.probes]
        regrets[rows, column], errors[rows, column] = window.regrets, window.errors
    unit = float(np.mean([window.loss for window in windows]))
    weighed = weigh_staleness(Staleness(regrets, errors, unit), serving, price=price)
    return RegretStanding(
        pays=weighed.retrain,
        expected=weighed.expected,
        bar=weighed.bar,
        accrued=weighed.accrued,
        price=price,
        age_windows=size - serving,
        probed_windows=len(windows),
        loss=newest.loss,
        start=newest.start,
        end=newest.end,
        reason=weighed.reason,
    )


def _by_age(regrets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean regret by age, from 0 to one more than was seen, never falling; and the plain means of the ages seen."""
    size = len(regrets)
    rows, columns = np.nonzero(np.isfinite(regrets))
    age = columns - rows
    counts = np.bincount(age, minlength=size).astype(np.float64)
    sums = np.bincount(age, weights=regrets[rows, columns], minlength=size)
    prior = _SLOPE * np.arange(size)
    means = (sums + prior) / (counts + 1.0)
    means[0] = 0.0
    following = max(0.0, means[-1] + _SLOPE)
    rising = _rising(np.maximum(np.append(means, following), 0.0), np.append(counts, 0.0) + 1.0)
    plain = sums / np.maximum(counts, 1.0)
    return rising, plain


def _lasting(regrets: FloatArray, by_age: FloatArray) -> float:
    """How much of what sets a model apart from its age lasts to the next window, 0 to 1."""
    size = len(regrets)
    rows, columns = np.nonzero(np.isfinite(regrets[:, 1:]) & np.isfinite(regrets[:, :-1]))
    age = columns + 1 - rows
    older = age >= 2
    rows, columns, age = rows[older], columns[older], age[older]
    before = regrets[rows, columns] - by_age[age - 1]
    after = regrets[rows, columns + 1] - by_age[age]
    ages = max(1, size - 2)
    spread, shared = float(before @ before) / ages, float(before @ after) / ages
    if not spread > 0:
        return _TREND
    weight = _TREND_WINDOWS * spread
    return min(1.0, max(0.0, (shared * size + _TREND * weight) / (spread * size + weight)))


def _rising(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The rising sequence nearest to ``values``: neighbours that fall are pooled."""
    means: list[float] = []
    totals: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        totals.append(weight)
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mean, total, count = means.pop(), totals.pop(), counts.pop()
            pooled = totals[-1] + total
            means[-1] = (means[-1] * totals[-1] + mean * total) / pooled
            totals[-1], counts[-1] = pooled, counts[-1] + count
    return np.repeat(np.array(means), counts)
