"""Keeps an endpoint at the newest plan: told, asking by itself, and looking once at its start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from raymlops.records.plans import PlanStore, ServingPlan
from raymlops.serving.plans.loader import Serving
from raymlops.serving.plans.slot import Slot

__all__ = ["PlanFollower"]

_MAX_PASSES = 60
"""Polls for which a plan that could not be loaded is let rest, at most."""

_log = logging.getLogger(__name__)


class PlanFollower:
    """Brings one endpoint from plan to plan. All methods belong to one event loop.

    A replica that starts late, restarts or misses a broadcast is stale for no longer than a poll, whatever goes wrong
    in one. A plan that cannot be loaded is refused, the old one goes on, and it is tried again after a few polls.

    Args:
        slot: What the endpoint serves.
        plans: Asked for the newest plan.
        every_s: Pause between two polls.
        also: Awaited at each poll, before the plan is looked at.
    """

    def __init__(
        self, slot: Slot, plans: PlanStore, every_s: float, also: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._slot = slot
        self._plans = plans
        self._every_s = every_s
        self._also = also
        self._prepared: dict[int, Serving] = {}
        self._task: asyncio.Task[None] | None = None
        self._refused = 0
        """Number of the plan that could not be loaded."""
        self._passes = 0
        """Polls it is let rest after the next failure."""
        self._resting = 0
        """Polls it rests for now."""

    async def prepare(self, plan: ServingPlan) -> int:
        """Load and warm what a plan needs, off the request path; nothing changes for callers."""
        self._prepared = {plan.number: await asyncio.to_thread(self._slot.load, plan)}
        return plan.number

    async def swap(self, number: int) -> int:
        """Serve a prepared plan; one that was not prepared is taken from the store. Returns what is served."""
        serving = self._prepared.pop(number, None)
        if serving is not None:
            self._slot.swap(serving)
        elif self._slot.number < number:
            await self.refresh()
        return self._slot.number

    async def refresh(self) -> None:
        """Serve the newest plan.

        Raises:
            RaymlopsError: It cannot be had or loaded; what is served goes on.
        """
        plan = await asyncio.to_thread(self._plans.get_plan, self._slot.model)
        if not plan.served or plan.number <= self._slot.number or self._rests(plan.number):
            return
        try:
            serving = await asyncio.to_thread(self._slot.load, plan)
        except Exception:
            self._passes = min(2 * self._passes + 1, _MAX_PASSES) if plan.number == self._refused else 1
            self._refused, self._resting = plan.number, self._passes
            raise
        self._slot.swap(serving)

    def start(self) -> None:
        """Begin to poll, on the running event loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._poll())

    async def stop(self) -> None:
        """Poll no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _rests(self, number: int) -> bool:
        if number != self._refused or not self._resting:
            return False
        self._resting -= 1
        return True

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                if self._also is not None:
                    await self._also()
                await self.refresh()
            except Exception as error:  # whatever it is: a replica that stops asking would be stale for ever
                _log.warning("plan of %s could not be taken, serving on: %r", self._slot.model, error)
