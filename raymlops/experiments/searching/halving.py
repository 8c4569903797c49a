"""Asynchronous successive halving (ASHA): trials that are behind the others are given up early.

At each rung, a number of rounds, a trial goes on if its loss is among the best ``1 / factor`` of those that came to the
rung before it, itself included. Nobody waits for anybody, so with several trials at once the verdicts depend on who
came first; one at a time, they are the same every time.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial

from pydantic import Field

from raymlops.records.record import Record

__all__ = ["Halving", "HalvingRule"]


class HalvingRule(Record):
    """When a trial is looked at."""

    grace_rounds: int = Field(20, ge=1)
    """Rounds of boosting before the first look; the next are at ``factor`` times as many, each."""
    factor: int = Field(3, ge=2)
    """At each rung, the best ``1 / factor`` of the trials go on."""


class Halving:
    """The losses of a search's trials at each rung. Thread-safe.

    Example:
        >>> race = Halving(HalvingRule(grace_rounds=10, factor=2))
        >>> race.report(0, 10, 0.5), race.report(1, 10, 0.7), race.report(2, 10, 0.4)
        (True, False, True)
    """

    def __init__(self, rule: HalvingRule) -> None:
        self._rule = rule
        self._rungs: dict[int, dict[int, float]] = {}
        self._lock = threading.Lock()

    def is_rung(self, rounds: int) -> bool:
        """Whether trials are looked at after so many rounds."""
        grace, factor = self._rule.grace_rounds, self._rule.factor
        if rounds < grace or rounds % grace:
            return False
        quotient = rounds // grace
        return int(factor ** round(math.log(quotient, factor))) == quotient

    def report(self, number: int, rounds: int, loss: float) -> bool:
        """Note a trial's loss at a rung; returns whether it goes on.

        Args:
            number: The trial's.
            rounds: How many it has done; between two rungs every trial goes on.
            loss: On the validation rows; one that is not a number ends the trial.
        """
        if not math.isfinite(loss):
            return False
        if not self.is_rung(rounds):
            return True
        with self._lock:
            rung = self._rungs.setdefault(rounds, {})
            rung[number] = loss
            places = sorted(rung.values())
        return loss <= places[max(1, math.ceil(len(places) / self._rule.factor)) - 1]

    def reporter(self, number: int) -> Callable[[int, float], bool]:
        """``report`` for one trial."""
        return partial(self.report, number)
