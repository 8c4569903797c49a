"""Upkeep of the monitor's tables."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Protocol

from raymlops.clock import Clock
from raymlops.records.plans import PlanStore
from raymlops.runtime.cluster.clocks import ClockWatch

__all__ = ["Maintained", "Upkeep"]

_log = logging.getLogger(__name__)


class Maintained(Protocol):
    """The parts of the platform that upkeep looks after."""

    def maintain(self, model: str, now: datetime) -> None:
        """Pack a model's tables, and remove what is older than it has to be kept."""
        ...


class Upkeep:
    """Packs and removes beside what is recorded and asked, model by model: trouble with one holds up no other.

    Args:
        monitor: Looks after one model's tables.
        plans: Tell the models.
        clock: By which age is measured.
        watch: Tells whether the clock can be believed; ``None``: it always can.
    """

    def __init__(self, monitor: Maintained, plans: PlanStore, clock: Clock, watch: ClockWatch | None = None) -> None:
        self._monitor = monitor
        self._plans = plans
        self._clock = clock
        self._watch = watch
        self.problems: dict[str, str] = {}
        """Model -> what the last turn raised."""

    def turn(self) -> None:
        """Look after all models; what fails is taken up again at the next turn.

        Raises:
            StorageError: The models could not be listed.
            UnavailableError: Likewise.
        """
        if self._watch is not None and not self._watch.believed():
            return
        for model in self._plans.plan_numbers():
            try:
                self._monitor.maintain(model, self._clock.now())
            except Exception as error:  # whatever it is: the other models' tables need looking after, too
                self.problems[model] = f"{type(error).__name__}: {error}"
                _log.warning("tables of %s will be looked after again: %s", model, error, exc_info=True)
            else:
                self.problems.pop(model, None)
