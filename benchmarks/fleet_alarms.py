"""Alarms of a fleet: how many of those let through are false, and how much later a true one comes.

Windows are flagged by chance, as often as the monitor may at most; a model that has changed is flagged in eight
windows of ten from then on. A retraining that is let through brings a new champion, of which nothing has changed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raymlops.control.triggering.false_alarms import ALARMS, evidence_needed, evidence_of_flags, let_through

MODELS, WINDOWS, SEEDS = 100, 52, 200
_POWER = 0.8
_LEVEL = 0.1


def measure() -> dict[str, Any]:
    """100 models over a year of weeks: none changes, 5 do, 30 do; beside each model by itself (2 of 3 windows)."""
    return {f"{changing} of {MODELS} change": _measure(changing) for changing in (0, 5, 30)}


@dataclass
class Run:
    """What became of one fleet."""

    true: int = 0
    false: int = 0
    waited: list[int] = field(default_factory=list)
    """Windows from each change to its alarm."""

    @property
    def false_share(self) -> float:
        """Share of false ones among the alarms let through; 0 of none."""
        return self.false / max(1, self.true + self.false)


def simulate(seed: int, changing: int, *, together: bool, models: int = MODELS, windows: int = WINDOWS) -> Run:
    """Play one fleet.

    Args:
        seed: Of everything.
        changing: So many models change once, each at a window of its own.
        together: Whether the fleet judges its alarms together, or each model by itself.
        models: Of the fleet.
        windows: Of each model.
    """
    rng = np.random.default_rng([seed, changing])
    change = np.full(models, windows)
    change[:changing] = rng.integers(4, windows - 12, changing)
    chances = np.array(list(ALARMS.values()))
    flags: list[list[list[bool]]] = [[[] for _ in chances] for _ in range(models)]
    champions, let, found = [1] * models, 0, Run()
    for window in range(windows):
        needs = {}
        for model in range(models):
            rates = np.full(chances.size, _POWER) if change[model] <= window else chances
            drawn = rng.random(chances.size) < rates
            for told, flag in zip(flags[model], drawn, strict=True):
                told.append(bool(flag))
            if not any(sum(told[-3:]) >= 2 and told[-1] for told in flags[model]):
                continue
            evidence = statistics.mean(map(evidence_of_flags, flags[model], chances))
            needs[str(model)] = evidence_needed(models, champions[model], 1, _LEVEL) / evidence
        passed: Sequence[str] = sorted(let_through(needs, let)) if together else list(needs)
        let += len(passed)
        for model in map(int, passed):
            if change[model] <= window:
                found.true += 1
                found.waited.append(window - int(change[model]) + 1)
                change[model] = windows
            else:
                found.false += 1
            champions[model] += 1
            flags[model] = [[] for _ in chances]
    return found


def _measure(changing: int) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, together in (("together", True), ("each by itself", False)):
        runs = [simulate(seed, changing, together=together) for seed in range(SEEDS)]
        waited = [each for run in runs for each in run.waited]
        told[name] = {
            "false share, mean": round(statistics.mean(run.false_share for run in runs), 4),
            "false retrainings a year": round(statistics.mean(run.false for run in runs), 2),
            "changes found": round(len(waited) / max(1, changing * SEEDS), 3),
            "windows until one is found, median and mean": (
                [statistics.median(waited), round(statistics.mean(waited), 1)] if waited else None
            ),
        }
    return told


if __name__ == "__main__":
    import json

    print(json.dumps(measure(), indent=2))
