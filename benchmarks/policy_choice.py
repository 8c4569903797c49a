"""The series that the default policy's constants were chosen on: linear models on rules that move, in closed form.

A series is 30 to 100 windows of 150 to 8,000 rows. The models' coefficients, their losses on each window and the errors
of these are drawn from what least squares would have come to, so that hundreds of series take seconds. None of them is
among those that ``benchmarks.policies`` judges. Seeds 1000 to 1069 chose; seeds 2000 to 2055 were looked at afterwards.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.policies import PRICES
from raymlops.laboratory import Staleness, default_policy

Floats = NDArray[np.float64]
KINDS = ("abrupt", "gradual", "recurring", "none", "walk", "bursts", "mixed")


@dataclass(frozen=True)
class LinearSeries:
    """Mean losses ``[model, window]`` in units of a fresh model's, and the standard errors of its regrets."""

    losses: Floats
    errors: Floats


def measure(seeds: Sequence[int] = range(1000, 1070)) -> dict[str, Any]:
    """Mean excess over the oracle in percent, by price: the default policy, and the calendar chosen in hindsight."""
    series = [linear_series(seed) for seed in seeds]
    found: dict[str, Any] = {}
    for price in PRICES:
        best = [_oracle(one.losses, price) for one in series]
        own = [_cost(one.losses, _decided(one, price), price) for one in series]
        calendars = [_hindsight(one.losses, price) for one in series]
        found[str(price)] = {
            "default": round(100 * statistics.mean(a / b - 1 for a, b in zip(own, best, strict=True)), 2),
            "hindsight calendar": round(
                100 * statistics.mean(a / b - 1 for a, b in zip(calendars, best, strict=True)), 2
            ),
        }
    return found


def linear_series(seed: int) -> LinearSeries:
    """One series; the kinds take turns by seed."""
    rng = np.random.default_rng(seed)
    windows, rows = int(rng.integers(30, 100)), int(np.exp(rng.uniform(np.log(150), np.log(8000))))
    inputs, first = int(rng.choice([4, 10, 25, 60])), int(rng.integers(4, 10))
    memory = int(rng.choice([0, 0, 6, 12]))
    noise, strength = np.exp(rng.uniform(np.log(0.4), np.log(2.0))), np.exp(rng.uniform(np.log(0.15), np.log(1.6)))
    rule = _rules(KINDS[seed % len(KINDS)], windows, inputs, strength, rng)
    spread = noise * np.exp(rng.uniform(0, 0.35) * rng.normal(size=windows))
    learned = rule + rng.normal(size=rule.shape) * spread[:, None] / np.sqrt(rows)
    models = np.array([learned[max(0, i - memory) if memory else 0 : i].mean(axis=0) for i in range(first, windows)])
    shifts = rng.normal(size=rule.shape) * spread[:, None] / np.sqrt(rows)
    wobble = 1 + np.sqrt(2 / rows) * rng.normal(size=windows)
    size = windows - first
    losses, errors = np.full((size, size), np.nan), np.zeros((size, size))
    for j in range(size):
        at = first + j
        apart = models[: j + 1] - rule[at]
        losses[: j + 1, j] = (apart**2).sum(axis=1) + spread[at] ** 2 * wobble[at] - 2 * apart @ shifts[at]
        errors[: j + 1, j] = 2 * spread[at] * np.sqrt(((models[: j + 1] - models[j]) ** 2).sum(axis=1) / rows)
    unit = np.trace(losses) / size
    return LinearSeries(losses / unit, errors / unit)


def _rules(kind: str, windows: int, inputs: int, strength: float, rng: np.random.Generator) -> Floats:
    base = _unit(rng.normal(size=inputs))

    def step() -> Floats:
        drawn = rng.normal(size=inputs)
        return _unit(drawn - (drawn @ base) * base)

    side, at = step(), np.arange(windows)
    if kind == "none":
        return np.tile(base, (windows, 1))
    if kind == "gradual":
        return base + strength * rng.uniform(0.02, 0.15) * at[:, None] * side
    if kind == "recurring":
        length = rng.uniform(5, 26)
        wave = np.sin(2 * np.pi * at / length) if rng.random() < 0.5 else (at // (length / 2)) % 2
        return base + strength * wave[:, None] * side
    if kind == "bursts":
        return np.array([base + (strength * step() if rng.random() < 0.1 else 0.0) for _ in at])
    rules, now = [], base.copy()
    for _ in at:
        if kind == "walk":
            now = now + strength * 0.3 * rng.normal(size=inputs) / np.sqrt(inputs)
        elif rng.random() < 0.06:
            now = now + strength * step()
        if kind == "mixed":
            now = now + strength * 0.05 * side
        rules.append(now)
    return np.array(rules)


def _unit(vector: Floats) -> Floats:
    return vector / np.linalg.norm(vector)


def _decided(series: LinearSeries, price: float) -> list[int]:
    policy, serving, schedule = default_policy(price), 0, []
    regrets = series.losses - np.diag(series.losses)
    for window in range(1, len(regrets)):
        unit = float(np.diag(series.losses)[:window].mean())
        known = Staleness(regrets[:window, :window], series.errors[:window, :window], unit)
        if policy.judge(known, serving).retrain:
            serving = window
            schedule.append(window)
    return schedule


def _run(losses: Floats) -> Floats:
    return np.concatenate([np.zeros((len(losses), 1)), np.cumsum(np.nan_to_num(losses), axis=1)], axis=1)


def _cost(losses: Floats, schedule: Sequence[int], price: float) -> float:
    run, bounds = _run(losses), [0, *schedule, len(losses)]
    return float(sum(run[i, j] for i, j in pairwise(bounds))) + price * len(schedule)


def _hindsight(losses: Floats, price: float) -> float:
    return min(_cost(losses, range(every, len(losses), every), price) for every in range(1, len(losses) + 1))


def _oracle(losses: Floats, price: float) -> float:
    size, run = len(losses), _run(losses)
    best = np.append(np.full(size, np.inf), 0.0)
    for start in range(size - 1, -1, -1):
        ends = np.arange(start + 1, size + 1)
        best[start] = (run[start, ends] + best[ends] + np.where(ends < size, price, 0.0)).min()
    return float(best[0])


if __name__ == "__main__":
    import json

    print(json.dumps({"chosen on": measure(), "looked at afterwards": measure(range(2000, 2056))}, indent=2))
