"""How strongly alarms speak, and which are let through so that few of all models' alarms are false. Pure.

Each champion is one hypothesis: "nothing has changed since it took over". Its evidence is an e-process, which exceeds
1/a with a chance of at most a, ever, where that is so. Which alarms are let through is decided by the online version of
the e-Benjamini-Hochberg rule (Fischer, Xu and Ramdas, arXiv 2407.20683): each champion has a weight, the weights sum to
1 at most, and an alarm is let through while it waits, as soon as its evidence and the number of all alarms let through
so far allow. Models may depend on each other; the windows of one model are taken as flagged with the assumed chance at
most, whatever came before, which a reference that they share makes hold only about.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from raymlops.config.control import TriggersConfig
from raymlops.records.plans import ServingPlan
from raymlops.records.windows import WindowRecord

__all__ = ["ALARMS", "alarm_evidence", "champions_so_far", "evidence_needed", "evidence_of_flags", "let_through"]

ALARMS: Mapping[str, float] = MappingProxyType({"drift": 0.01, "performance": 0.05})
"""Triggers that are alarms, and the chance at most that they flag a window in which nothing has changed: by default
the monitor keeps drift well below the first, and tests the loss at the second."""
_SHARES = np.array([0.3, 0.6, 0.9, 0.99])
"""Share of the windows that might be flagged once something has changed; the alternatives that bets are spread over."""


def evidence_of_flags(flags: Sequence[bool], chance: float) -> float:
    """The e-value of windows' flags against "each is set with this chance at most, whatever came before".

    The change may have come at any window: the bet is spread over all of them, those to come among them, so that years
    of calm cost little.

    Args:
        flags: Of the windows, oldest first.
        chance: That a window is flagged where nothing has changed, above 0 and below 0.3.
    """
    flagged, calm = _SHARES / chance, (1 - _SHARES) / (1 - chance)
    capital = np.zeros(_SHARES.size)
    with np.errstate(over="ignore"):  # after some 150 flags in a row the capital is infinite, and compares rightly
        for number, flag in enumerate(flags, start=1):
            capital = (capital + 1 / (number * (number + 1))) * (flagged if flag else calm)
    return float(capital.mean()) + 1 / (len(flags) + 1)


def alarm_evidence(windows: Sequence[WindowRecord], config: TriggersConfig) -> float:
    """The e-value of a champion's windows against "nothing has changed since it took over".

    Args:
        windows: The champion's closed windows, oldest first; those of broken data say nothing.
        config: Which alarms there are; with several, the mean of what they say.
    """
    sound = [window for window in windows if window.quality != "block"]
    told = []
    if config.drift is not None:
        told.append(evidence_of_flags([window.drifted for window in sound], ALARMS["drift"]))
    if config.performance is not None:
        told.append(evidence_of_flags([window.degraded for window in sound], ALARMS["performance"]))
    return sum(told) / len(told) if told else 1.0


def champions_so_far(plans: Sequence[ServingPlan]) -> int:
    """How many times a champion took over, the first one included. ``plans``: oldest first, at least one."""
    return 1 + sum(before.champion != after.champion for before, after in pairwise(plans))


def evidence_needed(models: int, champions: int, let: int, level: float) -> float:
    """The e-value that lets an alarm through.

    Args:
        models: Models of the fleet, which share the weights evenly.
        champions: As of ``champions_so_far``: of each model, the n-th champion has 1 / (n (n + 1)) of its weight.
        let: Alarms that are let through, this one included.
        level: Share of false ones among them that is accepted.
    """
    return models * champions * (champions + 1) / (level * let)


def let_through(needs: Mapping[str, float], let: int) -> Collection[str]:
    """Which of the alarms that wait are let through together: the more there are, the less each one needs.

    Args:
        needs: Model -> how many alarms must be let through, itself included, for its evidence to do.
        let: Alarms let through before.
    """
    ordered = sorted(needs, key=lambda model: (needs[model], model))
    count = max((place for place, model in enumerate(ordered, start=1) if needs[model] <= let + place), default=0)
    return frozenset(ordered[:count])
