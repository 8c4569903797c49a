"""Models that should leave the pool, as its replicas say, get applications of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import uuid4

from raymlops.control.reconciling.reconcile import Retries
from raymlops.errors import RaymlopsError
from raymlops.records.plans import ServingPlan
from raymlops.records.serving.orders import Order

__all__ = ["PoolMoves"]

_log = logging.getLogger(__name__)


class Leavers(Protocol):
    """Names the models that should leave the pool; ``Reconciler`` implements it."""

    def to_move_out(self) -> Mapping[str, str]:
        """Model -> why."""
        ...


class Mover(Protocol):
    """Moves models; ``EndpointOperator`` does."""

    def move_out(self, order: Order, name: str) -> ServingPlan:
        """Have a pooled model answered by an application of its own. Blocks until it answers."""
        ...


class PoolMoves:
    """Moves models out of the pool, each in a thread of its own: an application that does not start delays no other.

    Args:
        leavers: Names the models that should leave.
        mover: Moves them.
        time_s: Monotonic seconds.
    """

    def __init__(self, leavers: Leavers, mover: Mover, time_s: Callable[[], float] = time.monotonic) -> None:
        self._leavers = leavers
        self._mover = mover
        self._time_s = time_s
        self._retries = Retries()
        self._moving: set[str] = set()

    def turn(self) -> list[str]:
        """Begin what is to be moved; what failed is tried again later and later.

        Returns:
            The models whose move was begun.
        """
        leaving = self._leavers.to_move_out()
        self._retries.settle(leaving)
        now_s = self._time_s()
        due = [model for model in leaving if model not in self._moving and self._retries.may(model, now_s)]
        for model in due:
            self._retries.acted(model, now_s)
            self._moving.add(model)
            name, reason = f"move-{model}", f"moved out of the pool: {leaving[model]}"
            threading.Thread(target=self._move, args=(model, reason), name=name, daemon=True).start()
        return due

    def _move(self, model: str, reason: str) -> None:
        try:
            self._mover.move_out(Order(request=uuid4().hex, by="reconciler", reason=reason), model)
        except Exception as error:  # the thread ends here, and no caller would see the error
            unforeseen = not isinstance(error, RaymlopsError)
            _log.warning("%s cannot be moved out of the pool, next try follows: %s", model, error, exc_info=unforeseen)
        finally:
            self._moving.discard(model)
