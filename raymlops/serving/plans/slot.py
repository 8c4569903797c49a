"""What an endpoint serves: the slot that holds it, and the follower that brings the slot from plan to plan."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from raymlops.errors import ConflictError
from raymlops.flavors.protocol import Columns
from raymlops.records.plans import PlanStore, ServingPlan
from raymlops.serving.plans.recorded_requests import RecordedRequests

if TYPE_CHECKING:
    from raymlops.serving.plans.loader import Loader, Serving

__all__ = ["PlanFollower", "Slot"]

_MAX_PASSES = 60
"""The most polls for which the follower leaves a plan alone that could not be loaded."""

_log = logging.getLogger(__name__)


class Slot:
    """The loaded serving plan of one endpoint: a request reads it once, a swap replaces it as a whole. Thread-safe.

    Args:
        model: The model's name.
        loader: Builds servings.
        recorded: Requests that a new version must answer.

    Attributes:
        current: What is served; ``None`` before the first swap, and after a release.
        on_swap: Told what will be served, and what was, before it is.
        swaps: How many plans were taken.
        load_s: How long the last load took.
    """

    def __init__(self, model: str, loader: Loader, recorded: RecordedRequests) -> None:
        self.model = model
        self._loader = loader
        self._recorded = recorded
        self._load_lock = threading.Lock()
        self._swap_lock = threading.Lock()
        self.current: Serving | None = None
        self._number = 0
        self.on_swap: Callable[[Serving, Serving | None], None] | None = None
        self.swaps = 0
        self.load_s = 0.0

    @property
    def number(self) -> int:
        """Number of the plan that is served, or was when it was released; 0 where none was taken."""
        return self._number

    def load(self, plan: ServingPlan) -> Serving:
        """Build what serves a plan; nothing changes for callers. Blocks: one load at a time.

        Raises:
            ConflictError: The plan is another model's.
            ModelVersionNotFound: It names a version that does not exist.
            ModelLoadFailed: The champion cannot be loaded, and what is served now goes on.
        """
        self._require_own(plan)
        with self._load_lock:
            current = self.current
            if current is not None and current.plan == plan:
                return current
            started = time.perf_counter()
            serving = self._loader.load(plan, current, self._recorded.sample())
            self.load_s = time.perf_counter() - started
            return serving

    def swap(self, serving: Serving) -> bool:
        """Serve a loaded plan from the next request on; requests under way end with the plan they began with.

        Returns:
            Whether it was taken: not where its plan's number is not above the present one, or that of what was
            released.
        """
        self._require_own(serving.plan)
        with self._swap_lock:
            number = serving.plan.number
            if number < self._number or (number == self._number and self.current is not None):
                return False
            if self.on_swap is not None:
                self.on_swap(serving, self.current)
            self.swaps += number > self._number
            self.current, self._number = serving, number
            return True

    def release(self) -> None:
        """Hold nothing in memory until the next swap; requests under way end with the plan they began with."""
        with self._swap_lock:
            self.current = None

    def mend(self, serving: Serving, version: int, recorded: Sequence[Columns]) -> str | None:
        """Load a broken version of a serving again, and serve it if nothing else is served by now. Blocks.

        Returns:
            What is still wrong with it; ``None`` where it is whole.

        Raises:
            RaymlopsError: It cannot be loaded.
        """
        with self._load_lock:
            fresh = self._loader.load(serving.plan, serving, recorded)
        mended = fresh.versions[version]
        if mended.broken:
            return mended.problem()
        with self._swap_lock:
            if self.current is serving:
                self.current = fresh
        return None

    def _require_own(self, plan: ServingPlan) -> None:
        if plan.model != self.model:
            raise ConflictError(f"plan must be for model {self.model!r}, got {plan.model!r}")


class PlanFollower:
    """Keeps an endpoint at the newest serving plan, by broadcasts and by polls. All methods belong to one event loop.

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
        """Polls for which a plan is left alone after its next failure."""
        self._resting = 0
        """Polls for which the plan is left alone from now on."""

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
